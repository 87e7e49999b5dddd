//! What an engine answers to `/tokenize` and `/detokenize`: in the form of vLLM, SGLang or llama.cpp. An `Err` within is the
//! message of an answer in no such form.

use std::fmt;

use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::http::error_body::error_message_in;
use crate::python::json;

/// Ids that are kept of an answer; more are refused, because only short texts are asked about.
pub const IDS_MAX: usize = 64;
/// The same for a short text in a chat template, which may have a long system prompt of its own.
pub const CHAT_IDS_MAX: usize = 1 << 16;

type Read<T> = Result<Result<T, String>, serde_json::Error>;

/// The number of tokens. A list of tokens is counted without keeping it: as a JSON value it takes forty times its text.
pub fn count(text: &[u8]) -> Read<u64> {
    if let Ok(Tally { count, tokens }) = serde_json::from_slice(json::without_mark(text))
        && let Some(count) = count.or(tokens.map(|Length(tokens)| tokens))
    {
        return Ok(Ok(count));
    }
    let answer = json::loads(text)?;
    Ok(counted(&answer).ok_or_else(|| message(&answer)))
}

/// The ids of a short text, at most `MAX`.
pub fn ids<const MAX: usize>(text: &[u8]) -> Read<Vec<u32>> {
    match serde_json::from_slice(json::without_mark(text)) {
        Ok(Listed::<MAX> { tokens: Ids(ids) }) => Ok(Ok(ids)),
        Err(_) => Ok(Err(message(&json::loads(text)?))),
    }
}

/// The text of ids: `prompt` in vLLM, `text` in SGLang, `content` in llama.cpp.
pub fn text(answer: &[u8]) -> Read<String> {
    if let Ok(Texts { prompt, text, content }) = serde_json::from_slice(json::without_mark(answer))
        && let Some(text) = prompt.or(text).or(content)
    {
        return Ok(Ok(text));
    }
    let answer = json::loads(answer)?;
    let text = ["prompt", "text", "content"]
        .iter()
        .find_map(|key| answer[key].as_str());
    Ok(text.map(str::to_owned).ok_or_else(|| message(&answer)))
}

fn message(answer: &Value) -> String {
    error_message_in(answer).unwrap_or_default()
}

/// The usual form of a count.
#[derive(Deserialize)]
struct Tally {
    count: Option<u64>,
    tokens: Option<Length>,
}

#[derive(Deserialize)]
struct Listed<const MAX: usize> {
    tokens: Ids<MAX>,
}

#[derive(Deserialize)]
struct Texts {
    prompt: Option<String>,
    text: Option<String>,
    content: Option<String>,
}

/// The length of a list of anything.
struct Length(u64);

/// A list of at most `MAX` ids.
struct Ids<const MAX: usize>(Vec<u32>);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Length, D::Error> {
        reader.deserialize_seq(LengthVisitor)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Ids<MAX> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Ids<MAX>, D::Error> {
        reader.deserialize_seq(IdsVisitor::<MAX>)
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

struct IdsVisitor<const MAX: usize>;

impl<'de, const MAX: usize> Visitor<'de> for IdsVisitor<MAX> {
    type Value = Ids<MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX} ids")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Ids<MAX>, A::Error> {
        let mut ids = Vec::new();
        while let Some(id) = list.next_element()? {
            if ids.len() == MAX {
                return Err(A::Error::invalid_length(ids.len() + 1, &self));
            }
            ids.push(id);
        }
        Ok(Ids(ids))
    }
}

fn counted(answer: &Value) -> Option<u64> {
    let listed = answer["tokens"].as_array().map(|tokens| tokens.len() as u64);
    answer["count"].as_u64().or(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engines_count_is_understood() {
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
            let got = count(answer.as_bytes()).expect("JSON");
            assert_eq!(got, want.map_err(str::to_owned), "{answer:.60}");
        }
        assert!(count(b"no JSON").is_err());
    }

    #[test]
    fn ids_of_short_texts_are_read_and_long_lists_refused() {
        let list = |ids: usize| format!(r#"{{"tokens":{:?},"count":{ids}}}"#, vec![7; ids]);
        for (answer, want) in [
            (r#"{"tokens":[198,91],"count":2}"#.to_owned(), Some(vec![198, 91])),
            (list(IDS_MAX), Some(vec![7; IDS_MAX])),
            (list(IDS_MAX + 1), None),
            (r#"{"tokens":[-1]}"#.to_owned(), None),
            (r#"{"tokens":[{"id":198}]}"#.to_owned(), None),
            (r#"{"count":2}"#.to_owned(), None),
        ] {
            assert_eq!(
                ids::<IDS_MAX>(answer.as_bytes()).expect("JSON").ok(),
                want,
                "{answer:.60}"
            );
        }
        assert!(ids::<IDS_MAX>(b"[1").is_err());
    }

    #[test]
    fn every_engines_text_is_understood() {
        for (answer, want) in [
            (r#"{"prompt":" the\n house"}"#, Ok(" the\n house")),
            (r#"{"text":"a","extra":[1]}"#, Ok("a")),
            ("\u{feff}{\"content\": \"\u{fffd}\"}", Ok("\u{fffd}")),
            (r#"{"prompt":"","text":null}"#, Ok("")),
            (r#"{"prompt":["a"],"text":"b"}"#, Ok("b")),
            (r#"{"prompt":"a","x":NaN}"#, Ok("a")),
            (r#"{"error":{"message":"no such id"}}"#, Err("no such id")),
        ] {
            let got = text(answer.as_bytes()).expect("JSON");
            assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{answer}");
        }
        assert!(text(b"no JSON").is_err());
    }
}
