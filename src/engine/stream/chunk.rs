//! One JSON event of a streamed answer. The usual shape is parsed without copying; a slower parser handles all the other
//! shapes that engines are known to send. What an event means for the answer is decided in `answer`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::counts::{self, Usage};
use super::ending;
use crate::engine::failure::{Failure, FailureClass};
use crate::http::error_body::{error_message_in, one_line};
use crate::python::json;
use crate::python::value::is_true;

/// The contents of an event's first choice, and its usage.
#[derive(Debug, Default, PartialEq)]
pub struct Chunk<'a> {
    /// The engine's id of the answer.
    pub id: Option<Cow<'a, str>>,
    /// The text that the reference appends to the answer; there, `Some("")` and `None` differ.
    pub piece: Option<Cow<'a, str>>,
    /// Any non-empty text of the model, visible or reasoning: this is a token event.
    pub has_token: bool,
    /// Non-empty text that is not reasoning.
    pub has_output: bool,
    /// The finish reason, in the event that has one.
    pub finish_reason: Option<Cow<'a, str>>,
    /// The event has a choice, even an empty one. A usage without a choice comes at the end of an answer.
    pub has_choice: bool,
    pub usage: Option<Usage>,
    /// A number in the usage that is not a count, with its name.
    pub impossible_count: Option<String>,
}

impl Chunk<'_> {
    /// Whether this is the event with the usage alone that engines send at the end.
    pub fn is_usage_event(&self) -> bool {
        !self.has_choice && self.usage.is_some_and(|usage| usage != Usage::default())
    }
}

/// The value of `object` in errors of SGLang and vLLM.
const ERROR: &str = "error";

/// Parses the data of one event. `Ok(None)`: JSON, but not an object; such events are ignored.
pub fn parse(data: &[u8]) -> Result<Option<Chunk<'_>>, Failure> {
    match serde_json::from_slice::<Event>(data) {
        Ok(event) if !event.may_be_error() => Ok(Some(event.into_chunk())),
        _ => parse_slowly(data),
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    choices: First<Choice<'a>>,
    #[serde(default)]
    usage: Option<PlainUsage>,
    #[serde(default)]
    error: Option<IgnoredAny>,
    #[serde(borrow, default)]
    object: Option<Text<'a>>,
    #[serde(default)]
    detail: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<Text<'a>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow, default)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow, default)]
    refusal: Option<Text<'a>>,
    #[serde(borrow, default)]
    tool_calls: First<ToolCall<'a>>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    arguments: Option<Text<'a>>,
}

/// Its own type, because serde borrows a `Cow` only when it is the whole field.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct PlainUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

/// The first element of an array or of null; the rest is checked for syntax and dropped.
struct First<T>(Option<T>);

impl<T> Default for First<T> {
    fn default() -> First<T> {
        First(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<First<T>, D::Error> {
        struct Elements<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
            type Value = First<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array or null")
            }

            fn visit_unit<E>(self) -> Result<First<T>, E> {
                Ok(First(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<First<T>, A::Error> {
                let first = elements.next_element()?;
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        deserializer.deserialize_any(Elements(std::marker::PhantomData))
    }
}

impl<'a> Event<'a> {
    fn may_be_error(&self) -> bool {
        self.error.is_some() || self.detail.is_some() || self.object.as_ref().is_some_and(|object| object.0 == ERROR)
    }

    fn into_chunk(self) -> Chunk<'a> {
        let id = self.id.map(|id| id.0);
        let usage = self.usage.map(|usage| Usage {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            cached_tokens: usage
                .prompt_tokens_details
                .and_then(|details| details.cached_tokens)
                .or(usage.prompt_cache_hit_tokens),
        });
        let Some(choice) = self.choices.0 else {
            return Chunk {
                id,
                usage,
                ..Chunk::default()
            };
        };
        let delta = choice.delta.unwrap_or_default();
        let filled = |text: &Option<Text>| text.as_ref().is_some_and(|text| !text.0.is_empty());
        let arguments = delta.tool_calls.0.and_then(|call| call.function?.arguments);
        let has_output = filled(&delta.content) || filled(&choice.text) || filled(&delta.refusal) || filled(&arguments);
        let has_reasoning = filled(&delta.reasoning_content) || filled(&delta.reasoning);
        let piece = delta
            .content
            .or(delta.reasoning_content)
            .or(delta.reasoning)
            .or(choice.text);
        Chunk {
            id,
            piece: piece.map(|text| text.0),
            has_token: has_output || has_reasoning,
            has_output,
            finish_reason: choice.finish_reason.and_then(|reason| reason_of(reason.0)),
            has_choice: true,
            usage,
            impossible_count: None,
        }
    }
}

fn reason_of(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    ending::reason(&text).is_some().then_some(text)
}

/// For errors, numbers in quotes, duplicate keys, JSON that only Python accepts, and everything else that is rare.
fn parse_slowly(data: &[u8]) -> Result<Option<Chunk<'static>>, Failure> {
    let value = json::loads(data).map_err(|error| {
        if json::costs_too_much(&error) {
            return Failure::protocol(format!("an event of the answer is none of an engine's: {error}"));
        }
        let said = one_line(&String::from_utf8_lossy(data));
        Failure::protocol(format!("an event of the answer is not JSON: {error}: {said}"))
    })?;
    let Value::Object(event) = &value else {
        return Ok(None);
    };
    if is_error(event) {
        return Err(error_event(&value));
    }
    let null = Value::Null;
    let mut impossible_count = None;
    let usage = event.get("usage").filter(|usage| usage.is_object());
    let usage = usage.map(|usage| counts::read(usage, &mut impossible_count));
    let choice = event.get("choices").and_then(|choices| choices.get(0));
    let has_choice = choice.is_some();
    let choice = choice.unwrap_or(&null);
    let delta = &choice["delta"];
    let content = text(&delta["content"], "content")?;
    let reasoning_content = text(&delta["reasoning_content"], "reasoning_content")?;
    let reasoning = text(&delta["reasoning"], "reasoning")?;
    let completion = text(&choice["text"], "text")?;
    let refusal = text(&delta["refusal"], "refusal")?;
    let arguments = delta["tool_calls"][0]["function"]["arguments"].as_str();
    let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let has_output = filled(&content)
        || filled(&completion)
        || filled(&refusal)
        || arguments.is_some_and(|arguments| !arguments.is_empty());
    let has_token = has_output || filled(&reasoning_content) || filled(&reasoning);
    let piece = content.or(reasoning_content).or(reasoning).or(completion);
    let id = event.get("id").and_then(Value::as_str);
    Ok(Some(Chunk {
        id: id.map(|id| Cow::Owned(id.to_owned())),
        piece: piece.map(Cow::Owned),
        has_token,
        has_output,
        finish_reason: ending::reason_in(&choice["finish_reason"]).map(Cow::Owned),
        has_choice,
        usage,
        impossible_count,
    }))
}

/// An error inside the answer: `error` in any form, SGLang's `"object": "error"`, or FastAPI's `detail` without choices. Values
/// count by Python's truth, as in the reference.
fn is_error(event: &Map<String, Value>) -> bool {
    let truthy = |key: &str| event.get(key).is_some_and(is_true);
    truthy("error")
        || event.get("object").is_some_and(|object| object == ERROR)
        || (truthy("detail") && !truthy("choices"))
}

/// The failure that an error event describes; its data may be JSON, text or nothing.
pub fn error_event(said: &Value) -> Failure {
    let text = error_message_in(said).unwrap_or_else(|| "the engine sent an error event without a text".to_owned());
    Failure::new(FailureClass::StreamBroken, text)
}

fn text(value: &Value, name: &str) -> Result<Option<String>, Failure> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(Failure::protocol(format!(
            "{name} of an event of the answer is not text"
        ))),
    }
}
