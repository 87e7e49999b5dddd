//! The message of Python's `JSONDecodeError`, so that LMCache's error can be repeated word for word. Only judges the text,
//! builds no values, and leaves it to the caller to bound the nesting.

/// What is wrong, and where, counted in characters.
struct Fault {
    what: &'static str,
    at: usize,
}

/// Python's message for `text`, such as `Expecting value: line 1 column 1 (char 0)`; `None` where Python accepts the text.
pub fn decode_error(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    let fault = Scanner { chars: &chars, at: 0 }.document().err()?;
    let before = &chars[..fault.at];
    let line = 1 + before.iter().filter(|character| **character == '\n').count();
    let column = 1 + before.iter().rev().take_while(|character| **character != '\n').count();
    Some(format!(
        "{}: line {line} column {column} (char {})",
        fault.what, fault.at
    ))
}

struct Scanner<'a> {
    chars: &'a [char],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn fault(&self, what: &'static str) -> Fault {
        Fault { what, at: self.at }
    }

    fn skip_space(&mut self) {
        self.skip_while(|character| matches!(character, ' ' | '\t' | '\n' | '\r'));
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
    }

    fn skip_if(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn skip_word(&mut self, word: &str) -> bool {
        let end = self.at + word.len();
        let found = self
            .chars
            .get(self.at..end)
            .is_some_and(|here| here.iter().copied().eq(word.chars()));
        if found {
            self.at = end;
        }
        found
    }

    fn document(&mut self) -> Result<(), Fault> {
        if self.peek() == Some('\u{feff}') {
            return Err(self.fault("Unexpected UTF-8 BOM (decode using utf-8-sig)"));
        }
        self.skip_space();
        self.value()?;
        self.skip_space();
        if self.at == self.chars.len() {
            Ok(())
        } else {
            Err(self.fault("Extra data"))
        }
    }

    fn value(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some('{') => self.object(),
            Some('[') => self.array(),
            Some('"') => self.string(),
            _ => {
                const WORDS: [&str; 6] = ["null", "true", "false", "NaN", "Infinity", "-Infinity"];
                if WORDS.iter().any(|word| self.skip_word(word)) {
                    Ok(())
                } else {
                    self.number()
                }
            }
        }
    }

    fn object(&mut self) -> Result<(), Fault> {
        self.at += 1;
        self.skip_space();
        if self.skip_if('}') {
            return Ok(());
        }
        loop {
            if self.peek() != Some('"') {
                return Err(self.fault("Expecting property name enclosed in double quotes"));
            }
            self.string()?;
            self.skip_space();
            if !self.skip_if(':') {
                return Err(self.fault("Expecting ':' delimiter"));
            }
            self.skip_space();
            self.value()?;
            if self.ends_or_continues('}')? {
                return Ok(());
            }
        }
    }

    fn array(&mut self) -> Result<(), Fault> {
        self.at += 1;
        self.skip_space();
        if self.skip_if(']') {
            return Ok(());
        }
        loop {
            self.value()?;
            if self.ends_or_continues(']')? {
                return Ok(());
            }
        }
    }

    /// After an element: true at the closing bracket, false after a comma.
    fn ends_or_continues(&mut self, close: char) -> Result<bool, Fault> {
        self.skip_space();
        if self.skip_if(close) {
            return Ok(true);
        }
        if !self.skip_if(',') {
            return Err(self.fault("Expecting ',' delimiter"));
        }
        self.skip_space();
        Ok(false)
    }

    fn string(&mut self) -> Result<(), Fault> {
        let unterminated = self.fault("Unterminated string starting at");
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err(unterminated),
                Some('"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some('\0'..='\x1f') => return Err(self.fault("Invalid control character at")),
                Some('\\') => match self.chars.get(self.at + 1) {
                    None => return Err(unterminated),
                    Some('u') => self.unicode_escape()?,
                    Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => self.at += 2,
                    Some(_) => return Err(self.fault("Invalid \\escape")),
                },
                Some(_) => self.at += 1,
            }
        }
    }

    /// Python needs a character after the four digits, so a text that ends there has a bad escape, not an unterminated string.
    fn unicode_escape(&mut self) -> Result<(), Fault> {
        let digits = self.at + 2..self.at + 6;
        let after = digits.end;
        let whole = self
            .chars
            .get(digits)
            .is_some_and(|digits| digits.iter().all(char::is_ascii_hexdigit));
        if whole && after < self.chars.len() {
            self.at = after;
            return Ok(());
        }
        self.at += 1;
        Err(self.fault("Invalid \\uXXXX escape"))
    }

    /// A fraction or exponent without digits is not part of the number; the caller then reports what follows it.
    fn number(&mut self) -> Result<(), Fault> {
        let nothing = self.fault("Expecting value");
        self.skip_if('-');
        if !self.skip_if('0') && !self.skip_digits() {
            return Err(nothing);
        }
        let whole = self.at;
        if !(self.skip_if('.') && self.skip_digits()) {
            self.at = whole;
        }
        let mantissa = self.at;
        if self.skip_if('e') || self.skip_if('E') {
            if !self.skip_if('+') {
                self.skip_if('-');
            }
            if !self.skip_digits() {
                self.at = mantissa;
            }
        }
        Ok(())
    }

    fn skip_digits(&mut self) -> bool {
        let before = self.at;
        self.skip_while(|character| character.is_ascii_digit());
        self.at > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_pythons() {
        let table: Vec<(String, Option<String>)> =
            serde_json::from_str(include_str!("../../../tests/golden/python-json-errors.json")).unwrap();
        assert!(table.len() > 150);
        for (text, expected) in table {
            assert_eq!(decode_error(&text), expected, "{text:?}");
        }
    }
}
