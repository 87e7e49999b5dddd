//! The message in the body of an error, for people: on one line, cut to `MESSAGE_CHARS_MAX` characters and without control
//! characters, since it is foreign text.

use serde_json::Value;

use crate::python::json;

/// Enough for the cause of an error.
pub const MESSAGE_CHARS_MAX: usize = 200;
/// The members of a JSON error that hold the message, or another object with it.
const MESSAGE_KEYS: [&str; 8] = [
    "error",
    "message",
    "detail",
    "details",
    "errors",
    "msg",
    "error_msg",
    "reason",
];
/// Of nested errors: `{"error": {"message": ...}}` is two deep.
const DEPTH_MAX: u8 = 4;

/// The message of a body: of JSON its message or detail, of HTML its title, else the text itself. `None` where it is empty
/// or binary.
pub fn error_message(body: &[u8]) -> Option<String> {
    if let Ok(value) = json::loads(body) {
        return error_message_in(&value);
    }
    let text = String::from_utf8_lossy(body);
    if is_binary(&text) {
        return None;
    }
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let message = if text.starts_with('<') {
        element(text, "title")
            .or_else(|| element(text, "message"))
            .unwrap_or_else(|| without_tags(text))
    } else {
        one_line(text)
    };
    Some(message).filter(|message| !message.is_empty())
}

/// The message inside JSON; JSON of no known form is shown as it is.
pub fn error_message_in(value: &Value) -> Option<String> {
    let text = match message(value, DEPTH_MAX) {
        Some(message) => message,
        None if is_empty(value) => return None,
        None => value.to_string(),
    };
    Some(one_line(&text)).filter(|text| !text.is_empty())
}

/// Without control characters and runs of blanks, cut to `MESSAGE_CHARS_MAX` characters.
pub fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > MESSAGE_CHARS_MAX * 4 {
            break;
        }
    }
    line.chars().take(MESSAGE_CHARS_MAX).collect()
}

/// Whether one character in eight or more is a control or replacement character. A cut body may end inside a character.
fn is_binary(text: &str) -> bool {
    let odd = |c: &char| *c == '\u{fffd}' || (c.is_control() && !c.is_whitespace());
    text.chars().filter(odd).count() * 8 > text.chars().count() + 8
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn message(value: &Value, depth: u8) -> Option<String> {
    if depth == 0 {
        return None;
    }
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Array(elements) => {
            let messages: Vec<String> = elements
                .iter()
                .filter_map(|element| message(element, depth - 1))
                .collect();
            (!messages.is_empty()).then(|| messages.join("; "))
        }
        Value::Object(members) => {
            let found = MESSAGE_KEYS
                .iter()
                .find_map(|key| message(members.get(*key)?, depth - 1));
            // FastAPI gives the path of a refused field.
            let place = members.get("loc").and_then(Value::as_array).map(|parts| {
                let parts = parts
                    .iter()
                    .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned));
                parts.collect::<Vec<_>>().join(".")
            });
            match (place, found) {
                (Some(place), Some(found)) => Some(format!("{place}: {found}")),
                // A bare code is the last resort.
                (_, None) => members
                    .get("error")
                    .filter(|error| error.is_number())
                    .map(Value::to_string),
                (None, found) => found,
            }
        }
        _ => None,
    }
}

/// The text of the first element of this name, whatever its case.
fn element(text: &str, name: &str) -> Option<String> {
    // ASCII case only, so that offsets in both texts are the same.
    let lower = text.to_ascii_lowercase();
    let open = lower.find(&format!("<{name}"))?;
    let begin = open + lower[open..].find('>')? + 1;
    let end = begin + lower[begin..].find("</")?;
    Some(one_line(&text[begin..end])).filter(|text| !text.is_empty())
}

fn without_tags(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + 1);
    for part in text.split('<') {
        plain.push_str(part.split_once('>').map_or(part, |(_, after)| after));
        plain.push(' ');
    }
    one_line(&plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_error_says_something() {
        for (body, want) in [
            (r#"{"error":{"message":"boom","type":"x"}}"#, "boom"),
            (r#"{"error":"Unauthorized"}"#, "Unauthorized"),
            (r#"{"error":true,"message":"kv full"}"#, "kv full"),
            (r#"{"error":503}"#, "503"),
            (r#"{"object":"error","message":"kv full","code":400}"#, "kv full"),
            (r#"{"detail":"rate limited"}"#, "rate limited"),
            (
                r#"{"detail":[{"loc":["body","x",0],"msg":"extra fields","type":"v"},{"msg":"two"}]}"#,
                "body.x.0: extra fields; two",
            ),
            (r#"{"code":7}"#, r#"{"code":7}"#),
            ("\u{feff}{\"error\":\"bom\"}", "bom"),
            ("Internal  Server\r\nError\u{1b}[31m", "Internal Server Error [31m"),
            (
                "<html><HEAD><Title>502 Bad\nGateway</title></head><body>x</body>",
                "502 Bad Gateway",
            ),
            ("<html><body><h1>login</h1> first", "login first"),
            (
                "<?xml version=\"1.0\"?><Error><Code>A</Code><Message>no</Message></Error>",
                "no",
            ),
        ] {
            assert_eq!(error_message(body.as_bytes()).as_deref(), Some(want), "{body}");
        }
        assert_eq!(
            error_message(b"\x1f\x8b\x08\0\0\0\0\0\0\xff\xab\x56\x4a\x2d\x2a\xca\x2f\x52\xb2\x52\x4a\xca\x28\x05"),
            None
        );
        for nothing in ["", " \n", "{}", "null", "[]", "<html></html>", "\"\""] {
            assert_eq!(error_message(nothing.as_bytes()), None, "{nothing:?}");
        }
    }

    #[test]
    fn long_messages_are_cut_by_characters() {
        let long = "\u{e9}".repeat(10_000);
        assert_eq!(
            error_message(long.as_bytes()).unwrap().chars().count(),
            MESSAGE_CHARS_MAX
        );
        let deep = format!("{}\"x\"{}", "[".repeat(100), "]".repeat(100));
        assert!(error_message(deep.as_bytes()).unwrap().len() <= MESSAGE_CHARS_MAX);
    }
}
