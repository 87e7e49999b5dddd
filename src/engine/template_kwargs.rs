//! Variables for the engine's chat template, typed as `KEY=VALUE`: `chat_template_kwargs` of a request.

use std::fmt::Write as _;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value as Json;

use crate::python::big_int::BigInt;
use crate::python::json::ascii;
use crate::python::quote::{quoted, repr};
use crate::python::text::{decimal, is_digit, strip};

/// In the order in which the keys were first given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TemplateKwargs(Vec<(String, Kwarg)>);

#[derive(Clone, Debug, PartialEq)]
pub enum Kwarg {
    Bool(bool),
    Int(BigInt),
    Text(String),
}

impl TemplateKwargs {
    /// Values are typed as LMCache types them: `true` and `false` in any case, digits behind minus signs, else text. The last
    /// value of a key counts. An error is a clause about the item.
    pub fn parse<'a>(items: impl IntoIterator<Item = &'a str>) -> Result<TemplateKwargs, String> {
        let mut kwargs = TemplateKwargs::default();
        for item in items {
            let (key, value) = item.split_once('=').unwrap_or_default();
            let key = strip(key);
            if key.is_empty() {
                return Err(format!("{} is not of the form KEY=VALUE", quoted(item)));
            }
            let value = Kwarg::parse(strip(value))
                .ok_or_else(|| format!("the value of {} looks like a number and is none", quoted(item)))?;
            match kwargs.0.iter_mut().find(|(known, _)| known == key) {
                Some(entry) => entry.1 = value,
                None => kwargs.0.push((key.to_owned(), value)),
            }
        }
        Ok(kwargs)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &(String, Kwarg)> {
        self.0.iter()
    }

    /// A JSON object without blanks, for a request.
    pub fn compact(&self) -> String {
        let fields = self.0.iter().map(|(key, value)| {
            let value = match value {
                Kwarg::Text(text) => Json::from(text.as_str()).to_string(),
                other => other.json(),
            };
            format!("{}:{value}", Json::from(key.as_str()))
        });
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    }

    /// What `json.dumps(kwargs, sort_keys=True)` writes.
    pub fn sorted(&self) -> String {
        let mut entries: Vec<&(String, Kwarg)> = self.0.iter().collect();
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        let fields = entries
            .into_iter()
            .map(|(key, value)| format!("{}: {}", ascii(&Json::from(key.as_str()).to_string()), value.json()));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
    }

    /// `str(kwargs)` in Python.
    pub fn python(&self) -> String {
        let mut text = String::from("{");
        for (at, (key, value)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let value = match value {
                Kwarg::Bool(true) => "True".to_owned(),
                Kwarg::Bool(false) => "False".to_owned(),
                Kwarg::Int(number) => number.to_string(),
                Kwarg::Text(text) => repr(text),
            };
            let _ = write!(text, "{comma}{}: {value}", repr(key));
        }
        text + "}"
    }
}

impl Kwarg {
    /// `None` for what is only digits behind minus signs, yet no number to Python.
    fn parse(text: &str) -> Option<Kwarg> {
        match text.to_lowercase().as_str() {
            "true" => return Some(Kwarg::Bool(true)),
            "false" => return Some(Kwarg::Bool(false)),
            _ => {}
        }
        let digits = text.trim_start_matches('-');
        if digits.is_empty() || !digits.chars().all(is_digit) {
            return Some(Kwarg::Text(text.to_owned()));
        }
        let sign = &text[..text.len() - digits.len()];
        let digits: Option<String> = digits.chars().map(decimal).collect();
        BigInt::parse(&format!("{sign}{}", digits?)).ok().map(Kwarg::Int)
    }

    /// As JSON in ASCII.
    fn json(&self) -> String {
        match self {
            Kwarg::Bool(on) => on.to_string(),
            Kwarg::Int(number) => number.to_string(),
            Kwarg::Text(text) => ascii(&Json::from(text.as_str()).to_string()).into_owned(),
        }
    }
}

impl Serialize for TemplateKwargs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            match value {
                Kwarg::Bool(on) => fields.serialize_entry(key, on)?,
                Kwarg::Int(number) => fields.serialize_entry(key, number)?,
                Kwarg::Text(text) => fields.serialize_entry(key, text)?,
            }
        }
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::golden;
    use crate::python::json::dumps_indented;

    #[test]
    fn items_are_typed_as_in_the_reference() {
        let vectors = std::fs::read_to_string(golden("rag-scoring-vectors.json")).unwrap();
        let vectors: Json = serde_json::from_str(&vectors).unwrap();
        let vectors = vectors["template_kwargs"].as_array().unwrap();
        assert_eq!(vectors.len(), 16);
        for vector in vectors {
            let items = vector["in"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item.as_str().unwrap());
            match TemplateKwargs::parse(items) {
                Ok(kwargs) => assert_eq!(kwargs.compact(), vector["value"].to_string(), "{vector}"),
                Err(_) => assert_eq!(vector["error"], "ValueError", "{vector}"),
            }
        }
    }

    // Each text is what CPython 3.11 writes for the same values.
    #[test]
    fn every_text_form_is_pythons() {
        let items = [
            "z=\u{e9}'\"",
            "b=-0",
            " a = TRUE ",
            "n=340282366920938463463374607431768211456",
        ];
        let kwargs = TemplateKwargs::parse(items).unwrap();
        let big = "340282366920938463463374607431768211456";
        assert_eq!(
            kwargs.python(),
            format!("{{'z': 'é\\'\"', 'b': 0, 'a': True, 'n': {big}}}")
        );
        assert_eq!(
            kwargs.sorted(),
            format!(r#"{{"a": true, "b": 0, "n": {big}, "z": "\u00e9'\""}}"#)
        );
        assert_eq!(kwargs.compact(), format!(r#"{{"z":"é'\"","b":0,"a":true,"n":{big}}}"#));
        assert_eq!(
            dumps_indented(&kwargs),
            format!("{{\n  \"z\": \"\\u00e9'\\\"\",\n  \"b\": 0,\n  \"a\": true,\n  \"n\": {big}\n}}")
        );
        let none = TemplateKwargs::default();
        assert_eq!(
            (none.sorted(), none.python(), none.is_empty()),
            ("{}".into(), "{}".into(), true)
        );
    }

    #[test]
    fn refusals_name_the_item() {
        let refused = |item: &str| TemplateKwargs::parse([item]).unwrap_err();
        assert_eq!(refused("oops"), "'oops' is not of the form KEY=VALUE");
        assert_eq!(refused("n=--3"), "the value of 'n=--3' looks like a number and is none");
    }
}
