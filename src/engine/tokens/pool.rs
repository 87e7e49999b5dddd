//! A pool of words that are one token each, so that a text of n words has n tokens. The same tokenizer and seed give the
//! reference's words. A pool is checked before it is used: one for which this does not hold is an error.

use std::collections::BTreeSet;

use super::{LocalTokenizer, Tokenizer};
use crate::error::Error;
use crate::python::big_int::BigInt;
use crate::python::random::PythonRandom;
use crate::sys::signal;

/// Prefixes that mark the start of a word in byte-level and SentencePiece vocabularies.
const WORD_STARTS: [char; 3] = [' ', '\u{120}', '\u{2581}'];
/// A sample of text before a word.
const PROBE: &str = "x";

#[derive(Debug)]
pub struct WordPool {
    words: Vec<String>,
    /// Whether texts start with a blank, which most tokenizers make part of the first word's token.
    leading_blank: bool,
}

impl WordPool {
    /// Draws `size` words with `seed`. `model` is for error messages.
    pub fn build(tokenizer: &Tokenizer, model: &str, size: usize, seed: &BigInt) -> Result<WordPool, Error> {
        let local = match tokenizer {
            Tokenizer::Local(local) => local,
            Tokenizer::Words(Some(why)) => return Err(missing(model, why)),
            _ => return Err(missing(model, "none was given")),
        };
        let candidates = candidates(local);
        let mut kept = single_tokens(local, &candidates, " ", 0)?;
        let mut leading_blank = true;
        if kept.len() < size {
            let base = local.encode(PROBE)?.len();
            let between = single_tokens(local, &candidates, &format!("{PROBE} "), base)?;
            if between.len() > kept.len() {
                (kept, leading_blank) = (between, false);
            }
        }
        let path = local.path().display();
        if kept.len() < size {
            return Err(Error::Environment(format!(
                "the tokenizer {path} has only {} words that are a single token in a text, {size} are needed; take a model \
                 with a larger vocabulary that marks where words begin",
                kept.len()
            )));
        }
        let drawn = PythonRandom::new(seed).sample(kept.len(), size);
        let pool = WordPool {
            words: drawn.into_iter().map(|at| kept[at].clone()).collect(),
            leading_blank,
        };
        let found = local.encode(&pool.joined((0..size).collect()))?.len();
        if found != size {
            return Err(Error::Environment(format!(
                "the tokenizer {path} makes {found} tokens of {size} words that are one token each, so lengths cannot be \
                 exact with it; take another model"
            )));
        }
        Ok(pool)
    }

    /// A text of `tokens` tokens, drawn as Python's `random.choices` draws.
    pub fn text(&self, tokens: u64, rng: &mut PythonRandom) -> String {
        let drawn = (0..tokens).map(|_| rng.choices_index(self.words.len())).collect();
        self.joined(drawn)
    }

    /// The same, to follow other text: with the blank that makes the first word one token.
    pub fn text_after(&self, tokens: u64, rng: &mut PythonRandom) -> String {
        let text = self.text(tokens, rng);
        let blank = if self.leading_blank || text.is_empty() { "" } else { " " };
        format!("{blank}{text}")
    }

    fn joined(&self, words: Vec<usize>) -> String {
        let mut text = String::new();
        for (at, word) in words.into_iter().enumerate() {
            if at > 0 || self.leading_blank {
                text.push(' ');
            }
            text.push_str(&self.words[word]);
        }
        text
    }
}

fn missing(model: &str, why: &str) -> Error {
    Error::Environment(format!(
        "long-doc-permutator needs the tokenizer of the model {model:?} for exact lengths: {why}; give --tokenizer PATH, a \
         tokenizer.json or its folder, or name a --model whose tokenizer is on this machine"
    ))
}

/// All tokens of the vocabulary that are the start of a word and lower-case ASCII, sorted.
fn candidates(local: &LocalTokenizer) -> BTreeSet<String> {
    let words = local.vocabulary().filter_map(|key| {
        let word = key.strip_prefix(WORD_STARTS)?;
        let lower_case = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
        lower_case.then(|| word.to_string())
    });
    words.collect()
}

/// The candidates that add exactly one token to `before`, which has `base` tokens.
fn single_tokens(
    local: &LocalTokenizer,
    candidates: &BTreeSet<String>,
    before: &str,
    base: usize,
) -> Result<Vec<String>, Error> {
    let mut kept = Vec::new();
    for word in candidates {
        // Large vocabularies take seconds.
        if signal::received().is_some() {
            return Err(Error::Environment("the run was ended".to_owned()));
        }
        if local.encode(&format!("{before}{word}"))?.len() == base + 1 {
            kept.push(word.clone());
        }
    }
    Ok(kept)
}

#[cfg(test)]
impl WordPool {
    pub(super) fn words(&self) -> &[String] {
        &self.words
    }

    pub(super) fn leading_blank(&self) -> bool {
        self.leading_blank
    }

    pub(super) fn first(&self, count: usize) -> String {
        self.joined((0..count).collect())
    }
}
