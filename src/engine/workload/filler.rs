//! Text of a wanted length, made from one repeated word.

use std::cmp::Ordering;

use crate::engine::tokens::{Tokenizer, WORDS_PER_TOKEN_MAX};
use crate::error::Error;

/// Corrections of a length before the best one is taken.
const TRIES: usize = 8;

/// `word`, `count` times, with single blanks between.
pub fn repeated(word: &str, count: u64) -> String {
    let count = usize::try_from(count).expect("lengths are bounded by the config");
    let mut text = String::with_capacity(count * (word.len() + 1));
    for at in 0..count {
        if at > 0 {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
}

/// How many filler words `text` needs to have `tokens` tokens: `words` by the reference's arithmetic, corrected with the
/// tokenizer where exact lengths are asked for. One whose count does not grow with the words is an error.
pub fn fitted(exact: Option<&Tokenizer>, tokens: u64, words: u64, text: impl Fn(u64) -> String) -> Result<u64, Error> {
    let Some(tokenizer) = exact else {
        return Ok(words);
    };
    let empty = tokenizer.count(&text(0))?;
    let wanted = tokens.saturating_sub(empty);
    let words_max = words.max(wanted.saturating_mul(WORDS_PER_TOKEN_MAX));
    let mut best = (u64::MAX, words);
    let mut tried = words;
    for _ in 0..TRIES {
        let counted = tokenizer.count_words(&text(tried), tried, empty)?;
        best = best.min((counted.abs_diff(tokens), tried));
        // A word may be several tokens, so the correction goes by what a word has cost so far.
        let cost = counted.saturating_sub(empty).max(1);
        let next = (u128::from(wanted) * u128::from(tried.max(1)) / u128::from(cost)) as u64;
        tried = match counted.cmp(&tokens) {
            Ordering::Equal => break,
            // Too close for the proportion to change anything: one word less or more.
            Ordering::Greater if next == tried => tried.saturating_sub(1),
            Ordering::Less if next == tried => tried + 1,
            _ => next.min(words_max),
        };
    }
    Ok(best.1)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::*;
    use crate::engine::tokens::testing::{counting, of_json};

    #[test]
    fn words_are_joined_by_single_blanks() {
        assert_eq!(repeated("hi", 0), "");
        assert_eq!(repeated("hi", 3), "hi hi hi");
    }

    #[test]
    fn without_a_tokenizer_words_are_counted() {
        let words = fitted(None, 50, 40, |_| panic!("nothing to measure")).unwrap();
        assert_eq!(words, 40);
    }

    #[test]
    fn with_a_tokenizer_the_text_has_the_length() {
        let tokenizer = Tokenizer::from_folder(&crate::engine::testing::golden("words-tokenizer")).unwrap();
        for tokens in [40, 41, 42, 43, 100, 1001] {
            let text = |words| format!("Document 7: {}", repeated("hi", words));
            let words = fitted(Some(&tokenizer), tokens, tokens - 10, text).unwrap();
            let counted = tokenizer.count(&text(words)).unwrap();
            // A word is more than one token of this tokenizer, so not every length can be reached.
            assert!(counted.abs_diff(tokens) <= 2, "{tokens}: {counted}");
        }
    }

    #[test]
    fn words_of_several_tokens_converge_too() {
        let tokenizer = Tokenizer::from_folder(&crate::engine::testing::golden("words-tokenizer")).unwrap();
        let cost = tokenizer.count(&repeated(" xylophone", 1)).unwrap();
        assert!(cost > 3, "{cost}");
        for tokens in [20, 400, 2000] {
            let text = |words| format!("Session 3. {}", repeated("xylophone", words));
            let words = fitted(Some(&tokenizer), tokens, tokens - 7, text).unwrap();
            let counted = tokenizer.count(&text(words)).unwrap();
            assert!(counted.abs_diff(tokens) <= cost, "{tokens}: {counted}");
        }
    }

    /// An engine that always counts the same, and a file whose normalizer deletes the word.
    #[test]
    fn a_count_that_does_not_grow_is_refused_before_texts_are_large() {
        let deleting = of_json(&json!({
            "version": "1.0", "added_tokens": [],
            "normalizer": {"type": "Replace", "pattern": {"String": "hi"}, "content": ""},
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
        }));
        for (tokenizer, whose) in [
            (counting(|_| 7), "/tokenize counts 0 tokens for "),
            (counting(|text| 7 + text.len() as u64 / 24), "/tokenize counts "),
            (deleting, "the tokenizer "),
        ] {
            for (tokens, words) in [(1_000_000, 999_990), (1_000_000, 8), (100, 0)] {
                let most = Cell::new(0);
                let text = |words: u64| {
                    most.set(words.max(most.get()));
                    format!("a {}", repeated("hi", words))
                };
                let refused = fitted(Some(&tokenizer), tokens, words, text).unwrap_err().to_string();
                assert!(
                    refused.contains(whose) && refused.contains("its count does not grow with a text"),
                    "{refused}"
                );
                assert!(refused.contains("--tokenizer PATH"), "{refused}");
                assert!(most.get() <= 4 * tokens, "{tokens}: {}", most.get());
            }
        }
    }
}
