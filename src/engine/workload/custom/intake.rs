//! Makes requests of the entries of a file of prompts. Of what is read only the texts that are sent stay in memory.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::Rules;
use super::line::{Entry, EntrySeed, question_and_answer};
use crate::engine::args::Endpoint;
use crate::engine::workload::body::BETWEEN_CONTENTS;
use crate::engine::workload::descriptor::LENGTH_MAX;
use crate::sys::signal;

/// Prompts of a file.
const PROMPTS_MAX: usize = 10_000_000;
/// Keys without effect that are named.
const IGNORED_MAX: usize = 8;

/// What is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// One user message, or the prompt of a completion.
    Prompt(Box<str>),
    /// A JSON array of messages, as it stands in the file.
    Messages(Box<str>),
    /// So many filler words.
    Synthetic(u64),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub content: Content,
    pub max_tokens: u32,
    /// Place in the file, from 1: the line, or the element of a list.
    pub place: u64,
    pub session: Option<u32>,
    pub delay_us: u64,
}

/// The prompts of a file, and what people should know about it.
#[derive(Debug, Default, PartialEq)]
pub struct Loaded {
    pub items: Vec<Item>,
    /// Different sessions.
    pub sessions: u32,
    /// Whether the file is one list.
    pub is_list: bool,
    /// Conversations without a question and an answer.
    pub skipped: u64,
    /// Lengths that had to be counted.
    pub counted: u64,
    /// The first keys without effect that were met, sorted.
    pub ignored: BTreeSet<String>,
    /// Whether there are others.
    pub ignores_others: bool,
}

/// The cause of an error without its place, which is counted within one line. The column helps where the syntax is wrong.
pub(super) fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let cause = text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]);
    match error.classify() {
        Category::Syntax | Category::Eof => format!("it is not JSON at column {}: {cause}", error.column()),
        _ => cause.to_owned(),
    }
}

/// Makes items of entries.
pub(super) struct Intake<'a> {
    rules: &'a Rules<'a>,
    pub loaded: Loaded,
    /// Numbers of the sessions by their names.
    sessions: HashMap<String, u32>,
    /// The place of the entry that is being read.
    pub place: u64,
}

impl<'de> DeserializeSeed<'de> for &mut Intake<'_> {
    type Value = ();

    /// Reads the entry of `place`.
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let loaded = &mut self.loaded;
        let ignore = |key: String| {
            if loaded.ignored.len() < IGNORED_MAX {
                loaded.ignored.insert(key);
            } else if !loaded.ignored.contains(&key) {
                loaded.ignores_others = true;
            }
        };
        let entry = EntrySeed(ignore).deserialize(deserializer)?;
        self.accept(entry).map_err(D::Error::custom)
    }
}

/// The elements of a list.
pub(super) struct Elements<'i, 'a>(pub &'i mut Intake<'a>);

impl<'de> Visitor<'de> for Elements<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        loop {
            self.0.place += 1;
            if signal::received().is_some() {
                return Err(A::Error::custom("a signal asked for the end"));
            }
            if list.next_element_seed(&mut *self.0)?.is_none() {
                return Ok(());
            }
        }
    }
}

impl<'a> Intake<'a> {
    pub(super) fn new(rules: &'a Rules<'a>) -> Intake<'a> {
        Intake {
            rules,
            loaded: Loaded::default(),
            sessions: HashMap::new(),
            place: 0,
        }
    }

    fn accept(&mut self, entry: Entry) -> Result<(), String> {
        let mut max_tokens = entry.max_tokens;
        let content = match (entry.prompt, entry.messages, entry.conversations, entry.prompt_tokens) {
            // A length beside a text only describes it.
            (Some(prompt), None, None, _) => self.text(prompt)?,
            (None, Some(messages), None, _) => self.messages(&messages)?,
            (None, None, Some(turns), _) => {
                let both =
                    question_and_answer(turns).filter(|(question, answer)| !question.is_empty() && !answer.is_empty());
                let Some((question, answer)) = both else {
                    self.loaded.skipped += 1;
                    return Ok(());
                };
                if max_tokens.is_none() {
                    max_tokens = Some(self.answer_tokens(&answer)?);
                }
                self.text(question)?
            }
            (None, None, None, Some(tokens)) => self.synthetic(tokens)?,
            (None, None, None, None) => {
                return Err("it has no prompt; give prompt, messages or prompt_length".to_owned());
            }
            _ => return Err("it has more than one of prompt, messages and conversations; keep one of them".to_owned()),
        };
        let max_tokens = max_tokens.or(self.rules.max_tokens).ok_or(
            "it has no length of the answer; give max_tokens in the line, or --custom-max-tokens for all lines without it",
        )?;
        if self.loaded.items.len() == PROMPTS_MAX {
            return Err(format!("the file has more than {PROMPTS_MAX} prompts; split it"));
        }
        let session = entry.session.map(|name| self.session(name));
        self.loaded.items.push(Item {
            content,
            max_tokens: in_range("max_tokens", max_tokens)?,
            place: self.place,
            session,
            delay_us: entry.delay.map_or(0, |delay| delay.as_micros() as u64),
        });
        Ok(())
    }

    fn text(&self, text: String) -> Result<Content, String> {
        if text.is_empty() {
            return Err("its prompt is empty".to_owned());
        }
        Ok(Content::Prompt(text.into_boxed_str()))
    }

    /// Messages go out as they are; for the completions endpoint their contents are joined.
    fn messages(&self, messages: &RawValue) -> Result<Content, String> {
        let joins = self.rules.endpoint == Endpoint::Completions;
        let mut joined = String::new();
        let mut count = 0;
        let take = |message: Message<'_>| {
            if message.role.is_empty() {
                return Err("a role is empty".to_owned());
            }
            if joins {
                let content = message.content.map_or("null", RawValue::get);
                let text: String = serde_json::from_str(content).map_err(|_| {
                    "a content is no text, which --endpoint completions cannot send; leave that flag out".to_owned()
                })?;
                joined.push_str(if count == 0 { "" } else { BETWEEN_CONTENTS });
                joined.push_str(&text);
            }
            count += 1;
            Ok(())
        };
        let mut reader = serde_json::Deserializer::from_str(messages.get());
        let read = reader.deserialize_seq(Messages(take));
        read.map_err(|error| format!("messages: {}", said(&error)))?;
        match (count, joins) {
            (0, _) => Err("messages: the list is empty".to_owned()),
            (_, true) => self.text(joined),
            (_, false) => Ok(Content::Messages(messages.get().into())),
        }
    }

    fn synthetic(&mut self, tokens: u64) -> Result<Content, String> {
        self.loaded.counted += 1;
        let tokens = in_range("prompt_length", tokens)?;
        let words = self.rules.lengths.filler_words(self.place, tokens.into());
        words.map(Content::Synthetic).map_err(|error| error.to_string())
    }

    fn answer_tokens(&mut self, answer: &str) -> Result<u64, String> {
        self.loaded.counted += 1;
        let counted = self.rules.lengths.count(answer);
        counted.map(|tokens| tokens.max(1)).map_err(|error| error.to_string())
    }

    fn session(&mut self, name: String) -> u32 {
        let next = self.loaded.sessions;
        let number = *self.sessions.entry(name).or_insert(next);
        self.loaded.sessions = next.max(number + 1);
        number
    }
}

/// A length that an engine can be asked for.
fn in_range(what: &str, tokens: u64) -> Result<u32, String> {
    let length = u32::try_from(tokens)
        .ok()
        .filter(|_| (1..=LENGTH_MAX).contains(&tokens));
    length.ok_or_else(|| format!("{what} must be from 1 to {LENGTH_MAX}, got {tokens}"))
}

/// A message, as far as it matters here.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

/// Hands over each message of a list; none is kept.
struct Messages<F>(F);

impl<'de, F: FnMut(Message<'de>) -> Result<(), String>> Visitor<'de> for Messages<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(message) = list.next_element()? {
            (self.0)(message).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
