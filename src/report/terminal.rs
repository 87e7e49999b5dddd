//! The terminal report: fixed width, headings centred in rules, labels left, values right. Lengths are counted in code points.
//! Longer values overflow to the right. Control characters in values are escaped.

use super::Renderer;
use crate::python::float_text::{fixed, round};
use crate::result::RunResult;
use crate::result::model::{Body, Column, Entry, Note, Row, Value};
use crate::text::{columns_of, wrapped};

/// Decimals of numbers outside tables, as in LMCache.
const ENTRY_DECIMALS: u8 = 2;

/// Characters per line, as in LMCache, whose engine report is narrower.
const WIDTH: usize = 64;
const ENGINE_WIDTH: usize = 56;

pub struct Terminal;

impl Renderer for Terminal {
    fn render(&self, result: &RunResult) -> Vec<u8> {
        let width = if result.command == "engine" {
            ENGINE_WIDTH
        } else {
            WIDTH
        };
        text(result, width).into_bytes()
    }
}

/// The whole report. Every line ends with a newline.
fn text(result: &RunResult, width: usize) -> String {
    let mut lines = vec![centred(&result.title, '=', width)];
    for section in result.sections.iter().filter(|section| !section.for_programs) {
        let body = match &section.body {
            Body::Entries { entries } => entries.iter().map(|entry| entry_line(entry, width)).collect(),
            Body::Table { columns, rows } => table_lines(columns, rows, width),
            Body::List { notes } if notes.is_empty() => continue,
            Body::List { notes } => notes.iter().flat_map(|note| note_lines(note, width)).collect(),
        };
        lines.push(centred(&section.label, '-', width));
        lines.extend::<Vec<String>>(body);
    }
    lines.push("=".repeat(width));
    lines.push(String::new());
    lines.join("\n")
}

fn centred(text: &str, fill: char, width: usize) -> String {
    let text = format!(" {} ", printable(text));
    let Some(pad) = width.checked_sub(columns_of(&text)) else {
        return text;
    };
    let left = pad / 2 + (pad & width & 1);
    let rule = |count| fill.to_string().repeat(count);
    format!("{}{text}{}", rule(left), rule(pad - left))
}

fn entry_line(entry: &Entry, width: usize) -> String {
    let label = format!("{}:", printable(&entry.label));
    let value = match &entry.value {
        Value::Number { value, decimals } => fixed(round(*value, *decimals), ENTRY_DECIMALS),
        other => cell_text(other),
    };
    let blanks = width.saturating_sub(columns_of(&label) + columns_of(&value)).max(1);
    format!("{label}{}{value}", " ".repeat(blanks))
}

fn cell_text(value: &Value) -> String {
    match value {
        Value::Count { count } => count.to_string(),
        Value::Number { value, decimals } => fixed(round(*value, *decimals), *decimals),
        Value::Text { text } => printable(text),
        Value::Absent {} => "N/A".to_owned(),
    }
}

/// Row labels on the left. Each column is as wide as its longest text; the space left over is spread evenly.
fn table_lines(columns: &[Column], rows: &[Row], width: usize) -> Vec<String> {
    let head: Vec<String> = columns.iter().map(|column| printable(&column.label)).collect();
    let mut grid = vec![(String::new(), head)];
    for row in rows {
        debug_assert!(
            row.cells.len() <= columns.len(),
            "row {} has cells without a column",
            row.key
        );
        let cells = (0..columns.len()).map(|column| cell_text(row.cell(column))).collect();
        grid.push((printable(&row.label), cells));
    }
    let first = grid.iter().map(|(label, _)| columns_of(label)).max().unwrap_or(0);
    let needs: Vec<usize> = (0..columns.len())
        .map(|column| {
            1 + grid
                .iter()
                .map(|(_, cells)| columns_of(&cells[column]))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let spare = width.saturating_sub(first + needs.iter().sum::<usize>());
    let share = spare.checked_div(columns.len()).unwrap_or(0);
    let rest = spare.checked_rem(columns.len()).unwrap_or(0);
    let line = |(label, cells): &(String, Vec<String>)| {
        let mut line = label.clone() + &" ".repeat(first + rest - columns_of(label));
        for (cell, need) in cells.iter().zip(&needs) {
            line.push_str(&" ".repeat(need + share - columns_of(cell)));
            line.push_str(cell);
        }
        line.truncate(line.trim_end().len());
        line
    };
    grid.iter().map(line).collect()
}

/// `- ` and the text, wrapped at blanks. A word longer than the line, such as a path, is not split.
fn note_lines(note: &Note, width: usize) -> Vec<String> {
    let lines = wrapped(&printable(&note.text), width - 2);
    let marks = std::iter::once("-").chain(std::iter::repeat(" "));
    marks.zip(lines).map(|(mark, line)| format!("{mark} {line}")).collect()
}

fn printable(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::model::Section;

    fn lines(width: usize, sections: Vec<Section>) -> Vec<String> {
        let mut result = RunResult::new("l2", "T", std::time::Instant::now());
        result.sections = sections;
        let text = text(&result, width);
        assert!(text.ends_with('\n'));
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_odd_blank_is_on_the_same_side_as_in_the_reference() {
        assert_eq!(centred("ab", '=', 9), "=== ab ==");
        assert_eq!(centred("ab", '=', 8), "== ab ==");
        assert_eq!(centred("abc", '=', 8), "= abc ==");
        assert_eq!(centred("abc", '-', 9), "-- abc --");
        assert_eq!(centred("too long for it", '-', 9), " too long for it ");
        assert_eq!(centred("\u{e9}\u{4e00}", '-', 8), "-- \u{e9}\u{4e00} --");
    }

    #[test]
    fn entries_fill_the_width_and_overflow_to_the_right() {
        let entries = vec![
            Entry::text("a", "Short", "x"),
            Entry::text("b", "Long", "0123456789abcdef"),
            Entry::number("c", "Number", 0.5764, 3),
            Entry::number("d", "Inf", f64::INFINITY, 2),
            Entry::new("e", "None", Value::Absent {}),
            Entry::text("f", "Raw", "a\nb\u{1b}c"),
        ];
        let want = [
            "======= T ========",
            "------- S --------",
            "Short:           x",
            "Long: 0123456789abcdef",
            "Number:       0.58",
            "Inf:           inf",
            "None:          N/A",
            "Raw:         a b c",
            "==================",
        ];
        assert_eq!(lines(18, vec![Section::entries("s", "S", entries)]), want);
    }

    #[test]
    fn sections_for_programs_are_not_shown() {
        let entries = vec![Entry::text("a", "A", "x")];
        let section = Section::entries("s", "S", entries).for_programs();
        assert_eq!(lines(9, vec![section]), ["=== T ===", "========="]);
    }

    #[test]
    fn tables_are_aligned_within_the_width() {
        let columns = ["p50", "p90", "p99", "p99.9", "max"]
            .map(|name| Column::new(name, name))
            .to_vec();
        let number = |value| Value::number(value, 1);
        let store = [10.04, 20.0, 333.25, 4444.0, 55555.5].map(number).to_vec();
        let load = vec![Value::count(1), Value::Absent {}];
        let rows = vec![Row::new("store", "Store open", store), Row::new("load", "Load", load)];
        let got = lines(64, vec![Section::table("latency", "Latency (us)", columns, rows)]);
        let want = [
            "                   p50        p90        p99      p99.9      max",
            "Store open        10.0       20.0      333.2     4444.0  55555.5",
            "Load                 1        N/A        N/A        N/A      N/A",
        ];
        assert_eq!(
            got[2..5].iter().map(|line| line.chars().count()).collect::<Vec<_>>(),
            [64, 64, 64],
            "{got:#?}"
        );
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (got, want) in got[2..5].iter().zip(want) {
            assert_eq!(words(got), words(want));
        }
        let ends = |line: &str, text: &str| line.find(text).unwrap() + text.len();
        assert_eq!(ends(&got[2], "p90"), ends(&got[3], "20.0"));
        assert_eq!(ends(&got[2], "p99.9"), ends(&got[3], "4444.0"));
    }

    #[test]
    fn a_table_that_is_too_wide_overflows_with_blanks_between_columns() {
        let columns = vec![Column::new("a", "a"), Column::new("b", "b")];
        let rows = vec![Row::new(
            "r",
            "label",
            vec![Value::count(1_000_000), Value::count(2_000_000)],
        )];
        let got = lines(10, vec![Section::table("s", "S", columns, rows)]);
        assert_eq!(got[2..4], ["            a       b", "label 1000000 2000000"]);
    }

    #[test]
    fn notes_wrap_at_blanks() {
        let notes = ["one two three four", "/a/path/longer/than/the/line ends"]
            .map(|text| Note {
                key: "k".into(),
                text: text.to_owned(),
            })
            .to_vec();
        let got = lines(
            12,
            vec![Section::list("w", "W", notes), Section::list("e", "E", Vec::new())],
        );
        let want = [
            "==== T =====",
            "---- W -----",
            "- one two",
            "  three four",
            "- /a/path/longer/than/the/line",
            "  ends",
            "============",
        ];
        assert_eq!(got, want);
    }
}
