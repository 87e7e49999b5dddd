//! Lengths in tokens: synthetic prompts of a wanted length, and the length of a recorded answer.

use std::cell::OnceCell;

use crate::engine::tokens::Tokenizer;
use crate::engine::workload::filler::{fitted, repeated};
use crate::error::Error;

/// What the reference allows for the first words of such a prompt.
const FIRST_WORDS: u64 = 10;
/// Filler words from which the cost of one is measured.
const PROBE_WORDS: u64 = 1000;

pub(super) struct Lengths<'a> {
    tokenizer: &'a Tokenizer,
    exact: bool,
    /// Tokens of [`PROBE_WORDS`] filler words.
    cost: OnceCell<u64>,
}

/// A prompt of so many filler words. Its number has a fixed width, so prompts of equal length have equal words.
pub(super) fn synthetic(number: u64, filler_words: u64) -> String {
    format!("Request {number:08}: {}", repeated("hi", filler_words))
}

impl Lengths<'_> {
    pub(super) fn new(tokenizer: &Tokenizer, exact: bool) -> Lengths<'_> {
        Lengths {
            tokenizer,
            exact,
            cost: OnceCell::new(),
        }
    }

    /// Tokens of a recorded answer; words without a tokenizer.
    pub(super) fn count(&self, text: &str) -> Result<u64, Error> {
        self.tokenizer.count(text)
    }

    /// Filler words of the synthetic prompt `number` with this many tokens: by the cost of a word, or measured for each prompt
    /// where lengths must be exact; without a tokenizer by the reference's arithmetic.
    pub(super) fn filler_words(&self, number: u64, tokens: u64) -> Result<u64, Error> {
        if let Tokenizer::Words(_) = self.tokenizer {
            return Ok(tokens.saturating_sub(FIRST_WORDS).max(1));
        }
        let first = self.tokenizer.count(&synthetic(number, 1))?;
        let probe = self.cost()?;
        let wanted = u128::from(tokens.saturating_sub(first)) * u128::from(PROBE_WORDS);
        let words = 1 + (wanted / u128::from(probe.max(1))) as u64;
        let exact = self.exact.then_some(self.tokenizer);
        fitted(exact, tokens, words, |words| synthetic(number, words))
    }

    fn cost(&self) -> Result<u64, Error> {
        if let Some(cost) = self.cost.get() {
            return Ok(*cost);
        }
        let first = self.tokenizer.count(&synthetic(0, 1))?;
        let probe = synthetic(0, 1 + PROBE_WORDS);
        let whole = self.tokenizer.count_words(&probe, PROBE_WORDS, first)?;
        Ok(*self.cost.get_or_init(|| whole.saturating_sub(first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::golden;
    use crate::engine::tokens::testing::counting;

    #[test]
    fn without_a_tokenizer_lengths_are_words() {
        let tokenizer = Tokenizer::Words(None);
        let lengths = Lengths::new(&tokenizer, false);
        assert_eq!(
            (
                lengths.count(" two  words").unwrap(),
                lengths.filler_words(7, 50).unwrap()
            ),
            (2, 40)
        );
        assert_eq!(lengths.filler_words(7, 3).unwrap(), 1);
        assert_eq!(synthetic(12, 2), "Request 00000012: hi hi");
    }

    #[test]
    fn with_a_tokenizer_synthetic_prompts_have_their_length() {
        let tokenizer = Tokenizer::from_folder(&golden("words-tokenizer")).unwrap();
        let cost = tokenizer.count(" hi").unwrap();
        for exact in [false, true] {
            let lengths = Lengths::new(&tokenizer, exact);
            for (number, tokens) in [(1, 60), (77, 61), (12_345_678, 5000)] {
                let words = lengths.filler_words(number, tokens).unwrap();
                let counted = tokenizer.count(&synthetic(number, words)).unwrap();
                assert!(counted.abs_diff(tokens) <= cost, "{tokens}: {counted}");
            }
        }
    }

    #[test]
    fn a_count_that_does_not_grow_is_refused() {
        let tokenizer = counting(|_| 7);
        for exact in [false, true] {
            let refused = Lengths::new(&tokenizer, exact).filler_words(1, 1_000_000).unwrap_err();
            let expected = "/tokenize counts 0 tokens for 1000 words, so its count does not grow with a text";
            assert!(refused.to_string().contains(expected), "{refused}");
        }
    }
}
