//! A report as JSON, byte for byte as Python's `json.dumps(..., indent=2)` would print the same values. Numbers that
//! JSON cannot hold become null.

use std::fmt::Write;

use super::Renderer;
use crate::python::float_text::{round, shortest};
use crate::result::RunResult;
use crate::result::model::{Body, Column, Row, Value};

pub struct ReferenceJson;

impl Renderer for ReferenceJson {
    fn render(&self, result: &RunResult) -> Vec<u8> {
        text(result).into_bytes()
    }
}

/// The whole report, with a newline at its end.
fn text(report: &RunResult) -> String {
    let mut out = Writer::default();
    out.object(&[(); 2], |out, index, ()| match index {
        0 => {
            out.key("title");
            out.string(&report.title);
        }
        _ => {
            out.key("metrics");
            out.object(&report.sections, |out, _, section| {
                out.key(&section.key);
                body(out, &section.body);
            });
        }
    });
    out.text.push('\n');
    out.text
}

/// One string as it stands in these files: quoted, and plain ASCII.
pub fn quoted(text: &str) -> String {
    let mut out = Writer::default();
    out.string(text);
    out.text
}

fn body(out: &mut Writer, body: &Body) {
    match body {
        Body::Entries { entries } => out.object(entries, |out, _, entry| {
            out.key(&entry.key);
            out.value(&entry.value);
        }),
        Body::Table { columns, rows } => out.object(rows, |out, _, row| {
            out.key(&row.key);
            table_row(out, columns, row);
        }),
        Body::List { notes } => out.array(notes, |out, _, note| {
            out.object(
                &[("code", note.key.as_ref()), ("text", note.text.as_str())],
                |out, _, (key, text)| {
                    out.key(key);
                    out.string(text);
                },
            );
        }),
    }
}

fn table_row(out: &mut Writer, columns: &[Column], row: &Row) {
    out.object(columns, |out, index, column| {
        out.key(&column.key);
        out.value(row.cell(index));
    });
}

#[derive(Default)]
struct Writer {
    text: String,
    depth: usize,
}

impl Writer {
    fn object<T>(&mut self, items: &[T], each: impl FnMut(&mut Writer, usize, &T)) {
        self.group('{', '}', items, each);
    }

    fn array<T>(&mut self, items: &[T], each: impl FnMut(&mut Writer, usize, &T)) {
        self.group('[', ']', items, each);
    }

    fn group<T>(&mut self, open: char, close: char, items: &[T], mut each: impl FnMut(&mut Writer, usize, &T)) {
        self.text.push(open);
        self.depth += 1;
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            self.line();
            each(self, index, item);
        }
        self.depth -= 1;
        if !items.is_empty() {
            self.line();
        }
        self.text.push(close);
    }

    fn line(&mut self) {
        self.text.push('\n');
        for _ in 0..self.depth {
            self.text.push_str("  ");
        }
    }

    fn key(&mut self, key: &str) {
        self.string(key);
        self.text.push_str(": ");
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Count { count } => self.text.push_str(&count.to_string()),
            Value::Number { value, .. } if !value.is_finite() => self.text.push_str("null"),
            Value::Number { value, decimals } => self.text.push_str(&shortest(round(*value, *decimals))),
            Value::Text { text } => self.string(text),
            Value::Absent {} => self.text.push_str("null"),
        }
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        for character in text.chars() {
            match character {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                ' '..='~' => self.text.push(character),
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(self.text, "\\u{unit:04x}").expect("writing to a String cannot fail");
                    }
                }
            }
        }
        self.text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::model::{Entry, Note, Section};

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
    fn numbers_are_rounded_and_never_invalid() {
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
