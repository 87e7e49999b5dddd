//! The key that engines may ask for. Must never reach a message, a report or a file.

use std::env;
use std::fmt;

const VARIABLE: &str = "OPENAI_API_KEY";
/// What the reference sends without a key.
const NO_KEY: &str = "sk-dummy";

#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    pub fn from_environment() -> ApiKey {
        ApiKey::new(env::var(VARIABLE).unwrap_or_default())
    }

    /// An empty key means none.
    pub fn new(key: String) -> ApiKey {
        if key.is_empty() {
            return ApiKey(NO_KEY.to_string());
        }
        ApiKey(key)
    }

    /// Whether an HTTP header can carry it.
    pub fn is_sendable(&self) -> bool {
        self.0
            .bytes()
            .all(|byte| byte == b'\t' || (byte >= b' ' && byte != 127))
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
        assert!(key.is_sendable() && !ApiKey::new("sk\n".into()).is_sendable());
    }
}
