//! One entry of a file of prompts: a JSON object. Keys have the names that several programs give them.

use std::fmt;
use std::time::Duration;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::error::shortened;
use crate::python::quote::quoted;

/// A longer pause between two requests of a session is no benchmark's.
const DELAY_MAX: Duration = Duration::from_secs(24 * 3600);
/// Characters of a key in a message.
const KEY_CHARS_MAX: usize = 64;

/// What a key gives, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Prompt,
    Messages,
    Conversations,
    PromptTokens,
    MaxTokens,
    Session,
    DelaySeconds,
    DelayMilliseconds,
}

/// Every key that is read. `text` and `text_input`, `session_id` and `delay` are AIPerf's, `output_tokens` vLLM's,
/// `input_length` and `output_length` those of Mooncake's traces, `*_tokens_count` GuideLLM's.
const KEYS: [(&str, Part); 18] = [
    ("prompt", Part::Prompt),
    ("text", Part::Prompt),
    ("text_input", Part::Prompt),
    ("messages", Part::Messages),
    ("conversations", Part::Conversations),
    ("prompt_length", Part::PromptTokens),
    ("input_length", Part::PromptTokens),
    ("prompt_tokens_count", Part::PromptTokens),
    ("max_tokens", Part::MaxTokens),
    ("output_length", Part::MaxTokens),
    ("output_tokens", Part::MaxTokens),
    ("output_tokens_count", Part::MaxTokens),
    ("session", Part::Session),
    ("session_id", Part::Session),
    ("delay_s", Part::DelaySeconds),
    ("delay", Part::DelayMilliseconds),
    ("delay_ms", Part::DelayMilliseconds),
    ("max_completion_tokens", Part::MaxTokens),
];

impl Part {
    /// Two parts that say the same are one.
    fn slot(self) -> Part {
        match self {
            Part::DelayMilliseconds => Part::DelaySeconds,
            other => other,
        }
    }
}

/// The values of one object. What is null counts as left out.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub prompt: Option<String>,
    pub messages: Option<Box<RawValue>>,
    pub conversations: Option<Vec<Turn>>,
    pub prompt_tokens: Option<u64>,
    pub max_tokens: Option<u64>,
    pub session: Option<String>,
    pub delay: Option<Duration>,
}

/// A turn of a conversation as ShareGPT has it.
#[derive(Debug, Deserialize)]
pub(super) struct Turn {
    from: String,
    value: String,
}

impl Turn {
    fn is_question(&self) -> bool {
        ["human", "user"].contains(&self.from.as_str())
    }

    fn is_answer(&self) -> bool {
        !self.is_question() && self.from != "system"
    }
}

/// The first question of a conversation, and the first answer after it.
pub(super) fn question_and_answer(turns: Vec<Turn>) -> Option<(String, String)> {
    let mut turns = turns.into_iter();
    let question = turns.find(Turn::is_question)?;
    let answer = turns.find(Turn::is_answer)?;
    Some((question.value, answer.value))
}

/// Reads one object. Keys without a meaning go to `ignored`.
pub(super) struct EntrySeed<F>(pub F);

impl<'de, F: FnMut(String)> DeserializeSeed<'de> for EntrySeed<F> {
    type Value = Entry;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Entry, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(String)> Visitor<'de> for EntrySeed<F> {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object in braces")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Entry, A::Error> {
        let mut entry = Entry::default();
        // Which key gave a part.
        let mut given: Vec<(Part, &str)> = Vec::new();
        while let Some(key) = object.next_key::<String>()? {
            let Some((name, part)) = KEYS.iter().find(|(name, _)| *name == key) else {
                object.next_value::<IgnoredAny>()?;
                (self.0)(shortened(&key, KEY_CHARS_MAX).into_owned());
                continue;
            };
            if !entry.read(*part, name, &mut object)? {
                continue;
            }
            match given.iter().find(|(earlier, _)| *earlier == part.slot()) {
                Some((_, earlier)) if earlier == name => {
                    return Err(A::Error::custom(format_args!(
                        "the key {} is there twice",
                        quoted(name)
                    )));
                }
                Some((_, earlier)) => {
                    let (name, earlier) = (quoted(name), quoted(earlier));
                    return Err(A::Error::custom(format_args!(
                        "{earlier} and {name} say the same; keep one of them"
                    )));
                }
                None => given.push((part.slot(), name)),
            }
        }
        Ok(entry)
    }
}

impl Entry {
    /// Reads the value of a key. False where it is null.
    fn read<'de, A: MapAccess<'de>>(&mut self, part: Part, name: &str, object: &mut A) -> Result<bool, A::Error> {
        let wrong = |cause: A::Error| A::Error::custom(format_args!("{}: {cause}", quoted(name)));
        let is_there = match part {
            Part::Prompt => keep(&mut self.prompt, object.next_value().map_err(wrong)?),
            Part::Messages => keep(&mut self.messages, object.next_value().map_err(wrong)?),
            Part::Conversations => keep(&mut self.conversations, object.next_value().map_err(wrong)?),
            Part::PromptTokens | Part::MaxTokens => {
                let value = object
                    .next_value::<Option<Count>>()
                    .map_err(wrong)?
                    .map(|count| count.0);
                let field = if part == Part::MaxTokens {
                    &mut self.max_tokens
                } else {
                    &mut self.prompt_tokens
                };
                keep(field, value)
            }
            Part::Session => {
                let value = object.next_value::<Option<Name>>().map_err(wrong)?;
                keep(&mut self.session, value.map(|name| name.0))
            }
            Part::DelaySeconds | Part::DelayMilliseconds => {
                let value = object.next_value::<Option<f64>>().map_err(wrong)?;
                let per_second = if part == Part::DelaySeconds { 1.0 } else { 1000.0 };
                let delay = value.map(|value| delay(value / per_second)).transpose();
                keep(&mut self.delay, delay.map_err(A::Error::custom).map_err(wrong)?)
            }
        };
        Ok(is_there)
    }
}

/// Stores a value that is there. An earlier one stays, so that a null does not take it back.
fn keep<T>(field: &mut Option<T>, value: Option<T>) -> bool {
    let is_there = value.is_some();
    if is_there {
        *field = value;
    }
    is_there
}

fn delay(seconds: f64) -> Result<Duration, String> {
    let most = DELAY_MAX.as_secs();
    let delay = Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|delay| *delay <= DELAY_MAX);
    delay.ok_or_else(|| format!("a delay must be from 0 to {most} s, got {seconds} s"))
}

/// A whole number from 0 on. Table programs write `7.0` for 7.
#[derive(Debug)]
struct Count(u64);

/// A text, or a whole number that stands for its digits.
#[derive(Debug)]
struct Name(String);

macro_rules! visited {
    ($type:ident, $what:literal, $($method:ident($value:ident: $kind:ty) => $made:expr),+) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                struct Made;
                impl Visitor<'_> for Made {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }

                    $(fn $method<E: serde::de::Error>(self, $value: $kind) -> Result<$type, E> {
                        let made: Option<$type> = $made;
                        made.ok_or_else(|| E::custom(format_args!("{} is not {}", $value, $what)))
                    })+
                }
                deserializer.deserialize_any(Made)
            }
        }
    };
}

visited!(
    Count,
    "a whole number from 0 on",
    visit_u64(value: u64) => Some(Count(value)),
    visit_i64(value: i64) => u64::try_from(value).ok().map(Count),
    visit_f64(value: f64) => ((0.0..9e15).contains(&value) && value.fract() == 0.0).then_some(Count(value as u64))
);
visited!(
    Name,
    "a text or a whole number",
    visit_str(value: &str) => Some(Name(value.to_owned())),
    visit_u64(value: u64) => Some(Name(value.to_string())),
    visit_i64(value: i64) => Some(Name(value.to_string()))
);
