//! The JSON object of `--extra-body`: its fields end every body as they were given, so numbers keep their digits.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};

use crate::error::shortened;
use crate::python::quote::quoted;

/// Bytes of the object.
const BYTES_MAX: usize = 64 << 10;
/// Characters of a refused text in a message.
const SHOWN_CHARS_MAX: usize = 100;

/// Fields that cannot be given, each with the reason.
const OWNED: [(&str, &str); 10] = [
    ("model", "--model sets it"),
    ("stream", "every answer is streamed"),
    ("messages", "the workload makes it"),
    ("prompt", "the workload makes it"),
    ("max_tokens", "the workload's flag for the length of answers sets it"),
    (
        "max_completion_tokens",
        "the workload's flag for the length of answers sets it",
    ),
    (
        "stream_options",
        "the token counts of the report need it; --usage-per-event extends it",
    ),
    ("temperature", "it is 0.0 in every request"),
    ("n", "a request has one answer"),
    ("best_of", "a request has one answer"),
];

/// Refuses a text that is no such object, or that has a field which is not free.
pub fn check(text: &str) -> Result<(), String> {
    let keys = keys(text)?;
    let owned = OWNED.iter().find(|(owned, _)| keys.iter().any(|key| key == owned));
    match owned {
        Some((key, why)) => Err(format!("the key {key} cannot be given here: {why}")),
        None => Ok(()),
    }
}

/// The keys of the object, each once.
pub fn keys(text: &str) -> Result<Vec<String>, String> {
    if text.len() > BYTES_MAX {
        let (bytes, most) = (text.len(), BYTES_MAX);
        return Err(format!("it has {bytes} bytes, more than the {most} allowed; send less"));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let keys = reader
        .deserialize_any(Keys)
        .and_then(|keys| reader.end().map(|()| keys));
    keys.map_err(|cause| {
        let shown = quoted(&shortened(text, SHOWN_CHARS_MAX));
        format!("{shown} is no JSON object with each key once ({cause}); give one as in '{{\"top_p\":0.9}}'")
    })
}

/// What is between the braces of a text that [`check`] has accepted.
pub fn fields(text: &str) -> &str {
    let inner = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    inner.unwrap_or_default().trim()
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Vec<String>, A::Error> {
        let mut keys: Vec<String> = Vec::new();
        while let Some(key) = object.next_key::<String>()? {
            object.next_value::<IgnoredAny>()?;
            if keys.contains(&key) {
                return Err(A::Error::custom(format_args!(
                    "the key {} is there twice",
                    quoted(&key)
                )));
            }
            keys.push(key);
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_fields_are_taken_and_owned_ones_named() {
        assert_eq!(
            check(r#"{"top_p":0.9,"ignore_eos":true,"chat_template_kwargs":{"model":1}}"#),
            Ok(())
        );
        assert_eq!(check("{}"), Ok(()));
        for (key, why) in OWNED {
            let refused = check(&format!(r#"{{"a":1,"{key}":null}}"#)).unwrap_err();
            assert_eq!(refused, format!("the key {key} cannot be given here: {why}"));
        }
        // Escapes do not hide a key.
        assert!(check(r#"{"\u006dodel":"x"}"#).unwrap_err().contains("the key model"));
    }

    #[test]
    fn what_is_no_object_with_each_key_once_is_refused() {
        for text in ["", "[1]", "7", r#"{"a":1"#, r#"{"a":NaN}"#, "{} {}", r#"{"a":1,}"#] {
            assert!(check(text).unwrap_err().contains("is no JSON object"), "{text}");
        }
        assert!(
            check(r#"{"a":1,"\u0061":2}"#)
                .unwrap_err()
                .contains("the key 'a' is there twice")
        );
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(BYTES_MAX));
        assert!(check(&long).unwrap_err().contains("more than the 65536 allowed"));
    }

    #[test]
    fn fields_are_what_is_between_the_braces() {
        assert_eq!(fields("\n{ \"a\": {} }\t"), r#""a": {}"#);
        assert_eq!(fields("{}"), "");
    }
}
