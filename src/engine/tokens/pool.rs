//! A pool of words that are one token each, so that a text of n words has n tokens. The same tokenizer and seed give the
//! reference's words, wherever the vocabulary comes from. A pool is checked before it is used: one for which this does not
//! hold is an error. Without a vocabulary the words are made up.

use std::collections::BTreeSet;

use super::made_up::{self, Cuts};
use super::remote::{EngineTokenizer, Fault, ended};
use super::{LocalTokenizer, Tokenizer, lost, vocabulary};
use crate::error::Error;
use crate::python::big_int::BigInt;
use crate::python::random::PythonRandom;

/// Prefixes that mark the start of a word in byte-level and SentencePiece vocabularies.
const WORD_STARTS: [char; 3] = [' ', '\u{120}', '\u{2581}'];
/// Of a text that is cut to its length.
pub const QUESTIONS_PER_TEXT: u64 = 10;
/// A sample of text before a word.
const PROBE: &str = "x";

#[derive(Debug)]
pub struct WordPool {
    words: Vec<String>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    SingleTokens {
        /// Whether texts start with a blank, which most tokenizers make part of the first word's token.
        leading_blank: bool,
    },
    /// With cuts where the engine counts tokens.
    MadeUp(Option<Cuts>),
}

/// A tokenizer whose vocabulary is known.
enum Source<'a> {
    Local(&'a LocalTokenizer),
    Engine(&'a EngineTokenizer),
}

impl WordPool {
    /// Draws `size` words of one token each with `seed`. `model` is for error messages.
    pub fn build(tokenizer: &Tokenizer, model: &str, size: usize, seed: &BigInt) -> Result<WordPool, Error> {
        let source = Source::of(tokenizer).map_err(|why| missing(model, why))?;
        let candidates = source.candidates()?;
        let mut kept = source.single_tokens(&candidates, " ", 0)?;
        let mut leading_blank = true;
        if kept.len() < size {
            let base = tokenizer.count(PROBE)?;
            let between = source.single_tokens(&candidates, &format!("{PROBE} "), base)?;
            if between.len() > kept.len() {
                (kept, leading_blank) = (between, false);
            }
        }
        let name = source.name();
        if kept.len() < size {
            return Err(Error::Environment(format!(
                "the tokenizer {name} has only {} words that are a single token in a text, {size} are needed; take a model \
                 with a larger vocabulary that marks where words begin",
                kept.len()
            )));
        }
        let drawn = PythonRandom::new(seed).sample(kept.len(), size);
        let pool = WordPool {
            words: drawn.into_iter().map(|at| kept[at].clone()).collect(),
            form: Form::SingleTokens { leading_blank },
        };
        let found = tokenizer.count(&pool.joined((0..size).collect()))?;
        if found != size as u64 {
            return Err(Error::Environment(format!(
                "the tokenizer {name} makes {found} tokens of {size} words that are one token each, so lengths cannot be \
                 exact with it; take another model"
            )));
        }
        Ok(pool)
    }

    /// The same where the vocabulary is known; else words that are made up as in LMCache 0.5.2. Where the engine counts
    /// tokens, texts of them get their exact length by [`WordPool::fit`].
    pub fn build_or_make_up(tokenizer: &Tokenizer, model: &str, size: usize, seed: &BigInt) -> Result<WordPool, Error> {
        if tokenizer.decodes() {
            return WordPool::build(tokenizer, model, size, seed);
        }
        Ok(WordPool {
            words: made_up::words(size, seed),
            form: Form::MadeUp(tokenizer.asks_the_engine().then(Cuts::default)),
        })
    }

    /// Whether a text has its length only after [`WordPool::fit`].
    pub fn needs_fitting(&self) -> bool {
        matches!(self.form, Form::MadeUp(Some(_)))
    }

    /// Has a text of this pool cut to `tokens` tokens from now on, wherever it is drawn again. Asks the engine some
    /// [`QUESTIONS_PER_TEXT`] times.
    pub fn fit(&mut self, tokenizer: &Tokenizer, tokens: u64, text: &str) -> Result<(), Error> {
        match &mut self.form {
            Form::MadeUp(Some(cuts)) => {
                let words = |text: &str| text.split(' ').count() as u64;
                cuts.add(text, tokens, |text| tokenizer.count_words(text, words(text), 0))
            }
            _ => Ok(()),
        }
    }

    /// What the words are, for the banner; empty for words of one token.
    pub fn remark(&self) -> &'static str {
        match self.form {
            Form::SingleTokens { .. } => "",
            Form::MadeUp(Some(_)) => "(made-up words, cut to tokens that the engine counts)",
            Form::MadeUp(None) => "(made-up words of 3 to 5 tokens; lengths are words)",
        }
    }

    /// A text of `tokens` tokens, drawn as Python's `random.choices` draws.
    pub fn text(&self, tokens: u64, rng: &mut PythonRandom) -> String {
        let drawn = (0..tokens).map(|_| rng.choices_index(self.words.len())).collect();
        self.cut(self.joined(drawn))
    }

    /// A system prompt: a text as any other, but made-up words have their own for it.
    pub fn system_prompt(&self, tokens: u64, rng: &mut PythonRandom) -> String {
        match &self.form {
            Form::SingleTokens { .. } => self.text(tokens, rng),
            Form::MadeUp(_) => self.cut(made_up::system_prompt(tokens, rng)),
        }
    }

    /// A text of `tokens` tokens, each drawn as Python's `random.choice` draws.
    pub fn chosen(&self, tokens: u64, rng: &mut PythonRandom) -> String {
        let drawn = (0..tokens).map(|_| rng.choice(self.words.len())).collect();
        self.cut(self.joined(drawn))
    }

    /// The text of [`WordPool::text`], to follow other text: with the blank that makes the first word one token.
    pub fn text_after(&self, tokens: u64, rng: &mut PythonRandom) -> String {
        let text = self.text(tokens, rng);
        let blank = if self.leading_blank() || text.is_empty() {
            ""
        } else {
            " "
        };
        format!("{blank}{text}")
    }

    fn leading_blank(&self) -> bool {
        matches!(self.form, Form::SingleTokens { leading_blank: true })
    }

    fn joined(&self, words: Vec<usize>) -> String {
        let mut text = String::new();
        for (at, word) in words.into_iter().enumerate() {
            if at > 0 || self.leading_blank() {
                text.push(' ');
            }
            text.push_str(&self.words[word]);
        }
        text
    }

    fn cut(&self, text: String) -> String {
        match &self.form {
            Form::MadeUp(Some(cuts)) => cuts.cut(text),
            _ => text,
        }
    }
}

fn missing(model: &str, why: &str) -> Error {
    Error::Environment(format!(
        "this workload needs the tokenizer of the model {model:?}: {why}; give --tokenizer PATH, a tokenizer.json or its \
         folder, or name a --model whose tokenizer is on this machine"
    ))
}

impl Source<'_> {
    /// An error says why there is none.
    fn of(tokenizer: &Tokenizer) -> Result<Source<'_>, &str> {
        match tokenizer {
            Tokenizer::Local(local) => Ok(Source::Local(local)),
            Tokenizer::Engine(engine) => match engine.no_text() {
                None => Ok(Source::Engine(engine)),
                Some(why) => Err(why),
            },
            Tokenizer::Words(why) => Err(why.as_deref().unwrap_or("none was given")),
        }
    }

    fn name(&self) -> String {
        match self {
            Source::Local(local) => local.path().display().to_string(),
            Source::Engine(engine) => format!("of the engine at {}", engine.root()),
        }
    }

    /// All tokens of the vocabulary that are the start of a word and lower-case ASCII, sorted.
    fn candidates(&self) -> Result<Vec<String>, Error> {
        let words: BTreeSet<String> = match self {
            Source::Local(local) => local
                .vocabulary()
                .filter_map(|key| vocabulary::word(&key, &WORD_STARTS))
                .collect(),
            Source::Engine(engine) => vocabulary::words(engine).map_err(unfound)?,
        };
        Ok(Vec::from_iter(words))
    }

    /// The candidates that add exactly one token to `before`, which has `base` tokens.
    fn single_tokens(&self, candidates: &[String], before: &str, base: u64) -> Result<Vec<String>, Error> {
        let local = match self {
            Source::Local(local) => local,
            Source::Engine(engine) => {
                return vocabulary::single_tokens(engine, candidates, before, base).map_err(unfound);
            }
        };
        let mut kept = Vec::new();
        for word in candidates {
            // Large vocabularies take seconds.
            ended()?;
            if local.encode(&format!("{before}{word}"))?.len() as u64 == base + 1 {
                kept.push(word.clone());
            }
        }
        Ok(kept)
    }
}

fn unfound(fault: Fault) -> Error {
    lost(fault.to_string())
}

#[cfg(test)]
impl WordPool {
    pub(super) fn words(&self) -> &[String] {
        &self.words
    }

    pub(super) fn starts_with_blank(&self) -> bool {
        self.leading_blank()
    }

    pub(super) fn first(&self, count: usize) -> String {
        self.joined((0..count).collect())
    }
}
