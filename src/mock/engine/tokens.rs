//! Text to token ids: words and their pieces by a simple rule, or by a tokenizer.json.

use std::path::Path;

use crate::engine::tokens::FILE_BYTES_MAX;
use crate::engine::tokens::library::{Library, Special};
use crate::error::Error;
use crate::sys::whole_file;

/// Longest run of letters that is one token.
const LETTERS_MAX: usize = 12;
/// Longest run of digits that is one token.
const DIGITS_MAX: usize = 3;

/// How text is split.
#[derive(Debug)]
pub enum Tokenizer {
    /// A space belongs to the word after it; a word is up to 12 letters or 3 digits; any other byte is a token.
    Words,
    File(Box<Library>),
}

impl Tokenizer {
    /// From a tokenizer.json, or a folder that has one.
    pub fn from_path(path: &Path) -> Result<Tokenizer, Error> {
        let file = if path.is_dir() {
            path.join("tokenizer.json")
        } else {
            path.to_owned()
        };
        let read = whole_file::read(&file, FILE_BYTES_MAX).map_err(|cause| cause.to_string());
        let tokenizer = read.and_then(|bytes| Library::read(&bytes)).map_err(|cause| {
            Error::Environment(format!(
                "could not read --tokenizer {}: {cause}; name a tokenizer.json or a folder that has one",
                file.display()
            ))
        })?;
        Ok(Tokenizer::File(Box::new(tokenizer)))
    }

    /// Appends the tokens of `text`.
    pub fn push(&self, text: &str, tokens: &mut Vec<u32>) {
        match self {
            Tokenizer::Words => push_words(text.as_bytes(), tokens),
            // A text that the tokenizer cannot encode has no tokens.
            Tokenizer::File(tokenizer) => {
                if let Ok(ids) = tokenizer.encode(text) {
                    tokens.extend_from_slice(&ids);
                }
            }
        }
    }

    /// The text of ids, special ones included and unknown ones left out, as vLLM has it. The rule for words keeps no texts.
    pub fn text(&self, ids: &[u32]) -> Option<Result<String, String>> {
        match self {
            Tokenizer::Words => None,
            Tokenizer::File(tokenizer) => Some(tokenizer.decode(ids, Special::Kept)),
        }
    }
}

fn push_words(text: &[u8], tokens: &mut Vec<u32>) {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte >= 0x80;
    let run = |begin: usize, most: usize, belongs: &dyn Fn(u8) -> bool| {
        text[begin..]
            .iter()
            .take(most)
            .take_while(|byte| belongs(**byte))
            .count()
    };
    let mut at = 0;
    while at < text.len() {
        let blank = usize::from(text[at] == b' ');
        let begin = at + blank;
        let length = match text.get(begin) {
            Some(byte) if letter(*byte) => run(begin, LETTERS_MAX, &letter),
            Some(byte) if byte.is_ascii_digit() => run(begin, DIGITS_MAX, &|byte| byte.is_ascii_digit()),
            // A space before another one is a token.
            Some(b' ') | None if blank == 1 => 0,
            _ => 1,
        };
        let end = begin + length;
        tokens.push(number_of(&text[at..end]));
        at = end;
    }
}

/// A number for a piece of text (FNV-1a, folded).
fn number_of(piece: &[u8]) -> u32 {
    let hash = piece.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> usize {
        let mut tokens = Vec::new();
        Tokenizer::Words.push(text, &mut tokens);
        tokens.len()
    }

    #[test]
    fn words_are_tokens_and_everything_ends() {
        for (text, count) in [
            ("", 0),
            ("hi", 1),
            ("hi hi hi", 3),
            ("Document 0: hi", 4),
            ("a  b", 3),
            (" ", 1),
            ("  ", 2),
            ("12345", 2),
            ("abcdefghijklmnop", 2),
            ("\n\nWhat?", 4),
            ("é", 1),
        ] {
            assert_eq!(pieces(text), count, "{text:?}");
        }
    }

    #[test]
    fn equal_text_has_equal_numbers() {
        let mut tokens = Vec::new();
        Tokenizer::Words.push(" hi hi ho", &mut tokens);
        assert_eq!(tokens[0], tokens[1]);
        assert_ne!(tokens[1], tokens[2]);
    }
}
