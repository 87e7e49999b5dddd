//! The report as JSON, byte for byte as Python's `json.dumps(..., indent=2)` prints the same values. Numbers that are not finite
//! become null.

use serde_json::{Map, Value as Json, json};

use super::Renderer;
use crate::python::float_text::round;
use crate::python::json::dumps_indented;
use crate::result::RunResult;
use crate::result::model::{Body, Row, Value};

pub struct ReferenceJson;

impl Renderer for ReferenceJson {
    fn render(&self, result: &RunResult) -> Vec<u8> {
        text(result).into_bytes()
    }
}

/// The whole report, with a newline at its end.
fn text(report: &RunResult) -> String {
    let sections = report.sections.iter();
    let metrics = object(sections.map(|section| (section.key.as_ref(), body(&section.body))));
    dumps_indented(&json!({"title": report.title, "metrics": metrics})) + "\n"
}

fn body(body: &Body) -> Json {
    match body {
        Body::Entries { entries } => object(entries.iter().map(|entry| (entry.key.as_ref(), value(&entry.value)))),
        Body::Table { columns, rows } => {
            let cells = |row: &Row| {
                let cells = columns.iter().enumerate();
                object(cells.map(|(index, column)| (column.key.as_ref(), value(row.cell(index)))))
            };
            object(rows.iter().map(|row| (row.key.as_ref(), cells(row))))
        }
        Body::List { notes } => {
            let note = notes.iter().map(|note| json!({"code": note.key, "text": note.text}));
            note.collect()
        }
    }
}

fn object<'a>(fields: impl Iterator<Item = (&'a str, Json)>) -> Json {
    let fields: Map<String, Json> = fields.map(|(key, value)| (key.to_owned(), value)).collect();
    Json::Object(fields)
}

fn value(value: &Value) -> Json {
    match value {
        Value::Count { count } => json!(count),
        Value::Number { value, decimals } => json!(round(*value, *decimals)),
        Value::Text { text } => json!(text),
        Value::Absent {} => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::model::{Column, Entry, Note, Section};

    fn report(sections: Vec<Section>) -> RunResult {
        let mut result = RunResult::new("l2", "T", std::time::Instant::now());
        result.sections = sections;
        result
    }

    #[test]
    fn strings_are_plain_ascii() {
        let raw = "q\" b\\ \u{1}\n\r\t\u{8}\u{c}/\u{7f} \u{e9} \u{1f600}";
        let got = text(&report(vec![Section::entries(
            "s",
            "S",
            vec![Entry::text("k", "K", raw)],
        )]));
        let want = r#""k": "q\" b\\ \u0001\n\r\t\b\f/\u007f \u00e9 \ud83d\ude00""#;
        assert!(got.contains(want), "{got}");
        let parsed: serde_json::Value = serde_json::from_str(&got).unwrap();
        assert_eq!(parsed["metrics"]["s"]["k"], raw);
    }

    #[test]
    fn numbers_are_rounded_and_null_when_not_finite() {
        let entries = vec![
            Entry::number("a", "A", 27.2000001, 2),
            Entry::number("b", "B", 0.0, 2),
            Entry::number("c", "C", f64::INFINITY, 2),
            Entry::number("d", "D", f64::NAN, 2),
            Entry::count("e", "E", u64::MAX),
            Entry::new("f", "F", Value::Absent {}),
        ];
        let got = text(&report(vec![Section::entries("s", "S", entries)]));
        let want = "    \"s\": {\n      \"a\": 27.2,\n      \"b\": 0.0,\n      \"c\": null,\n      \"d\": null,\n      \
                    \"e\": 18446744073709551615,\n      \"f\": null\n    }\n";
        assert!(got.contains(want), "{got}");
    }

    #[test]
    fn tables_are_objects_of_rows_and_lists_are_arrays() {
        let columns = vec![Column::new("p50", "P50"), Column::new("max", "Max")];
        let cells = vec![Value::number(1.26, 1)];
        let notes = vec![Note {
            key: "single-round".into(),
            text: "one".into(),
        }];
        let got = text(&report(vec![
            Section::table("latency", "Latency", columns, vec![Row::new("store", "Store", cells)]),
            Section::list("warnings", "Warnings", notes),
            Section::list("none", "None", Vec::new()),
            Section::entries("empty", "Empty", Vec::new()),
        ]));
        let want = r#"{
  "title": "T",
  "metrics": {
    "latency": {
      "store": {
        "p50": 1.3,
        "max": null
      }
    },
    "warnings": [
      {
        "code": "single-round",
        "text": "one"
      }
    ],
    "none": [],
    "empty": {}
  }
}
"#;
        assert_eq!(got, want);
    }
}
