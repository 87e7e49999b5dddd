//! One JSON event of a streamed answer. The usual shape is read without copying; anything else goes a slower way that knows
//! the shapes engines were seen to send. Says what an event carries, decides nothing.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use crate::engine::failure::{Failure, FailureClass};

/// What the first choice of an event carries, and its usage.
#[derive(Debug, Default, PartialEq)]
pub struct Chunk<'a> {
    /// The engine's own name of the answer.
    pub id: Option<Cow<'a, str>>,
    /// The piece that the reference adds to the answer's text; `Some("")` and `None` differ there.
    pub piece: Option<Cow<'a, str>>,
    /// Any non-empty text of the model, visible or not: this is a token event.
    pub has_token: bool,
    /// Non-empty text that is not reasoning.
    pub has_output: bool,
    pub finished: bool,
    pub usage: Option<Usage>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    /// Prompt tokens the engine found in its cache, when it says so.
    pub cached_tokens: Option<u64>,
}

/// Reads the data of one event. `Ok(None)`: JSON, but no object, so nothing for us.
pub fn parse(data: &[u8]) -> Result<Option<Chunk<'_>>, Failure> {
    match serde_json::from_slice::<Event>(data) {
        Ok(event) if event.error.is_none() => Ok(Some(event.into_chunk())),
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
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(default)]
    finish_reason: Option<IgnoredAny>,
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

/// A type of its own, because serde borrows a `Cow` only where it is the whole field.
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
            finished: choice.finish_reason.is_some(),
            usage,
        }
    }
}

/// Errors, numbers in quotes, doubled keys and everything else that is rare.
fn parse_slowly(data: &[u8]) -> Result<Option<Chunk<'static>>, Failure> {
    let value: Value = serde_json::from_slice(data)
        .map_err(|error| Failure::protocol(format!("an event of the answer is not JSON: {error}")))?;
    let Value::Object(event) = value else {
        return Ok(None);
    };
    if let Some(error) = event.get("error").filter(|error| is_truthy(error)) {
        let message = error.get("message").and_then(Value::as_str);
        let text = message.unwrap_or("An error occurred during streaming");
        return Err(Failure::new(FailureClass::StreamBroken, text));
    }
    let null = Value::Null;
    let usage = event.get("usage").filter(|usage| usage.is_object()).map(|usage| Usage {
        prompt_tokens: number(&usage["prompt_tokens"]),
        completion_tokens: number(&usage["completion_tokens"]),
        cached_tokens: number(&usage["prompt_tokens_details"]["cached_tokens"])
            .or(number(&usage["prompt_cache_hit_tokens"])),
    });
    let choice = event.get("choices").and_then(|choices| choices.get(0)).unwrap_or(&null);
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
        finished: !choice["finish_reason"].is_null(),
        usage,
    }))
}

/// As Python sees it, because that is what the reference tests.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Bool(true) => true,
    }
}

/// A count, in quotes or not.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
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
