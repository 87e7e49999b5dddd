//! Checks what the tokenizers library takes from a tokenizer.json without a limit: tables of SentencePiece's normalizer, long tokens
//! and long patterns.
//!
//! A table (`precompiled_charsmap`, base64) is the size of a trie in bytes as a little-endian u32, the trie, then replacements that
//! each end in NUL. The library allocates whatever size the table claims.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

const KEY: &str = "precompiled_charsmap";
const SIZE_BYTES: usize = 4;
/// Unigram models keep tokens in a trie that is dropped by recursion, one level for each byte. Real tokens have some dozen bytes.
const TOKEN_BYTES_MAX: usize = 1024;
/// A class such as `\w` takes 6 KB until the library's limit on a pattern is checked. Real patterns have some hundred bytes.
const PATTERN_BYTES_MAX: usize = 8192;

/// Refuses a tokenizer.json that is not JSON, or that has a table which claims a larger trie than it holds, or a token or pattern
/// that is too long. The library accepts keys without a value, and reads the tables behind them.
pub fn check(file: &[u8]) -> Result<(), String> {
    let mut text = serde_json::Deserializer::from_slice(file);
    let read = Rules(Level::File).deserialize(&mut text);
    read.and_then(|()| text.end()).map_err(|cause| cause.to_string())
}

/// By which factor a table can lengthen a text: the longest replacement, for a character of one byte.
pub fn growth(base64: &str) -> f64 {
    let table = decoded(base64);
    let replacements = claimed_bytes(&table).and_then(|trie| table.get(SIZE_BYTES + trie..));
    let replacements = replacements
        .into_iter()
        .flat_map(|bytes| bytes.split(|byte| *byte == 0));
    replacements.map(<[u8]>::len).max().unwrap_or(0) as f64
}

fn claimed_bytes(table: &[u8]) -> Option<usize> {
    let size = table.first_chunk::<SIZE_BYTES>()?;
    usize::try_from(u32::from_le_bytes(*size)).ok()
}

/// Decodes up to the first character outside base64's alphabet.
fn decoded(base64: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(base64.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0);
    for character in base64.bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => break,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    File,
    /// Normalizer, pre-tokenizer, post-processor or decoder.
    Rules,
    Table,
    Pattern,
    Model,
}

/// Visits the rules at any depth and keeps nothing.
#[derive(Clone, Copy)]
struct Rules(Level);

impl<'de> DeserializeSeed<'de> for Rules {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Rules {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let level = match (self.0, key.as_ref()) {
                (Level::File, "normalizer" | "pre_tokenizer" | "post_processor" | "decoder") => Level::Rules,
                (Level::File, "model") => Level::Model,
                (Level::File, _) => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                (Level::Rules, KEY) => Level::Table,
                (Level::Rules, "Regex") => Level::Pattern,
                (level, _) => level,
            };
            map.next_value_seed(Rules(level))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let long = |what: &str, bytes_max| {
            let bytes = text.len();
            E::custom(format!("a {what} has {bytes} bytes, and {bytes_max} are the most"))
        };
        match self.0 {
            Level::Model if text.len() > TOKEN_BYTES_MAX => return Err(long("token", TOKEN_BYTES_MAX)),
            Level::Pattern if text.len() > PATTERN_BYTES_MAX => return Err(long("pattern", PATTERN_BYTES_MAX)),
            Level::Table => {
                let table = decoded(text);
                let has = table.len().saturating_sub(SIZE_BYTES);
                if let Some(bytes) = claimed_bytes(&table).filter(|claimed| *claimed > has) {
                    return Err(E::custom(format!(
                        "its {KEY} claims a table of {bytes} bytes and is shorter"
                    )));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Borrowed if the key has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A trie of four bytes and two replacements.
    const WHOLE: &str = "BAAAAAAAAABhAGJjZAA=";

    fn check_all(normalizer: serde_json::Value) -> Result<(), String> {
        let file = json!({"model": {"vocab": {KEY: "AAAAgA=="}}, "normalizer": normalizer});
        check(&serde_json::to_vec(&file).unwrap())
    }

    #[test]
    fn a_table_that_claims_more_than_it_has_is_refused() {
        let rule = |table: &str| json!({"type": "Precompiled", KEY: table});
        for table in [WHOLE, "", "AAAA", "no base64"] {
            assert_eq!(check_all(rule(table)), Ok(()), "{table}");
        }
        let short = rule("////f2FiY2Q=");
        for normalizer in [
            short.clone(),
            json!([{"type": "Lowercase"}, {"normalizers": [rule(WHOLE), short, rule(WHOLE)], "type": "Sequence"}]),
        ] {
            let why = check_all(normalizer).unwrap_err();
            assert!(
                why.starts_with("its precompiled_charsmap claims a table of 2147483647 bytes and is shorter"),
                "{why}"
            );
        }
        let escaped = br#"{"norm\u0061lizer": 1, "normalizer": {"precompiled_charsmap": "////fw"}}"#;
        assert!(check(escaped).is_err());
        assert_eq!(check(b"{\"normalizer\": [1.5, -1, null, true, {}]}"), Ok(()));
    }

    #[test]
    fn a_long_token_or_pattern_is_refused() {
        let model = |token: usize| json!({"model": {"vocab": [["a", 0.5], ["t".repeat(token), -1]]}});
        let split = |pattern: usize| json!({"pre_tokenizer": [{"pattern": {"Regex": "w".repeat(pattern)}}]});
        for (fits, not) in [
            (model(TOKEN_BYTES_MAX), model(TOKEN_BYTES_MAX + 1)),
            (split(PATTERN_BYTES_MAX), split(PATTERN_BYTES_MAX + 1)),
        ] {
            assert_eq!(check(fits.to_string().as_bytes()), Ok(()));
            let why = check(not.to_string().as_bytes()).unwrap_err();
            assert!(why.contains(" bytes, and ") && why.contains(" are the most"), "{why}");
        }
        // What is a token only where the library makes one of it.
        assert_eq!(check(json!({"x": "t".repeat(9000)}).to_string().as_bytes()), Ok(()));
    }

    #[test]
    fn a_file_that_is_not_json_is_refused_before_the_library_reads_its_tables() {
        let key_alone = br#"{"key", "normalizer": {"type": "Precompiled", "precompiled_charsmap": "////f2FiY2Q="}}"#;
        for file in [&key_alone[..], b"{\"normalizer\": [1.5", b"{} {}"] {
            assert!(check(file).unwrap_err().contains(" at line 1 column "));
        }
    }

    #[test]
    fn the_longest_replacement_is_the_growth() {
        assert_eq!(growth(WHOLE), 3.0);
        for table in ["", "AAAA", "////f2FiY2Q="] {
            assert_eq!(growth(table), 0.0, "{table}");
        }
    }
}
