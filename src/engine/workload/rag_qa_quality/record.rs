//! One record of a question-answering dataset, in any of the shapes that LMCache reads: MuSiQue's `paragraphs`, `ctxs`,
//! `contexts`, RAGAS's `retrieved_contexts`, HotpotQA's `context`. Texts are Python's `str` of a value.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::python::text::strip;
use crate::python::value::{is_true, str_text};

/// A question with its passages and the answers that count as right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub id: String,
    pub passages: Vec<String>,
    pub question: String,
    pub answers: Vec<String>,
}

/// Why a record is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lacks {
    Fields,
    Passages,
    Question,
    Answers,
}

impl Sample {
    /// `index` is the record's number in the file, from 0.
    pub fn of(record: &Value, index: u64) -> Result<Sample, Lacks> {
        let record = record.as_object().ok_or(Lacks::Fields)?;
        let mut passages = passages(record);
        passages.retain(|passage| !passage.is_empty());
        let question = first_true(record, &["question", "query", "user_input"]).map(stripped);
        let (question, answers) = (question.unwrap_or_default(), answers(record));
        match () {
            () if passages.is_empty() => Err(Lacks::Passages),
            () if question.is_empty() => Err(Lacks::Question),
            () if answers.is_empty() => Err(Lacks::Answers),
            () => Ok(Sample {
                id: first_true(record, &["_id", "id"]).map_or_else(|| index.to_string(), str_text),
                passages,
                question,
                answers,
            }),
        }
    }
}

fn stripped(value: &Value) -> String {
    strip(&str_text(value)).to_owned()
}

/// The first value that is true in Python.
fn first_true<'a>(record: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a Value> {
    keys.iter()
        .filter_map(|key| record.get(*key))
        .find(|value| is_true(value))
}

fn passages(record: &Map<String, Value>) -> Vec<String> {
    let listed = |value: Option<&'_ Value>| -> Option<Vec<String>> {
        let list = value?.as_array().filter(|list| !list.is_empty())?;
        Some(list.iter().map(passage).collect())
    };
    listed(record.get("paragraphs"))
        .or_else(|| listed(first_true(record, &["ctxs", "contexts", "retrieved_contexts"])))
        .or_else(|| record.get("context").map(of_context))
        .unwrap_or_default()
}

fn passage(value: &Value) -> String {
    let Value::Object(fields) = value else {
        return stripped(value);
    };
    let title = fields.get("title").map(stripped).unwrap_or_default();
    let body = first_true(fields, &["text", "paragraph_text"]).map(stripped);
    titled(&title, &body.unwrap_or_default())
}

/// A title without a body keeps its line end.
fn titled(title: &str, body: &str) -> String {
    if title.is_empty() {
        body.to_owned()
    } else {
        format!("{title}\n{body}")
    }
}

/// HotpotQA's passages: lists of titles and of lists of sentences, or a list of pairs of both.
fn of_context(context: &Value) -> Vec<String> {
    let joined = |title: &Value, sentences: &Value| {
        let body = match sentences {
            Value::Array(list) => list.iter().map(str_text).collect(),
            other => str_text(other),
        };
        titled(&stripped(title), strip(&body))
    };
    match context {
        Value::Object(fields) => match (fields.get("title"), fields.get("sentences")) {
            (Some(Value::Array(titles)), Some(Value::Array(groups))) => titles
                .iter()
                .zip(groups)
                .map(|(title, group)| joined(title, group))
                .collect(),
            _ => Vec::new(),
        },
        Value::Array(entries) => {
            let pairs = entries
                .iter()
                .filter_map(|entry| match entry.as_array().map(Vec::as_slice) {
                    Some([title, sentences]) => Some(joined(title, sentences)),
                    _ => None,
                });
            pairs.collect()
        }
        _ => Vec::new(),
    }
}

/// The answers in the order of the fields, each once.
fn answers(record: &Map<String, Value>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut known = HashSet::new();
    let mut add = |value: &Value| {
        let text = stripped(value);
        if !text.is_empty() && known.insert(text.clone()) {
            found.push(text);
        }
    };
    let given = ["answers", "answer", "reference"]
        .iter()
        .filter_map(|key| record.get(*key));
    match given.into_iter().find(|value| !value.is_null()) {
        Some(Value::Array(list)) => {
            for item in list {
                match item {
                    Value::Array(inner) => inner.iter().for_each(&mut add),
                    Value::Null => {}
                    one => add(one),
                }
            }
        }
        Some(one) => add(one),
        None => {}
    }
    let extra = record.get("extra").and_then(|extra| extra.get("answer_aliases"));
    let aliases = [record.get("answer_aliases"), extra];
    aliases
        .into_iter()
        .flatten()
        .filter_map(Value::as_array)
        .flatten()
        .for_each(add);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::golden;

    #[test]
    fn records_are_read_as_in_the_reference() {
        let vectors = std::fs::read_to_string(golden("rag-dataset-vectors.json")).unwrap();
        let vectors: Value = serde_json::from_str(&vectors).unwrap();
        let records = vectors["records"].as_array().unwrap();
        assert_eq!(records.len(), 26);
        for case in records {
            let read = Sample::of(&case["record"], 0).ok().map(|sample| {
                serde_json::json!({
                    "sample_id": sample.id, "documents": sample.passages,
                    "question": sample.question, "answers": sample.answers,
                })
            });
            assert_eq!(read.unwrap_or_default(), case["sample"], "{}", case["case"]);
        }
    }

    #[test]
    fn what_a_record_lacks_is_told() {
        for (record, lacks) in [
            (r#"["x"]"#, Lacks::Fields),
            (r#"{"question": "q", "answer": "a", "context": null}"#, Lacks::Passages),
            (r#"{"ctxs": ["d"], "question": " ", "answer": "a"}"#, Lacks::Question),
            (
                r#"{"ctxs": ["d"], "question": "q", "answer": [null, " "]}"#,
                Lacks::Answers,
            ),
        ] {
            assert_eq!(
                Sample::of(&serde_json::from_str(record).unwrap(), 0),
                Err(lacks),
                "{record}"
            );
        }
        let numbered = serde_json::json!({"id": 0, "ctxs": ["d"], "question": "q", "answer": "a"});
        assert_eq!(Sample::of(&numbered, 5).unwrap().id, "5");
    }
}
