//! Passwords and keys of a spec: hidden in debug output, and masked in what the report quotes.

use std::fmt;

use serde_json::Value;

/// Fields, at any depth of a spec, whose values are never shown.
const SECRET_FIELDS: [&str; 9] = [
    "password",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "token",
    "secret",
    "secret_key",
    "access_key",
    "api_key",
];
const MASK: &str = "***";

/// Text that `Debug` does not show.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// The spec for the report: as typed when it holds no secret, else rewritten with each secret masked. Control characters,
/// which JSON strings may hold from 0x7f on, are escaped.
pub fn masked(raw: &str, value: &Value) -> String {
    let mut shown = value.clone();
    let text = if mask(&mut shown) {
        shown.to_string()
    } else {
        raw.to_owned()
    };
    if !text.contains(drives_terminal) {
        return text;
    }
    let escaped = |c: char| match drives_terminal(c) {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

fn drives_terminal(c: char) -> bool {
    c.is_control() && !c.is_ascii_whitespace()
}

/// Masks in place and returns whether anything was masked. The parser bounds the depth.
fn mask(value: &mut Value) -> bool {
    let mut found = false;
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                let empty = value.is_null() || value.as_str() == Some("");
                if SECRET_FIELDS.contains(&name.as_str()) && !empty {
                    *value = Value::String(MASK.to_owned());
                    found = true;
                } else {
                    found |= mask(value);
                }
            }
        }
        Value::Array(items) => {
            for value in items {
                found |= mask(value);
            }
        }
        _ => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(raw: &str) -> String {
        masked(raw, &serde_json::from_str(raw).unwrap())
    }

    #[test]
    fn secrets_are_masked_at_any_depth_and_the_rest_stays_as_typed() {
        let plain = r#"{ "type": "resp",  "password": "" }"#;
        assert_eq!(shown(plain), plain);
        let nested =
            r#"{"type": "fault_inject", "inner": {"type": "resp", "password": "hunter2"}, "x": [{"token": 5}]}"#;
        assert_eq!(
            shown(nested),
            r#"{"type":"fault_inject","inner":{"type":"resp","password":"***"},"x":[{"token":"***"}]}"#
        );
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
        assert_eq!(
            shown("{\"a\":\n\"\u{7f}\u{9b}\u{e9}\"}"),
            "{\"a\":\n\"\\u007f\\u009b\u{e9}\"}"
        );
    }
}
