//! The figures as CSV (RFC 4180, lines end with CRLF) with the columns `section,row,key,value,unit`. Numbers are unrounded;
//! unknown values are empty. Warnings are rows of the section `warnings`.

use super::Renderer;
use crate::python::float_text::shortest;
use crate::result::RunResult;
use crate::result::model::{Body, Value};
use crate::result::samples::Cell;

pub struct Csv;

impl Renderer for Csv {
    fn render(&self, result: &RunResult) -> Vec<u8> {
        let mut out = line(&["section", "row", "key", "value", "unit"]);
        for section in &result.sections {
            let key = &section.key;
            match &section.body {
                Body::Entries { entries } => entries.iter().for_each(|entry| {
                    let unit = entry.unit.as_deref().unwrap_or_default();
                    out.push_str(&line(&[key, "", &entry.key, &text(&entry.value), unit]));
                }),
                Body::Table { columns, rows } => rows.iter().for_each(|row| {
                    for (at, column) in columns.iter().enumerate() {
                        let unit = column.unit.as_deref().unwrap_or_default();
                        out.push_str(&line(&[key, &row.key, &column.key, &text(row.cell(at)), unit]));
                    }
                }),
                Body::List { notes } => notes
                    .iter()
                    .for_each(|note| out.push_str(&line(&[key, "", &note.key, &note.text, ""]))),
            }
        }
        out.into_bytes()
    }
}

/// One table of the samples as CSV: a header with the columns, then its rows.
pub struct TableCsv(pub &'static str);

impl Renderer for TableCsv {
    fn render(&self, result: &RunResult) -> Vec<u8> {
        let Some(table) = result.samples.tables.get(self.0) else {
            return Vec::new();
        };
        let columns: Vec<&str> = table.columns.iter().map(|column| column.key.as_ref()).collect();
        let mut out = line(&columns);
        for row in &table.rows {
            let cells: Vec<String> = row.iter().map(cell).collect();
            out.push_str(&line(&cells.iter().map(String::as_str).collect::<Vec<_>>()));
        }
        out.into_bytes()
    }
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Flag(flag) => flag.to_string(),
        Cell::Count(count) => count.to_string(),
        Cell::Number(value) if value.is_finite() => shortest(*value),
        Cell::Number(_) => String::new(),
        Cell::Text(text) => text.to_string(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Count { count } => count.to_string(),
        Value::Number { value, .. } if value.is_finite() => shortest(*value),
        Value::Text { text } => text.clone(),
        Value::Number { .. } | Value::Absent {} => String::new(),
    }
}

fn line(fields: &[&str]) -> String {
    fields.iter().map(|text| field(text)).collect::<Vec<_>>().join(",") + "\r\n"
}

/// One field, quoted where necessary.
pub fn field(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::model::{Column, Entry, Note, Row, Section};
    use crate::result::samples::Table;

    #[test]
    fn every_figure_is_a_line_unrounded() {
        let mut result = RunResult::new("l2", "T", std::time::Instant::now());
        let columns = vec![
            Column::new("p50", "P50").unit("us"),
            Column::new("max", "Max").unit("us"),
        ];
        result.sections = vec![
            Section::entries(
                "s",
                "S",
                vec![
                    Entry::count("n", "N", 3),
                    Entry::number("t", "T (ms)", 1.23456789, 2).unit("ms"),
                    Entry::text("x", "X", "a,\"b\"\n"),
                    Entry::number("i", "I", f64::INFINITY, 2),
                ],
            ),
            Section::table("l", "L", columns, vec![Row::new("r", "R", vec![Value::number(0.1, 1)])]),
            Section::list(
                "warnings",
                "Warnings",
                vec![Note {
                    key: "c".into(),
                    text: "t".into(),
                }],
            ),
        ];
        let want = "section,row,key,value,unit\r\ns,,n,3,\r\ns,,t,1.23456789,ms\r\ns,,x,\"a,\"\"b\"\"\n\",\r\ns,,i,,\r\n\
                    l,r,p50,0.1,us\r\nl,r,max,,us\r\nwarnings,,c,t,\r\n";
        assert_eq!(String::from_utf8(Csv.render(&result)).unwrap(), want);
    }

    #[test]
    fn a_table_has_a_header_and_its_rows() {
        let mut result = RunResult::new("engine", "T", std::time::Instant::now());
        let mut table = Table::new(&[("second", None), ("ttft_p50_ms", Some("ms"))]);
        table.push(vec![0u64.into(), 1.5.into()]);
        table.push(vec![1u64.into(), None::<f64>.into()]);
        result.samples.tables.insert("series".into(), table);
        let text = String::from_utf8(TableCsv("series").render(&result)).unwrap();
        assert_eq!(text, "second,ttft_p50_ms\r\n0,1.5\r\n1,\r\n");
    }

    #[test]
    fn fields_are_quoted_only_where_necessary() {
        for (text, want) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("", ""),
        ] {
            assert_eq!(field(text), want);
        }
    }
}
