//! Text in quotes, for messages. [`repr`] is Python's, for messages that must equal LMCache's; [`quoted`] is for our own
//! messages: always in single quotes, so that a value looks the same whatever it contains.

/// Python's `repr(str)`: in double quotes when the text holds a single quote and no double quote.
pub fn repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            character if character == quote => out.extend(['\\', quote]),
            '\0'..='\x1f' | '\x7f'..='\u{a0}' => out.push_str(&format!("\\x{:02x}", u32::from(character))),
            character => out.push(character),
        }
    }
    out.push(quote);
    out
}

/// In single quotes, with control characters escaped as in Rust, so that the text cannot control a terminal. Everything else,
/// quotes and backslashes too, is kept as it was typed.
pub fn quoted(text: &str) -> String {
    let mut shown = String::from("'");
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown.push('\'');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repr_chooses_its_quotes_as_python_does() {
        for (text, want) in [
            ("plain", "'plain'"),
            ("it's", "\"it's\""),
            ("a'b\"c", "'a\\'b\"c'"),
            ("\\ \n\r\t\x1b\u{a0}\u{e9}", "'\\\\ \\n\\r\\t\\x1b\\xa0\u{e9}'"),
        ] {
            assert_eq!(repr(text), want);
        }
    }

    #[test]
    fn quoted_text_cannot_control_a_terminal() {
        assert_eq!(quoted("a\x1b[31m\n"), "'a\\u{1b}[31m\\n'");
        assert_eq!(quoted("it's C:\\"), "'it's C:\\'");
    }
}
