//! What a tokenizer_config.json declares: the special tokens, and the chat template.

use std::path::Path;

use serde_json::{Map, Value};

use crate::python::json;
use crate::sys::whole_file;

/// Bound for a tokenizer_config.json, which lists each special token once.
const CONFIG_BYTES_MAX: u64 = 16 << 20;

/// Holds the parsed file: a copy of very many short texts would double the memory.
#[derive(Debug, Default)]
pub(crate) struct SpecialTokens(Map<String, Value>);

impl SpecialTokens {
    /// Empty if there is no such file or it is not a JSON object.
    pub(crate) fn of_config(path: &Path) -> SpecialTokens {
        let parsed = whole_file::read(path, CONFIG_BYTES_MAX)
            .ok()
            .and_then(|bytes| json::loads(&bytes).ok());
        match parsed {
            Some(Value::Object(fields)) => SpecialTokens(fields),
            _ => SpecialTokens::default(),
        }
    }

    /// The texts of the special tokens; one declared twice is returned twice.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let named = self
            .0
            .iter()
            .filter(|(key, _)| key.ends_with("_token") || key.ends_with("_special_tokens"));
        named.flat_map(|(_, value)| {
            let several: Box<dyn Iterator<Item = &Value>> = match value {
                Value::Array(list) => Box::new(list.iter()),
                Value::Object(entries) if !entries.contains_key("content") => Box::new(entries.values()),
                one => Box::new(std::iter::once(one)),
            };
            several.filter_map(text)
        })
    }

    /// The special tokens that have a name, such as `bos_token`.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&str, &str)> {
        let named = self.0.iter().filter(|(key, _)| key.ends_with("_token"));
        named.filter_map(|(key, value)| Some((key.as_str(), text(value)?)))
    }

    /// The chat template; of several, the one named `default`.
    pub(crate) fn chat_template(&self) -> Option<&str> {
        match self.0.get("chat_template")? {
            Value::Array(list) => list.iter().find(|entry| entry["name"] == "default")?["template"].as_str(),
            one => one.as_str(),
        }
    }
}

fn text(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str) -> SpecialTokens {
        let path = crate::testing::temporary_path("special.json");
        std::fs::write(&path, config).unwrap();
        let special = SpecialTokens::of_config(&path);
        std::fs::remove_file(path).unwrap();
        special
    }

    fn declared(config: &str) -> Vec<String> {
        read(config).texts().map(str::to_owned).collect()
    }

    #[test]
    fn texts_are_found_in_every_form_of_declaration() {
        let config = r#"{"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null,
            "additional_special_tokens": ["<a>", {"content": "<b>"}, 3],
            "model_specific_special_tokens": {"image_token": "<i>", "boi_token": {"content": "<j>"}},
            "chat_template": "<t>", "add_bos_token": true}"#;
        let mut found = declared(config);
        found.sort();
        assert_eq!(found, ["</s>", "<a>", "<b>", "<i>", "<j>", "<s>"]);
        assert_eq!(declared("[]"), [""; 0]);
        assert_eq!(declared("{"), [""; 0]);
        let special = read(config);
        let named: Vec<_> = special.named().collect();
        assert_eq!(named, [("bos_token", "<s>"), ("eos_token", "</s>")]);
    }

    #[test]
    fn one_of_several_chat_templates_is_the_default() {
        for (config, template) in [
            (r#"{"chat_template": "t"}"#, Some("t")),
            (
                r#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}"#,
                Some("d"),
            ),
            (r#"{"chat_template": [{"name": "rag", "template": "r"}]}"#, None),
            (r#"{"chat_template": null}"#, None),
            ("{}", None),
        ] {
            assert_eq!(read(config).chat_template(), template, "{config}");
        }
    }
}
