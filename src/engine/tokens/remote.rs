//! Token counts from the engine's own `/tokenize`, in one request of the form of vLLM and SGLang and that of llama.cpp. Used
//! only outside the measured time.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::engine::ask::http::{Asker, PATIENT, Reached};
use crate::http::api_key::ApiKey;
use crate::http::error_body::error_message_in;
use crate::python::json;

#[derive(Debug)]
pub struct EngineTokenizer {
    asker: Asker,
    url: String,
    model: String,
}

impl EngineTokenizer {
    /// Fails when the engine does not count tokens.
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
        let answer = self.asker.post_json(&self.url, &question, tally);
        let answer = answer.map_err(|why| match why.reached {
            // Many engines have no such endpoint, and are the right ones all the same.
            Reached::Server => format!("{} does not count tokens: {}", self.url, why.cause),
            Reached::Nobody | Reached::Gateway => format!("{} could not be asked for tokens: {why}", self.url),
        })?;
        answer.map_err(|said| format!("{} answered without a count or a list of tokens ({said})", self.url))
    }
}

/// The count that an answer gives, or its message. A list of tokens is counted without keeping it: as a JSON value it takes
/// forty times its text.
fn tally(text: &[u8]) -> Result<Result<u64, String>, serde_json::Error> {
    if let Ok(Tally { count, tokens }) = serde_json::from_slice(json::without_mark(text))
        && let Some(count) = count.or(tokens.map(|Length(tokens)| tokens))
    {
        return Ok(Ok(count));
    }
    let answer = json::loads(text)?;
    Ok(counted(&answer).ok_or_else(|| error_message_in(&answer).unwrap_or_default()))
}

/// The usual form of an answer.
#[derive(Deserialize)]
struct Tally {
    count: Option<u64>,
    tokens: Option<Length>,
}

/// The length of a list of anything.
struct Length(u64);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Length, D::Error> {
        reader.deserialize_seq(LengthVisitor)
    }
}

struct LengthVisitor;

impl<'de> Visitor<'de> for LengthVisitor {
    type Value = Length;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Length, A::Error> {
        let mut length = 0;
        while list.next_element::<IgnoredAny>()?.is_some() {
            length += 1;
        }
        Ok(Length(length))
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
        let many = format!(r#"{{"tokens":[{}0],"max_model_len":9}}"#, "0,".repeat(300_000));
        for (answer, want) in [
            (r#"{"count": 3, "max_model_len": 9, "tokens": [1, 2, 3]}"#, Ok(3)),
            ("\u{feff}{\"tokens\": [1, 2], \"count\": null}", Ok(2)),
            (r#"{"tokens": [{"id": 198, "piece": "\n"}]}"#, Ok(1)),
            (r#"{"tokens": [1], "x": NaN}"#, Ok(1)),
            (r#"{"tokens": [1, 2], "count": "many"}"#, Ok(2)),
            (r#"{"detail": "Not Found"}"#, Err("Not Found")),
            ("[1]", Err("[1]")),
            (&many, Ok(300_001)),
        ] {
            let got = tally(answer.as_bytes()).expect("JSON");
            assert_eq!(got, want.map_err(str::to_owned), "{answer:.60}");
        }
        assert!(tally(b"no JSON").is_err());
    }
}
