//! The engine's own tokenizer: `/tokenize` and `/detokenize`, asked in one form for vLLM, SGLang and llama.cpp. Used only
//! outside the measured time, one question after the other.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::reply;
use super::vocabulary::Separator;
use crate::engine::ask::http::{Asker, PATIENT, Reached};
use crate::engine::ask::root;
use crate::engine::template_kwargs::TemplateKwargs;
use crate::error::Error;
use crate::http::api_key::ApiKey;
use crate::python::json;
use crate::sys::signal;

const BOUNDS: Bounds = Bounds {
    words: Spent {
        calls: 16_384,
        bytes: 1 << 30,
        time: Duration::from_secs(600),
    },
    texts: Spent {
        calls: 131_072,
        bytes: 8 << 30,
        time: Duration::from_secs(1200),
    },
};

#[derive(Debug)]
pub struct EngineTokenizer {
    asker: Asker,
    /// Without `/v1`, where no engine has these pages.
    root: String,
    model: String,
    text: Text,
    spent: Mutex<Spent>,
    bounds: Bounds,
}

/// How much may have been spent.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// While the words of a vocabulary are found. One of 262,144 tokens takes some 200 questions and 10 MB.
    words: Spent,
    /// While texts are counted or decoded one by one.
    texts: Spent,
}

/// Whether ids can be turned into text.
#[derive(Debug)]
enum Text {
    Decoded {
        separator: Separator,
        /// Ids of the vocabulary, where the engine says so. llama.cpp may not be asked for others.
        ids: Option<u32>,
    },
    /// Not tried, or why it does not work.
    None(String),
}

/// What the questions have taken so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    calls: u64,
    bytes: u64,
    time: Duration,
}

/// The bytes of an answer, and what it says or its message.
type Measured<T> = Result<(usize, Result<T, String>), serde_json::Error>;

/// Why a question has no answer.
#[derive(Debug)]
pub enum Fault {
    /// The engine refused this one, or answered in no known form; others may succeed.
    Refused(String),
    /// Every other one will fail too.
    Lost(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Refused(why) | Fault::Lost(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls, {:.1} s", self.calls, self.time.as_secs_f64())
    }
}

/// An error once a signal has come.
pub fn ended() -> Result<(), Error> {
    match signal::received() {
        Some(_) => Err(Error::Environment("the run was ended".to_owned())),
        None => Ok(()),
    }
}

impl EngineTokenizer {
    /// Fails when the engine does not count tokens. `text`: whether ids are to be turned into text too.
    pub fn connect(base_url: &str, model: &str, key: &ApiKey, text: bool) -> Result<EngineTokenizer, String> {
        let mut engine = EngineTokenizer::unasked(base_url, model, key);
        let counts = engine.asked_to_count("hello");
        match counts {
            Ok(_) if text => engine.text = engine.decoding(base_url),
            Ok(_) => {}
            // The status of the other page says whether the address is that of an engine at all.
            Err(Fault::Refused(why)) if text => match engine.text(&[0], false) {
                Ok(_) => return Err(format!("{why}; {}/detokenize works", engine.root)),
                Err(also) => return Err(format!("{why}; {also}")),
            },
            Err(fault) => return Err(fault.to_string()),
        }
        Ok(engine)
    }

    /// Without a question whether it counts or decodes.
    pub fn unasked(base_url: &str, model: &str, key: &ApiKey) -> EngineTokenizer {
        let root = root(base_url);
        EngineTokenizer {
            asker: Asker::of_engine_often(key, PATIENT),
            root: root.to_owned(),
            model: model.to_owned(),
            text: Text::None("it was not asked to".to_owned()),
            spent: Mutex::default(),
            bounds: BOUNDS,
        }
    }

    fn decoding(&self, base_url: &str) -> Text {
        match Separator::find(self) {
            Ok(separator) => Text::Decoded {
                separator,
                ids: self.vocabulary_ids(&format!("{base_url}/models")),
            },
            Err(why) => Text::None(why),
        }
    }

    /// `meta.n_vocab` of llama.cpp's list of models.
    fn vocabulary_ids(&self, url: &str) -> Option<u32> {
        let models = self.asker.get_json(url).ok()?;
        let ids = models["data"][0]["meta"]["n_vocab"].as_u64()?;
        u32::try_from(ids).ok()
    }

    /// The address, for messages.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Why ids cannot be turned into text; `None` if they can.
    pub fn no_text(&self) -> Option<&str> {
        match &self.text {
            Text::Decoded { .. } => None,
            Text::None(why) => Some(why),
        }
    }

    /// What separates texts in an answer, and the number of ids where the engine says it.
    pub fn separator(&self) -> Option<(&Separator, Option<u32>)> {
        match &self.text {
            Text::Decoded { separator, ids } => Some((separator, *ids)),
            Text::None(_) => None,
        }
    }

    pub fn spent(&self) -> Spent {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bounds are on what one load takes: the next begins anew.
    pub fn start_over(&self) {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner) = Spent::default();
    }

    /// An error when finding words has taken more than it may.
    pub fn within_bounds(&self) -> Result<(), Fault> {
        self.within(&self.bounds.words, "the words of the vocabulary")
    }

    fn within(&self, most: &Spent, what: &str) -> Result<(), Fault> {
        let Spent { calls, bytes, time } = self.spent();
        if calls < most.calls && bytes < most.bytes && time < most.time {
            return Ok(());
        }
        Err(Fault::Lost(format!(
            "{what} were not found within {calls} questions to {}, {} MB of answers and {:.0} s",
            self.root,
            bytes >> 20,
            time.as_secs_f64()
        )))
    }

    fn texts_within_bounds(&self) -> Result<(), String> {
        let within = self.within(&self.bounds.texts, "the texts of the prompts");
        within.map_err(|fault| fault.to_string())
    }

    /// The most questions about texts.
    pub fn calls_max(&self) -> u64 {
        self.bounds.texts.calls
    }

    /// Tokens of a text of a prompt.
    pub fn count(&self, text: &str) -> Result<u64, String> {
        self.texts_within_bounds()?;
        self.asked_to_count(text).map_err(|fault| fault.to_string())
    }

    /// A text of a prompt, without special tokens where the engine leaves them out.
    pub fn decode(&self, ids: &[u32]) -> Result<String, String> {
        self.texts_within_bounds()?;
        self.text(ids, true).map_err(|fault| fault.to_string())
    }

    pub fn asked_to_count(&self, text: &str) -> Result<u64, Fault> {
        self.ask("tokenize", &self.encoding(text), |answer| {
            Ok((answer.len(), reply::count(answer)?))
        })
    }

    /// The ids of a short text.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, Fault> {
        self.ask("tokenize", &self.encoding(text), |answer| {
            Ok((answer.len(), reply::ids::<{ reply::IDS_MAX }>(answer)?))
        })
    }

    /// The ids of a chat with one message of a user, as vLLM tells them.
    pub fn chat_ids(&self, content: &str, kwargs: &TemplateKwargs) -> Result<Vec<u32>, Fault> {
        let mut question = json!({
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "add_generation_prompt": true,
            "add_special_tokens": false,
        });
        if !kwargs.is_empty() {
            question["chat_template_kwargs"] = json::loads(kwargs.compact().as_bytes()).unwrap_or_default();
        }
        self.ask("tokenize", &question, |answer| {
            Ok((answer.len(), reply::ids::<{ reply::CHAT_IDS_MAX }>(answer)?))
        })
    }

    /// vLLM and SGLang read `prompt`, llama.cpp reads `content`; each ignores the other's fields.
    fn encoding(&self, text: &str) -> Value {
        json!({
            "model": self.model,
            "prompt": text,
            "content": text,
            "add_special_tokens": false,
            "add_special": false,
        })
    }

    /// The text of ids. Only SGLang obeys `skip_special`; vLLM never skips them.
    pub fn text(&self, ids: &[u32], skip_special: bool) -> Result<String, Fault> {
        let question = json!({"model": self.model, "tokens": ids, "skip_special_tokens": skip_special});
        self.ask("detokenize", &question, |answer| {
            Ok((answer.len(), reply::text(answer)?))
        })
    }

    pub(super) fn ask<T>(&self, page: &str, question: &Value, read: fn(&[u8]) -> Measured<T>) -> Result<T, Fault> {
        ended().map_err(|error| Fault::Lost(error.to_string()))?;
        let url = format!("{}/{page}", self.root);
        let begun = Instant::now();
        let answer = self.asker.post_json(&url, question, read);
        {
            let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
            spent.calls += 1;
            spent.time += begun.elapsed();
            spent.bytes += answer.as_ref().map_or(0, |(bytes, _)| *bytes as u64);
        }
        let does = if page == "tokenize" {
            "count tokens"
        } else {
            "decode tokens"
        };
        let (_, answer) = answer.map_err(|why| match why.reached {
            // Many engines have no such endpoint, and are the right ones all the same.
            Reached::Server => Fault::Refused(format!("{url} does not {does}: {}", why.cause)),
            Reached::Nobody | Reached::Gateway => Fault::Lost(format!("{url} could not be asked to {does}: {why}")),
        })?;
        answer.map_err(|said| Fault::Refused(format!("{url} does not {does}: its answer has none ({said})")))
    }
}

#[cfg(test)]
impl EngineTokenizer {
    /// The same with other bounds on finding words.
    pub fn bounded(mut self, calls: u64, bytes: u64) -> EngineTokenizer {
        self.bounds.words = Spent {
            calls,
            bytes,
            ..BOUNDS.words
        };
        self
    }

    /// The same with another bound on questions about texts.
    pub fn bounded_texts(mut self, calls: u64) -> EngineTokenizer {
        self.bounds.texts.calls = calls;
        self
    }

    pub fn calls(&self) -> u64 {
        self.spent().calls
    }
}
