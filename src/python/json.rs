//! JSON as Python's reader takes it, where serde_json is stricter: lone surrogates (U+FFFD here, which text can hold), `NaN`
//! and infinities (null here: nobody reads them), numbers beyond a double, and a byte order mark in front.

use serde_json::{Error, Value};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const REPLACEMENT: &[u8] = b"\\ufffd";

/// Reads JSON text. The error is that of the text as it came, without the mark.
pub fn loads(text: &[u8]) -> Result<Value, Error> {
    let text = without_mark(text);
    serde_json::from_slice(text).or_else(|error| serde_json::from_slice(&repaired(text)).map_err(|_| error))
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
    let words: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    if let Some(word) = words.into_iter().find(|word| rest.starts_with(word)) {
        return Some((b"null", word.len()));
    }
    if !rest[0].is_ascii_digit() && rest[0] != b'-' {
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
            assert_eq!(error.to_string(), plain.to_string());
        }
    }

    proptest! {
        #[test]
        fn strict_json_is_not_changed(text in any::<String>(), number: f64) {
            let value = json!({"text": text, "list": [number, null, {"k\\\"": text}]});
            let written = value.to_string();
            prop_assert_eq!(repaired(written.as_bytes()), written.as_bytes());
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = loads(&bytes);
        }
    }
}
