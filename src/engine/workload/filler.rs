//! Text of a wanted length made from one repeated word. Must never draw random numbers.

use crate::engine::tokens::Tokenizer;
use crate::error::Error;

/// How often a length is corrected before the best one is taken.
const TRIES: usize = 8;

/// `word` as often as wanted, with single blanks between.
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
/// tokenizer where exact lengths are asked for.
pub fn fitted(exact: Option<&Tokenizer>, tokens: u64, words: u64, text: impl Fn(u64) -> String) -> Result<u64, Error> {
    let Some(tokenizer) = exact else {
        return Ok(words);
    };
    let mut best = (u64::MAX, words);
    let mut tried = words;
    for _ in 0..TRIES {
        let counted = tokenizer.count(&text(tried))?;
        best = best.min((counted.abs_diff(tokens), tried));
        // A word is about a token; where it is not, the next try corrects what is left.
        let next = if counted > tokens {
            tried.saturating_sub(counted - tokens)
        } else {
            tried + (tokens - counted)
        };
        if next == tried {
            break;
        }
        tried = next;
    }
    Ok(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            // One word of this tokenizer is more than one token, so not every length can be met.
            assert!(counted.abs_diff(tokens) <= 2, "{tokens}: {counted}");
        }
    }
}
