//! The key that engines may ask for. Messages, reports and files do not show it.

use std::env;
use std::fmt;

const VARIABLE: &str = "OPENAI_API_KEY";
/// What the reference sends without a key.
const NO_KEY: &str = "sk-dummy";

/// A shorter beginning of the key at the end of a text is not masked: it may be chance, and reveals nothing.
const CUT_CHARS_MIN: usize = 5;

#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    pub fn from_environment() -> ApiKey {
        // A value that is not UTF-8 stays a key, so that `problem` reports it.
        let given = env::var_os(VARIABLE).unwrap_or_default();
        ApiKey::new(given.to_string_lossy().into_owned())
    }

    /// An empty key means none.
    pub fn new(key: String) -> ApiKey {
        if key.is_empty() {
            return ApiKey(NO_KEY.to_string());
        }
        ApiKey(key)
    }

    /// Why the key cannot be sent in an HTTP header, if so: a sentence with the position, without any part of the key.
    pub fn problem(&self) -> Option<String> {
        let is_sendable = |c: char| c == '\t' || (c.is_ascii() && !c.is_ascii_control());
        if self.0.trim_end_matches(['\r', '\n']).chars().all(is_sendable) {
            let ends = self.0.ends_with(['\r', '\n']);
            let what =
                "ends in a line break, which no HTTP header can carry; leave it out, as in $(tr -d '\\r\\n' < FILE)";
            return ends.then(|| format!("{VARIABLE} {what}"));
        }
        let (place, c) = self.0.chars().enumerate().find(|(_, c)| !is_sendable(*c))?;
        let kind = match c {
            '\r' | '\n' => "a line break",
            c if c.is_control() => "a control character",
            _ => "a character beyond ASCII",
        };
        let place = place + 1;
        Some(format!(
            "{VARIABLE} has {kind} at place {place}, which no HTTP header can carry; set it to the key alone"
        ))
    }

    /// A warning about a key that is sent unchanged but is probably a mistake.
    pub fn warning(&self) -> Option<String> {
        let what = if self
            .0
            .get(..7)
            .is_some_and(|start| start.eq_ignore_ascii_case("bearer "))
        {
            "begins with Bearer, which is put in front of it once more"
        } else if self.0.trim() != self.0 {
            "begins or ends with a blank, which few servers take"
        } else {
            return None;
        };
        Some(format!("{VARIABLE} {what}; set it to the key alone"))
    }

    /// Advice for a server that refuses this key.
    pub fn advice(&self) -> &'static str {
        if self.0 == NO_KEY {
            "the engine wants a key: set OPENAI_API_KEY"
        } else {
            "check the key in OPENAI_API_KEY"
        }
    }

    /// Takes the key out of a text that came from elsewhere.
    pub fn hidden_in(&self, text: String) -> String {
        // Servers see it without the blanks around it, and may name it without the word in front.
        let bare = self.0.trim();
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
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sent_and_never_shown() {
        let key = ApiKey::new("sk-secret".into());
        assert_eq!(key.bearer(), "Bearer sk-secret");
        assert!(!format!("{key:?}").contains("secret"));
        assert_eq!(ApiKey::new(String::new()).bearer(), "Bearer sk-dummy");
        assert_eq!(key.hidden_in("no sk-secret here".into()), "no *** here");
        assert_eq!(key.hidden_in("no sk-sec".into()), "no ***");
        assert_eq!(key.hidden_in("no sk".into()), "no sk");
        let odd = ApiKey::new(" Bearer sk-secret\t".into());
        assert_eq!(odd.hidden_in("no sk-secret here".into()), "no *** here");
        assert_ne!(key.advice(), ApiKey::new(String::new()).advice());
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
            let text = ApiKey::new(key.into()).problem().unwrap_or_default();
            assert!(text.starts_with("OPENAI_API_KEY ") && text.contains(why), "{text}");
            assert!(!text.contains("sk") && !text.contains("ord"), "{text}");
        }
        for (key, why) in [
            ("bearer sk-word", "begins with Bearer"),
            (" sk-word", "blank"),
            ("sk-word\t", "blank"),
            ("sk-word", ""),
        ] {
            let key = ApiKey::new(key.into());
            assert_eq!(key.problem(), None);
            let text = key.warning().unwrap_or_default();
            assert!(text.contains(why) && why.is_empty() == text.is_empty(), "{text}");
            assert!(!text.contains("word"), "{text}");
        }
    }
}
