//! The tokenizers library, made safe for untrusted files: its panics become errors, and a file whose rules multiply the
//! length of a text is refused before they run, because running out of memory ends the process.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use super::charsmap;
use crate::python::json;
use crate::sys::panic;

/// By which factor the rules of a file may lengthen a text. Real files need 10 at most.
const GROWTH_MAX: f64 = 1000.0;

/// What becomes of special tokens in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    Skipped,
    Kept,
}

/// A parsed tokenizer.json, with truncation and padding turned off.
#[derive(Debug)]
pub struct Library(tokenizers::Tokenizer);

impl Library {
    /// From the bytes of a tokenizer.json.
    pub fn read(bytes: &[u8]) -> Result<Library, String> {
        let bytes = json::without_mark(bytes);
        charsmap::check(bytes)?;
        let read = guarded(|| {
            let mut inner = tokenizers::Tokenizer::from_bytes(bytes)?;
            inner.with_truncation(None)?;
            inner.with_padding(None);
            Ok(inner)
        });
        let inner = read?;
        let growth = rules_growth(inner.get_normalizer())
            * rules_growth(inner.get_pre_tokenizer())
            * rules_growth(inner.get_post_processor());
        let growth = growth.max(rules_growth(inner.get_decoder()));
        if growth > GROWTH_MAX {
            return Err(format!(
                "its rules can make a text {growth:.0} times as long, and {GROWTH_MAX} times is the most"
            ));
        }
        Ok(Library(inner))
    }

    /// Token ids, without special tokens.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        guarded(|| Ok(self.0.encode_fast(text, false)?.get_ids().to_vec()))
    }

    /// The text of token ids; ids outside the vocabulary are skipped.
    pub fn decode(&self, ids: &[u32], special: Special) -> Result<String, String> {
        // A decoder fails only on texts that the file's own tokens cannot form.
        guarded(|| Ok(self.0.decode(ids, special == Special::Skipped).unwrap_or_default()))
    }

    /// The text and id of every token.
    pub fn vocabulary(&self) -> HashMap<String, u32> {
        self.0.get_vocab(true)
    }

    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.0.token_to_id(token)
    }
}

fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match panic::contained(work) {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(words) => Err(format!("the tokenizers library gave up on it ({words})")),
    }
}

/// The growth by one kind of rules, read from the library's own serialisation of them.
fn rules_growth(rules: Option<&impl Serialize>) -> f64 {
    let written = rules.and_then(|rules| serde_json::to_value(rules).ok());
    written.as_ref().map_or(1.0, growth)
}

/// By which factor a rule can lengthen a text. The factors of a sequence multiply, because each rule works on the output of the
/// one before.
fn growth(rule: &Value) -> f64 {
    let of_all = |key: &str| -> f64 { rule[key].as_array().into_iter().flatten().map(growth).product() };
    let own = match rule["type"].as_str() {
        Some("Sequence") => ["normalizers", "pretokenizers", "processors", "decoders"]
            .iter()
            .map(|key| of_all(key))
            .product(),
        Some("Replace") => replace_growth(&rule["pattern"], rule["content"].as_str().unwrap_or_default()),
        Some("Precompiled") => charsmap::growth(rule["precompiled_charsmap"].as_str().unwrap_or_default()),
        // Each byte becomes a character of one or two bytes.
        Some("ByteLevel") => 2.0,
        Some("TemplateProcessing") => {
            let pieces = rule["single"].as_array().into_iter().flatten();
            pieces.filter(|piece| piece.get("Sequence").is_some()).count() as f64
        }
        _ => 1.0,
    };
    own.max(1.0)
}

fn replace_growth(pattern: &Value, content: &str) -> f64 {
    match pattern["String"].as_str() {
        Some(text) => content.len() as f64 / text.len().max(1) as f64,
        // A regular expression may match the empty text before every character.
        None => 1.0 + content.len() as f64,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A table with an empty trie and a replacement of 2000 bytes.
    fn long_charsmap() -> String {
        format!("AAAAAGFh{}", "YWFh".repeat(667))
    }

    /// A tokenizer of one word, with additional keys.
    fn read(more: Value) -> Result<Library, String> {
        let mut file = json!({
            "version": "1.0", "added_tokens": [],
            "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1}, "unk_token": "[UNK]"},
        });
        for (key, value) in more.as_object().unwrap() {
            file[key] = value.clone();
        }
        Library::read(&serde_json::to_vec(&file).unwrap())
    }

    #[test]
    fn panics_of_the_library_are_errors() {
        let bad_base64 = include_bytes!("../../../tests/golden/engine/hostile/tokenizer-bad-base64.json");
        let why = Library::read(bad_base64).err().unwrap();
        assert!(why.starts_with("the tokenizers library gave up on it ("), "{why}");
        let library = read(json!({"pre_tokenizer": {"type": "FixedLength", "length": 0}})).unwrap();
        let why = library.encode("a text").unwrap_err();
        assert!(why.starts_with("the tokenizers library gave up on it ("), "{why}");
    }

    #[test]
    fn rules_that_multiply_a_text_are_refused_before_they_run() {
        let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        let byte_level =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let many = |rule: &Value, count| vec![rule.clone(); count];
        let pieces = |count: usize| many(&json!({"Sequence": {"id": "A", "type_id": 0}}), 1 << count.min(11));
        let template =
            |count| json!({"type": "TemplateProcessing", "single": pieces(count), "pair": [], "special_tokens": {}});
        for count in [9, 40] {
            for more in [
                json!({"normalizer": {"type": "Sequence", "normalizers": many(&double, count)}}),
                json!({"normalizer": {"type": "Sequence", "normalizers": many(&json!({"type": "ByteLevel"}), count)}}),
                json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": many(&byte_level, count)}}),
                json!({"post_processor": template(count)}),
                json!({"decoder": {"type": "Sequence", "decoders": many(&double, count)}}),
            ] {
                let read = read(more.clone());
                match count {
                    9 => assert!(read.is_ok_and(|library| library.encode("a a").is_ok()), "{more}"),
                    _ => assert!(read.err().unwrap().contains("times as long"), "{more}"),
                }
            }
        }
        let charsmap = json!({"normalizer": {"type": "Precompiled", "precompiled_charsmap": long_charsmap()}});
        assert!(read(charsmap).err().unwrap().contains("times as long"));
        // Padding and truncation are ignored.
        let padding = json!({
            "strategy": {"Fixed": 1_u64 << 60}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[UNK]",
        });
        let truncation = json!({"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 7});
        let library = read(json!({"padding": padding, "truncation": truncation})).unwrap();
        assert_eq!(library.encode("a"), Ok(vec![1]));
    }
}
