//! Warnings about what the adapter's JSON asks for.

use crate::error::shortened;

/// Of a field's name in a sentence.
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
    /// Beyond those that are named.
    MoreUnknownFields {
        count: u64,
    },
    FieldWithoutEffect {
        field: String,
        why: String,
    },
    /// Of a name and its password, or of two keys, only one.
    HalfCredentials {
        given: String,
        missing: String,
        instead: String,
    },
}

impl SpecWarning {
    pub fn code(&self) -> &'static str {
        match self {
            SpecWarning::OnlyFirstAdapter { .. } => "only-first-adapter",
            SpecWarning::UnknownField { .. } => "unknown-field",
            SpecWarning::MoreUnknownFields { .. } => "more-unknown-fields",
            SpecWarning::FieldWithoutEffect { .. } => "field-without-effect",
            SpecWarning::HalfCredentials { .. } => "half-credentials",
        }
    }

    pub fn text(&self) -> String {
        match self {
            SpecWarning::HalfCredentials {
                given,
                missing,
                instead,
            } => format!("{given} is given without {missing}, so {instead}; give both, or neither"),
            SpecWarning::OnlyFirstAdapter { given } => {
                format!("of {given} adapters only the first is measured; run each alone")
            }
            SpecWarning::UnknownField { field, nearest } => {
                let advice = nearest
                    .as_ref()
                    .map_or("remove it".to_owned(), |nearest| format!("did you mean '{nearest}'?"));
                let field = shortened(field, FIELD_CHARS_MAX);
                format!("this adapter knows no field '{field}', so it was ignored in the adapter JSON; {advice}")
            }
            SpecWarning::MoreUnknownFields { count } => {
                format!("and {count} more fields of it are unknown to this adapter and were ignored; remove them")
            }
            SpecWarning::FieldWithoutEffect { field, why } => {
                format!("'{field}' in the adapter JSON changes nothing here: {why}; remove it to measure the same")
            }
        }
    }
}
