//! Warnings about what the adapter's JSON asks for.

use crate::error::shortened;
use crate::result::warning::{Message, Warning, message};

/// Longer field names are shortened in a text.
pub const FIELD_CHARS_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub enum SpecWarning {
    OnlyFirstAdapter {
        given: usize,
    },
    UnknownField {
        field: String,
        nearest: Option<String>,
    },
    /// Unknown fields beyond those that have a warning of their own.
    MoreUnknownFields {
        count: u64,
    },
    FieldWithoutEffect {
        field: String,
        why: String,
    },
    /// Only one of two that belong together, such as a user and a password; `instead` says what is used.
    HalfCredentials {
        given: String,
        missing: String,
        instead: String,
    },
}

impl Warning for SpecWarning {
    fn code(&self) -> &'static str {
        match self {
            SpecWarning::OnlyFirstAdapter { .. } => "only-first-adapter",
            SpecWarning::UnknownField { .. } => "unknown-field",
            SpecWarning::MoreUnknownFields { .. } => "more-unknown-fields",
            SpecWarning::FieldWithoutEffect { .. } => "field-without-effect",
            SpecWarning::HalfCredentials { .. } => "half-credentials",
        }
    }

    fn message(&self) -> Message {
        match self {
            SpecWarning::HalfCredentials {
                given,
                missing,
                instead,
            } => message!(
                "{given} is given without {missing}, so {instead}",
                "give both, or neither"
            ),
            SpecWarning::OnlyFirstAdapter { given } => {
                message!("of {given} adapters only the first is measured", "run each alone")
            }
            SpecWarning::UnknownField { field, nearest } => {
                let advice = nearest
                    .as_ref()
                    .map_or("remove it".to_owned(), |nearest| format!("did you mean '{nearest}'?"));
                let field = shortened(field, FIELD_CHARS_MAX);
                message!(
                    "this adapter knows no field '{field}', so it was ignored in the adapter JSON",
                    "{advice}"
                )
            }
            SpecWarning::MoreUnknownFields { count } => {
                message!(
                    "and {count} more fields of it are unknown to this adapter and were ignored",
                    "remove them"
                )
            }
            SpecWarning::FieldWithoutEffect { field, why } => {
                message!(
                    "'{field}' in the adapter JSON changes nothing here: {why}",
                    "remove it to measure the same"
                )
            }
        }
    }
}
