//! JSON as Python's reader takes it, where serde_json is stricter: lone surrogates (U+FFFD here, which text can hold), `NaN`
//! and infinities (null here: nobody reads them), numbers beyond a double, and a byte order mark in front.

use std::cell::Cell;

use serde::de::DeserializeSeed;
use serde_json::{Deserializer, Error, Value};

use super::bounded::Bounded;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const REPLACEMENT: &[u8] = b"\\ufffd";

/// What the values of a text may cost in memory: so much for each of its bytes, and so much beside. With the text itself,
/// which most callers hold, that is ten times its bytes (docs/formats.md).
const COST_PER_BYTE: usize = 9;
const COST_BESIDE: usize = (1 << 20) - SENTENCE_BYTES;
/// Left of that for what is said when the text is refused.
const SENTENCE_BYTES: usize = 16 << 10;
/// Of that, for each byte of a text that is repaired first: its copy, which may have to grow.
const REPAIR_PER_BYTE: usize = 2;

/// Reads JSON text. The error is that of the text as it came, without the mark. A text of very many small values is refused.
pub fn loads(text: &[u8]) -> Result<Value, Error> {
    let text = without_mark(text);
    match strict(text) {
        Err(error) if !costs_too_much(&error) => {
            let repaired = repaired(text);
            within(&repaired, COST_PER_BYTE - REPAIR_PER_BYTE).map_err(|_| error)
        }
        read => read,
    }
}

/// Reads JSON text as it stands in the standard.
pub fn strict(text: &[u8]) -> Result<Value, Error> {
    within(text, COST_PER_BYTE)
}

/// Whether a text was refused though it is JSON.
pub fn costs_too_much(error: &Error) -> bool {
    error.is_data()
}

fn within(text: &[u8], cost_per_byte: usize) -> Result<Value, Error> {
    let room = text.len().saturating_mul(cost_per_byte).saturating_add(COST_BESIDE);
    let mut reader = Deserializer::from_slice(text);
    let value = Bounded(&Cell::new(room)).deserialize(&mut reader)?;
    reader.end().map(|()| value)
}

/// Text without the byte order mark that editors on Windows put in front.
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// The same text in strict JSON, where only Python's additions stood in the way.
pub fn repaired(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut in_string = false;
    while let Some(&byte) = rest.first() {
        let taken = match byte {
            b'"' => {
                in_string = !in_string;
                None
            }
            b'\\' if in_string => Some(escape(rest)),
            _ if in_string => None,
            _ => word(rest),
        };
        match taken {
            Some((written, length)) => {
                out.extend_from_slice(written);
                rest = &rest[length..];
            }
            None => {
                out.push(byte);
                rest = &rest[1..];
            }
        }
    }
    out
}

/// An escape at the start of `rest`: what to write for it and how long it is.
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

/// A number that serde_json refuses, at the start of `rest`: null, and how long it is.
fn word(rest: &[u8]) -> Option<(&[u8], usize)> {
    let words: &[&[u8]] = match rest[0] {
        b'N' | b'I' | b'-' => &[b"NaN", b"Infinity", b"-Infinity"],
        digit if digit.is_ascii_digit() => &[],
        _ => return None,
    };
    if let Some(word) = words.iter().find(|word| rest.starts_with(word)) {
        return Some((b"null", word.len()));
    }
    if matches!(rest[0], b'N' | b'I') {
        return None;
    }
    let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
    let length = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
    let number: Option<f64> = std::str::from_utf8(&rest[..length])
        .ok()
        .and_then(|text| text.parse().ok());
    match number {
        Some(number) if number.is_infinite() => Some((b"null", length)),
        _ => Some((&rest[..length], length)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_python_takes_is_read() {
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
    fn what_python_refuses_stays_refused_in_the_words_for_the_text_as_it_came() {
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
    fn a_text_and_its_values_cost_ten_times_its_bytes_at_most() {
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
        // What servers of many models send.
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
            prop_assert_eq!(repaired(written.as_bytes()), written.as_bytes());
        }

        #[test]
        fn a_value_is_serde_jsons(value in value()) {
            let text = value.to_string();
            prop_assert_eq!(loads(text.as_bytes()).unwrap(), value);
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = loads(&bytes);
        }
    }
}
