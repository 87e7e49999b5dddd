//! A key that servers ask for over HTTP. Messages, reports and files do not show it.

use std::fmt;

use super::error_body::error_message;

/// A shorter beginning of the key at the end of a text is not masked: it may be chance, and reveals nothing.
const CUT_CHARS_MIN: usize = 5;

#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    key: String,
    /// Where the user sets it, for messages.
    source: String,
    /// Sent where the user gave none.
    is_stand_in: bool,
}

impl ApiKey {
    /// `source` is the variable, or what a variable names; sentences begin with it.
    pub fn new(key: String, source: impl Into<String>) -> ApiKey {
        ApiKey {
            key,
            source: source.into(),
            is_stand_in: false,
        }
    }

    /// For servers that want some key, where the user sets none in `variable`.
    pub fn stand_in(key: &str, variable: &str) -> ApiKey {
        ApiKey {
            is_stand_in: true,
            ..ApiKey::new(key.to_owned(), variable)
        }
    }

    /// Why the key cannot be sent in an HTTP header, if so: a sentence with the position, without any part of the key.
    pub fn problem(&self) -> Option<String> {
        let is_sendable = |c: char| c == '\t' || (c.is_ascii() && !c.is_ascii_control());
        if self.key.trim_end_matches(['\r', '\n']).chars().all(is_sendable) {
            let ends = self.key.ends_with(['\r', '\n']);
            let what =
                "ends in a line break, which no HTTP header can carry; leave it out, as in $(tr -d '\\r\\n' < FILE)";
            return ends.then(|| format!("{} {what}", self.source));
        }
        let (place, c) = self.key.chars().enumerate().find(|(_, c)| !is_sendable(*c))?;
        let kind = match c {
            '\r' | '\n' => "a line break",
            c if c.is_control() => "a control character",
            _ => "a character beyond ASCII",
        };
        let place = place + 1;
        Some(format!(
            "{} has {kind} at place {place}, which no HTTP header can carry; make it the key alone",
            self.source
        ))
    }

    /// A warning about a key that is sent unchanged but is probably a mistake.
    pub fn warning(&self) -> Option<String> {
        let start = self.key.get(..7);
        let what = if start.is_some_and(|start| start.eq_ignore_ascii_case("bearer ")) {
            "begins with Bearer, which is put in front of it once more"
        } else if self.key.trim() != self.key {
            "begins or ends with a blank, which few servers take"
        } else {
            return None;
        };
        Some(format!("{} {what}; make it the key alone", self.source))
    }

    /// What to do about a server that refused a request with this key.
    pub fn advice(&self, server: &str) -> String {
        match self.warning() {
            _ if self.is_stand_in => wanted(server, &self.source),
            Some(warning) => warning,
            None => format!("check the key in {}", self.source),
        }
    }

    /// Takes the key out of a text that came from elsewhere.
    pub fn hidden_in(&self, text: String) -> String {
        // Servers see it without the blanks around it, and may name it without the word in front.
        let bare = self.key.trim();
        let bare = bare.strip_prefix("Bearer ").unwrap_or(bare).trim();
        if bare.is_empty() {
            return text;
        }
        let mut text = if text.contains(bare) {
            text.replace(bare, "***")
        } else {
            text
        };
        // Texts are cut to a length, perhaps in the middle of the key.
        let cut = |length: &usize| bare.get(..*length).is_some_and(|begin| text.ends_with(begin));
        if let Some(length) = (CUT_CHARS_MIN..bare.len()).rev().find(cut) {
            text.truncate(text.len() - length);
            text.push_str("***");
        }
        text
    }

    /// The value of the `authorization` header.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.key)
    }
}

/// What to do about a server that refused a request without a key.
pub fn wanted(server: &str, variable: &str) -> String {
    format!("{server} wants a key: set {variable}")
}

/// The header that carries what `bearer` gave.
pub fn authorization(bearer: &Option<String>) -> impl Iterator<Item = (&str, &str)> {
    bearer.iter().map(|bearer| ("authorization", bearer.as_str()))
}

/// The message in the body of an error, without the key that was sent.
pub fn message_without(key: Option<&ApiKey>, body: &[u8]) -> Option<String> {
    let Some(key) = key else {
        return error_message(body);
    };
    // Before the text is cut and its blanks are joined, and again because JSON can write a character in several ways.
    let message = error_message(key.hidden_in(String::from_utf8_lossy(body).into_owned()).as_bytes());
    message.map(|message| key.hidden_in(message))
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIABLE: &str = "SOME_KEY";

    fn new(key: &str) -> ApiKey {
        ApiKey::new(key.to_owned(), VARIABLE)
    }

    #[test]
    fn keys_are_sent_and_never_shown() {
        let key = new("sk-secret");
        assert_eq!(key.bearer(), "Bearer sk-secret");
        assert!(!format!("{key:?}").contains("secret"));
        assert_eq!(key.hidden_in("no sk-secret here".into()), "no *** here");
        assert_eq!(key.hidden_in("no sk-sec".into()), "no ***");
        assert_eq!(key.hidden_in("no sk".into()), "no sk");
        let odd = new(" Bearer sk-secret\t");
        assert_eq!(odd.hidden_in("no sk-secret here".into()), "no *** here");
        let stand_in = ApiKey::stand_in("sk-dummy", VARIABLE);
        assert_eq!(stand_in.advice("it"), "it wants a key: set SOME_KEY");
        assert_eq!(key.advice("it"), "check the key in SOME_KEY");
        assert!(odd.advice("it").contains("blank"), "{}", odd.advice("it"));
    }

    #[test]
    fn what_is_wrong_with_a_key_is_told_without_it() {
        for (key, why) in [
            ("sk-word\n", "ends in a line break"),
            ("sk-word\r\n", "ends in a line break"),
            ("sk\nword", "has a line break at place 3"),
            ("sk-w\u{7f}ord", "has a control character at place 5"),
            ("\u{1}sk", "has a control character at place 1"),
            ("sk-w\u{f6}rd\n", "has a character beyond ASCII at place 5"),
        ] {
            let text = new(key).problem().unwrap_or_default();
            assert!(text.starts_with("SOME_KEY ") && text.contains(why), "{text}");
            assert!(!text.contains("sk") && !text.contains("ord"), "{text}");
        }
        for (key, why) in [
            ("bearer sk-word", "begins with Bearer"),
            (" sk-word", "blank"),
            ("sk-word\t", "blank"),
            ("sk-word", ""),
        ] {
            let key = new(key);
            assert_eq!(key.problem(), None);
            let text = key.warning().unwrap_or_default();
            assert!(text.contains(why) && why.is_empty() == text.is_empty(), "{text}");
            assert!(!text.contains("word"), "{text}");
        }
    }

    #[test]
    fn a_key_that_a_server_sends_back_is_not_in_its_message() {
        let key = new("sk-\"secret");
        for body in [
            r#"{"detail": "no sk-\"secret"}"#,
            r#"{"detail": "no \u0073k-\"secret"}"#,
            "no sk-\"secret",
            &format!("{} no sk-\"secret", "x".repeat(190)),
        ] {
            let message = message_without(Some(&key), body.as_bytes()).unwrap();
            assert!(message.ends_with("no ***") && !message.contains("secret"), "{message}");
        }
        assert_eq!(message_without(None, b"no key").as_deref(), Some("no key"));
    }
}
