//! Doubts about what the adapter's JSON asks for.

use crate::error::shortened;

/// Of a field's name in a sentence.
pub const FIELD_CHARS_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub enum SpecDoubt {
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

impl SpecDoubt {
    pub fn code(&self) -> &'static str {
        match self {
            SpecDoubt::OnlyFirstAdapter { .. } => "only-first-adapter",
            SpecDoubt::UnknownField { .. } => "unknown-field",
            SpecDoubt::MoreUnknownFields { .. } => "more-unknown-fields",
            SpecDoubt::FieldWithoutEffect { .. } => "field-without-effect",
            SpecDoubt::HalfCredentials { .. } => "half-credentials",
        }
    }

    pub fn text(&self) -> String {
        match self {
            SpecDoubt::HalfCredentials {
                given,
                missing,
                instead,
            } => format!("{given} is given without {missing}, so {instead}; give both, or neither"),
            SpecDoubt::OnlyFirstAdapter { given } => {
                format!("of {given} adapters only the first is measured; run each alone")
            }
            SpecDoubt::UnknownField { field, nearest } => {
                let advice = nearest
                    .as_ref()
                    .map_or("remove it".to_owned(), |nearest| format!("did you mean '{nearest}'?"));
                let field = shortened(field, FIELD_CHARS_MAX);
                format!("this adapter knows no field '{field}', so it was ignored in the adapter JSON; {advice}")
            }
            SpecDoubt::MoreUnknownFields { count } => {
                format!("and {count} more fields of it are unknown to this adapter and were ignored; remove them")
            }
            SpecDoubt::FieldWithoutEffect { field, why } => {
                format!("'{field}' in the adapter JSON changes nothing here: {why}; remove it to measure the same")
            }
        }
    }
}
