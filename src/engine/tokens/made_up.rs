//! The words of LMCache 0.5.2, which needs no tokenizer: syllables and a number, each several tokens. Where the engine counts
//! tokens, a text of them is cut to its length.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};

use crate::error::Error;
use crate::python::big_int::BigInt;
use crate::python::random::PythonRandom;

const CONSONANTS: &[u8] = b"bcdfghjklmnpqrstvwxyz";
const VOWELS: &[u8] = b"aeiou";
/// What 0.5.2 draws a system prompt from.
const SYSTEM_WORDS: [&str; 13] = [
    "the", "system", "will", "process", "your", "request", "and", "provide", "an", "answer", "based", "on", "context",
];
/// About as many bytes of a text are one token.
const TOKEN_BYTES: usize = 3;
/// Questions about one text; a few are enough where a tokenizer splits at blanks.
const TRIES: usize = 32;

/// `size` words in order, by the seed.
pub fn words(size: usize, seed: &BigInt) -> Vec<String> {
    let mut rng = PythonRandom::new(seed);
    let mut words = BTreeSet::new();
    while words.len() < size {
        let letters = rng.randrange(3, 8);
        let mut word = String::new();
        for at in 0..letters {
            let from = if at % 2 == 0 { CONSONANTS } else { VOWELS };
            word.push(char::from(from[rng.choice(from.len())]));
        }
        word.push_str(&words.len().to_string());
        words.insert(word);
    }
    words.into_iter().collect()
}

pub fn system_prompt(count: u64, rng: &mut PythonRandom) -> String {
    let drawn = (0..count).map(|_| SYSTEM_WORDS[rng.choices_index(SYSTEM_WORDS.len())]);
    drawn.collect::<Vec<_>>().join(" ")
}

/// Where texts are cut. A text is known by its hash.
#[derive(Debug, Default)]
pub struct Cuts(HashMap<u64, usize>);

impl Cuts {
    /// Finds the beginning of `text` that has `tokens` tokens.
    pub fn add(&mut self, text: &str, tokens: u64, count: impl Fn(&str) -> Result<u64, Error>) -> Result<(), Error> {
        let bytes = beginning(text, tokens, count)?;
        self.0.insert(hash(text), bytes);
        Ok(())
    }

    /// The beginning that was found; all of a text that is not known.
    pub fn cut(&self, mut text: String) -> String {
        if let Some(&bytes) = self.0.get(&hash(&text)) {
            text.truncate(bytes);
        }
        text
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Bytes of the beginning of an ASCII text that comes closest to `tokens` tokens. It does not end in a blank, which a chat
/// template might drop.
fn beginning(text: &str, tokens: u64, count: impl Fn(&str) -> Result<u64, Error>) -> Result<usize, Error> {
    let wanted = usize::try_from(tokens).unwrap_or(usize::MAX);
    // Too short, and too long, with their counts.
    let (mut short, mut long) = ((0, 0_u64), None::<(usize, u64)>);
    let mut best = (u64::MAX, text.len());
    let mut at = wanted.saturating_mul(TOKEN_BYTES).min(text.len());
    for _ in 0..TRIES {
        at = without_blank(text, at, short.0);
        let counted = count(&text[..at])?;
        best = best.min((counted.abs_diff(tokens), at));
        if counted == tokens || (counted < tokens && at == text.len()) {
            break;
        }
        if counted < tokens {
            short = (at, counted);
        } else {
            long = Some((at, counted));
        }
        at = match long {
            Some((end, _)) if end <= short.0 + 1 => break,
            Some((end, most)) => {
                let share = (end - short.0) as u64 * (tokens - short.1) / (most - short.1).max(1);
                (short.0 + share as usize).clamp(short.0 + 1, end - 1)
            }
            None => (at * wanted / (counted.max(1) as usize)).clamp(at + 1, text.len()),
        };
    }
    Ok(best.1)
}

/// The same place, or one beside it that is not behind a blank.
fn without_blank(text: &str, at: usize, above: usize) -> usize {
    match at {
        0 => 0,
        _ if text.as_bytes()[at - 1] != b' ' => at,
        _ if at - 1 > above => at - 1,
        _ => (at + 1).min(text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Up to three letters or digits are a token, with the blank before them.
    fn thirds(text: &str) -> u64 {
        text.split_whitespace().map(|word| word.len().div_ceil(3) as u64).sum()
    }

    #[test]
    fn a_text_is_cut_to_its_tokens() {
        let pool = words(200, &BigInt::from(3));
        let text = pool.join(" ");
        let whole = thirds(&text);
        for tokens in [1, 2, 3, 10, 11, 12, 13, whole - 1, whole] {
            let mut cuts = Cuts::default();
            cuts.add(&text, tokens, |text| Ok(thirds(text))).unwrap();
            let cut = cuts.cut(text.clone());
            assert_eq!(thirds(&cut), tokens);
            assert!(text.starts_with(&cut) && !cut.ends_with(' '), "{cut:?}");
            assert_eq!(cuts.cut("another".into()), "another");
        }
    }

    #[test]
    fn few_questions_find_a_long_beginning() {
        let text = words(8000, &BigInt::from(1)).join(" ");
        let asked = std::cell::Cell::new(0);
        let count = |text: &str| {
            asked.set(asked.get() + 1);
            Ok(thirds(text))
        };
        let bytes = beginning(&text, 5000, count).unwrap();
        assert_eq!(thirds(&text[..bytes]), 5000);
        assert!(asked.get() <= 10, "{}", asked.get());
    }

    #[test]
    fn what_cannot_be_reached_is_approached() {
        // Too short, and a count that jumps.
        assert_eq!(beginning("bab1 cac2", 9, |text| Ok(thirds(text))).unwrap(), 9);
        let bytes = beginning(&"abcdefgh ".repeat(9), 7, |text| Ok(text.len() as u64 / 9 * 2)).unwrap();
        assert!([6, 8].contains(&(bytes / 9 * 2)), "{bytes}");
    }
}
