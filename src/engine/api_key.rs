//! The key of engines.

use std::env;

use crate::http::api_key::ApiKey;

const VARIABLE: &str = "OPENAI_API_KEY";
/// What the reference sends without a key.
const NO_KEY: &str = "sk-dummy";

pub fn from_environment() -> ApiKey {
    // A value that is not UTF-8 stays a key, so that `problem` reports it.
    let given = env::var_os(VARIABLE).unwrap_or_default();
    engine_key(given.to_string_lossy().into_owned())
}

/// An empty key means none.
pub fn engine_key(key: String) -> ApiKey {
    if key.is_empty() {
        return ApiKey::stand_in(NO_KEY, VARIABLE);
    }
    ApiKey::new(key, VARIABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_key_the_one_of_the_reference_is_sent() {
        assert_eq!(engine_key(String::new()).bearer(), "Bearer sk-dummy");
        let advice = engine_key(String::new()).advice("the engine");
        assert_eq!(advice, "the engine wants a key: set OPENAI_API_KEY");
        assert_eq!(engine_key("sk-a".into()).bearer(), "Bearer sk-a");
    }
}
