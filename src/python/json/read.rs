//! JSON as Python's `json.loads` accepts it, which is more than the standard and serde_json do: lone surrogates (U+FFFD here,
//! because a Rust string cannot hold them), `NaN` and infinities (null here: no caller uses such a value), numbers beyond a
//! double (null), and a byte order mark in front.

use std::cell::Cell;

use serde::de::DeserializeSeed;
use serde_json::{Deserializer, Error, Value};

use super::bounded::Bounded;

/// What editors on Windows put in front of a text.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const REPLACEMENT: &[u8] = b"\\ufffd";

/// What parsed values may take in memory: this many bytes for each byte of the text, and a fixed part. Together with the
/// text, which most callers keep, that is ten times the text (docs/formats.md).
const COST_PER_BYTE: usize = 9;
const COST_FIXED: usize = (1 << 20) - MESSAGE_BYTES;
/// Left for the error message when the text is refused.
const MESSAGE_BYTES: usize = 16 << 10;
/// The part of `COST_PER_BYTE` that the repaired copy of a text takes while it grows.
const REPAIR_PER_BYTE: usize = 2;

/// Reads JSON text as Python does. An error describes the text as given, without its byte order mark. A text whose values
/// would take too much memory is refused (see [`costs_too_much`]).
pub fn loads(text: &[u8]) -> Result<Value, Error> {
    let text = without_mark(text);
    match strict(text) {
        Err(error) if !costs_too_much(&error) => {
            let repaired = repaired(text, Beyond::Null);
            within(&repaired, COST_PER_BYTE - REPAIR_PER_BYTE).map_err(|_| error)
        }
        read => read,
    }
}

/// Reads JSON text by the standard, with the same bound on memory.
pub fn strict(text: &[u8]) -> Result<Value, Error> {
    within(text, COST_PER_BYTE)
}

/// Whether the text was refused for the memory that its values would take, not for its syntax.
pub fn costs_too_much(error: &Error) -> bool {
    error.is_data()
}

fn within(text: &[u8], cost_per_byte: usize) -> Result<Value, Error> {
    let bytes_max = text.len().saturating_mul(cost_per_byte).saturating_add(COST_FIXED);
    let mut reader = Deserializer::from_slice(text);
    let value = Bounded(&Cell::new(bytes_max)).deserialize(&mut reader)?;
    reader.end().map(|()| value)
}

/// Text without its byte order mark.
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// Reads JSON text as [`loads`] does, but a number that no value here holds (`NaN`, an infinity, an integer beyond 64 bits) is the
/// text that Python's `str` makes of it. Only inside a list or object whose `repr` is taken it differs: it has quotes there.
pub fn loads_texts(text: &[u8]) -> Result<Value, Error> {
    let value = loads(text)?;
    let text = without_mark(text);
    if !parts(text).any(|part| matches!(part, Part::Beyond { .. })) {
        return Ok(value);
    }
    // Both together would take more memory than may be.
    drop(value);
    within(&repaired(text, Beyond::Text), COST_PER_BYTE - REPAIR_PER_BYTE)
}

/// What stands for a number that no value here holds.
#[derive(Clone, Copy, PartialEq)]
enum Beyond {
    /// Null; integers and -0 become the double next to them.
    Null,
    /// Python's `str` of it.
    Text,
}

/// A part of JSON text, as short as one byte.
enum Part<'a> {
    Plain(&'a [u8]),
    /// A number that no value here holds.
    Beyond {
        literal: &'a [u8],
        /// Python's `str` of it.
        text: &'a [u8],
        /// Whether a double is near it.
        is_finite: bool,
    },
}

fn parts(text: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    let mut in_string = false;
    std::iter::from_fn(move || {
        let byte = *rest.first()?;
        let (part, length) = match byte {
            b'\\' if in_string => {
                let (written, length) = escape(rest);
                (Part::Plain(written), length)
            }
            _ if in_string => (Part::Plain(&rest[..1]), 1),
            _ => number(rest).unwrap_or((Part::Plain(&rest[..1]), 1)),
        };
        in_string ^= byte == b'"';
        rest = &rest[length..];
        Some(part)
    })
}

/// The text with Python's additions replaced by standard JSON. Strict JSON is returned unchanged, but for integers beyond 64 bits
/// that become texts.
fn repaired(text: &[u8], beyond: Beyond) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for part in parts(text) {
        match part {
            Part::Plain(written) => out.extend_from_slice(written),
            Part::Beyond { text, .. } if beyond == Beyond::Text => {
                out.push(b'"');
                out.extend_from_slice(text);
                out.push(b'"');
            }
            Part::Beyond {
                literal,
                is_finite: true,
                ..
            } => out.extend_from_slice(literal),
            Part::Beyond { .. } => out.extend_from_slice(b"null"),
        }
    }
    out
}

/// The escape at the start of `rest`: what to write for it, and its length.
fn escape(rest: &[u8]) -> (&[u8], usize) {
    let pair = 12;
    match code_unit(rest) {
        Some(0xd800..=0xdbff) => match code_unit(&rest[6..]) {
            Some(0xdc00..=0xdfff) => (&rest[..pair], pair),
            _ => (REPLACEMENT, 6),
        },
        Some(0xdc00..=0xdfff) => (REPLACEMENT, 6),
        _ => {
            let length = rest.len().min(2);
            (&rest[..length], length)
        }
    }
}

fn code_unit(rest: &[u8]) -> Option<u32> {
    let digits = rest.strip_prefix(b"\\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

/// `NaN`, an infinity or a number at the start of `rest`, and its length.
fn number(rest: &[u8]) -> Option<(Part<'_>, usize)> {
    let words: [(&[u8], &[u8]); 3] = [(b"NaN", b"nan"), (b"Infinity", b"inf"), (b"-Infinity", b"-inf")];
    if let Some((literal, text)) = words.into_iter().find(|(word, _)| rest.starts_with(word)) {
        let is_finite = false;
        let part = Part::Beyond {
            literal,
            text,
            is_finite,
        };
        return Some((part, literal.len()));
    }
    if !matches!(rest.first(), Some(b'-' | b'0'..=b'9')) {
        return None;
    }
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"-+.eE".contains(byte);
    let length = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
    let literal = &rest[..length];
    let text = std::str::from_utf8(literal).unwrap_or_default();
    let value = text.parse().unwrap_or(f64::NAN);
    let beyond = |text| Part::Beyond {
        literal,
        text,
        is_finite: value.is_finite(),
    };
    let part = if is_int(text) {
        match text {
            "-0" => beyond(b"0"),
            _ if text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() => Part::Plain(literal),
            _ => beyond(literal),
        }
    } else if value.is_infinite() {
        beyond(if value > 0.0 { b"inf" } else { b"-inf" })
    } else {
        Part::Plain(literal)
    };
    Some((part, length))
}

/// Whether a literal is an integer of standard JSON.
fn is_int(literal: &str) -> bool {
    let digits = literal.strip_prefix('-').unwrap_or(literal);
    let leads_with_zero = digits.len() > 1 && digits.starts_with('0');
    !digits.is_empty() && !leads_with_zero && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_python_accepts_is_read() {
        for (text, want) in [
            (r#"{"a":"\ud83d"}"#, json!({"a": "\u{fffd}"})),
            (r#""\udc00x""#, json!("\u{fffd}x")),
            (r#""\ud83d\ud83d\ude00""#, json!("\u{fffd}\u{1f600}")),
            (r#""\\ud83d \"NaN\"""#, json!("\\ud83d \"NaN\"")),
            (
                r#"{"x":NaN,"y":[Infinity,-Infinity],"z":1e999,"n":-2.5}"#,
                json!({"x": null, "y": [null, null], "z": null, "n": -2.5}),
            ),
            ("\u{feff}[1]", json!([1])),
        ] {
            assert_eq!(loads(text.as_bytes()).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn numbers_that_no_value_holds_are_pythons_texts() {
        for (text, want) in [
            ("18446744073709551616", json!("18446744073709551616")),
            ("[-9223372036854775809, -0]", json!(["-9223372036854775809", "0"])),
            (
                "[18446744073709551615, -9223372036854775808]",
                json!([u64::MAX, i64::MIN]),
            ),
            (
                r#"[NaN, Infinity, -Infinity, 1e999, -1e999]"#,
                json!(["nan", "inf", "-inf", "inf", "-inf"]),
            ),
            (
                r#"{"18446744073709551616 NaN": 1.5, "x": "\ud800NaN", "y": -0.0}"#,
                json!({"18446744073709551616 NaN": 1.5, "x": "\u{fffd}NaN", "y": -0.0}),
            ),
        ] {
            assert_eq!(loads_texts(text.as_bytes()).unwrap(), want, "{text}");
        }
        // An integer beyond a double, which null stands for elsewhere.
        let digits = "9".repeat(400);
        assert_eq!(loads_texts(digits.as_bytes()).unwrap(), json!(digits));
        assert_eq!(loads(digits.as_bytes()).unwrap(), json!(null));
        for text in ["{18446744073709551616: 1}", "018446744073709551616", "{NaN: 1}"] {
            assert!(loads_texts(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_python_refuses_fails_with_the_error_for_the_original_text() {
        for text in [
            "",
            "{",
            "NaNa",
            r#""\ud8""#,
            r#""\x""#,
            "[1,]",
            "\"\\",
            "-",
            "\u{feff}\u{feff}1",
        ] {
            let error = loads(text.as_bytes()).expect_err(text);
            let plain = serde_json::from_slice::<Value>(without_mark(text.as_bytes())).expect_err(text);
            assert!(
                !costs_too_much(&error) && error.to_string() == plain.to_string(),
                "{error}"
            );
        }
    }

    #[test]
    fn a_text_and_its_values_take_at_most_ten_times_its_bytes() {
        let (lists, fields) = ("[],".repeat(100_000), (0..50_000).map(|at| format!("\"{at:x}\":0,")));
        let fields: String = fields.collect();
        for text in [
            format!("[{}0]", "0,".repeat(100_000)),
            format!("[{}NaN]", "0,".repeat(100_000)),
            format!("[{lists}[]]"),
            format!("{{{fields}\"\":0}}"),
        ] {
            let error = loads(text.as_bytes()).expect_err("too many values");
            assert!(
                costs_too_much(&error) && error.to_string().contains("too many parts"),
                "{error}"
            );
        }
        // What an engine with many models sends.
        let permission = r#"[{"id":"modelperm-0123456789abcdef","object":"model_permission","created":1780000000,
            "allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,"allow_search_indices":false,
            "allow_view":true,"allow_fine_tuning":false,"organization":"*","group":null,"is_blocking":false}]"#;
        let model = format!(
            r#"{{"id":"lora-1","object":"model","created":1780000000,"owned_by":"vllm","root":"/loras/1",
            "parent":"meta-llama/Llama-3.1-8B","max_model_len":null,"permission":{permission}}},"#
        );
        let models = format!(r#"{{"data":[{}{{}}]}}"#, model.repeat(10_000));
        let read = loads(models.as_bytes()).unwrap();
        assert_eq!(read["data"].as_array().map(Vec::len), Some(10_001));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 8, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from);
            let fields = prop::collection::vec((any::<String>(), inner), 0..8);
            prop_oneof![
                list,
                fields.prop_map(|fields| Value::Object(fields.into_iter().collect()))
            ]
        })
    }

    proptest! {
        #[test]
        fn strict_json_is_not_changed(text in any::<String>(), number: f64) {
            let value = json!({"text": text, "list": [number, null, {"k\\\"": text}]});
            let written = value.to_string();
            prop_assert_eq!(repaired(written.as_bytes(), Beyond::Null), written.as_bytes());
        }

        #[test]
        fn a_value_is_the_one_serde_json_reads(value in value()) {
            let text = value.to_string();
            prop_assert_eq!(loads(text.as_bytes()).unwrap(), value);
        }

        #[test]
        fn any_bytes_are_handled(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = loads(&bytes);
        }
    }
}
