//! Token counts from the engine's own `/tokenize`: vLLM's and SGLang's form and llama.cpp's in one request. Must never be
//! asked while a run is measured.

use serde_json::{Value, json};

use crate::engine::api_key::ApiKey;
use crate::engine::ask::http::{Asker, PATIENT, Reached};
use crate::http::said::said_in;

#[derive(Debug)]
pub struct EngineTokenizer {
    asker: Asker,
    url: String,
    model: String,
}

impl EngineTokenizer {
    /// Finds out whether the engine counts tokens.
    pub fn connect(base_url: &str, model: &str, key: &ApiKey) -> Result<EngineTokenizer, String> {
        let root = base_url.strip_suffix("/v1").unwrap_or(base_url);
        let engine = EngineTokenizer {
            asker: Asker::of_engine(key, PATIENT),
            url: format!("{root}/tokenize"),
            model: model.to_string(),
        };
        engine.count("hello").map(|_| engine)
    }

    pub fn count(&self, text: &str) -> Result<u64, String> {
        // vLLM and SGLang read `prompt`, llama.cpp reads `content`; each ignores the other's fields.
        let question = json!({
            "model": self.model,
            "prompt": text,
            "content": text,
            "add_special_tokens": false,
            "add_special": false,
        });
        let answer = self.asker.post_json(&self.url, &question);
        let answer = answer.map_err(|why| match why.reached {
            // Many engines have no such endpoint, and are the right ones all the same.
            Reached::Server => format!("{} does not count tokens: {}", self.url, why.cause),
            Reached::Nobody | Reached::Doorkeeper => format!("{} could not be asked for tokens: {why}", self.url),
        })?;
        counted(&answer).ok_or_else(|| {
            let said = said_in(&answer).unwrap_or_default();
            format!("{} answered without a count or a list of tokens ({said})", self.url)
        })
    }
}

pub(crate) fn counted(answer: &Value) -> Option<u64> {
    let listed = answer["tokens"].as_array().map(|tokens| tokens.len() as u64);
    answer["count"].as_u64().or(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engines_answer_is_understood() {
        assert_eq!(
            counted(&json!({"count": 3, "max_model_len": 9, "tokens": [1, 2, 3]})),
            Some(3)
        );
        assert_eq!(counted(&json!({"tokens": [1, 2]})), Some(2));
        assert_eq!(counted(&json!({"tokens": [{"id": 198, "piece": "\n"}]})), Some(1));
        assert_eq!(counted(&json!({"detail": "Not Found"})), None);
    }
}
