//! Result files: JSON, written in one piece and read back with limits on size and memory. Unknown members are ignored, so
//! newer versions may add some; a change that older readers would misread raises the schema number.

use std::cell::Cell;
use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny};
use serde_json::Deserializer;
use serde_json::error::Category;

use super::model::{Body, Section, Value};
use super::read::Whole;
use super::weigh::WeighFile;
use super::{KIND, RunResult, SCHEMA};
use crate::error::{Error, shortened};
use crate::python::quote::quoted;
use crate::sys::whole_file;

/// The result of 400,000 requests has about 50 MiB.
pub const FILE_BYTES_MAX: u64 = 96 << 20;
/// The commands that save results.
pub const COMMANDS: [&str; 3] = ["engine", "server", "l2"];
/// Characters of the cause in an error message.
const REASON_CHARS_MAX: usize = 300;
/// The memory limit for the samples of a result and for its other members as JSON values, in bytes: `COST_PER_BYTE` for each
/// byte of its text plus `COST_BESIDE`, at most `COST_MAX`. Narrow rows of samples take about 12 times their text, the cells of
/// a section's table about 41 times. What is made of the JSON values takes at most half of their memory again.
const COST_PER_BYTE: usize = 48;
const COST_BESIDE: usize = 768 << 10;
const COST_MAX: usize = 512 << 20;
/// Upper estimate of the text of a section's table in any output form, in bytes.
const TABLE_BYTES_MAX: usize = 64 << 20;
/// Characters of a number in a report, at most.
const NUMBER_CHARS_MAX: usize = 600;
/// Characters of a name that a message quotes.
const NAME_CHARS_MAX: usize = 64;
/// The error of a reader whose limit on memory is reached.
const TOO_MANY_PARTS: &str = "it has too many parts";
const HOW_TO_SAVE: &str = "give a file that --save result=PATH wrote";

/// The result as one line of JSON.
pub fn text(result: &RunResult) -> String {
    let mut text = serde_json::to_string(result).expect("values in memory are JSON");
    text.push('\n');
    text
}

/// Reads a result file. With `command`, a result of another command is refused. Errors name the file.
pub fn load(path: &Path, command: Option<&str>) -> Result<RunResult, Error> {
    let refused = |why: String| Error::Usage(format!("{}: {}", path.display(), shortened(&why, REASON_CHARS_MAX)));
    let bytes = whole_file::read(path, FILE_BYTES_MAX).map_err(|cause| {
        refused(match cause.kind() {
            ErrorKind::FileTooLarge => format!("{cause}, so it is no result file; {HOW_TO_SAVE}"),
            _ => format!("could not read the result file: {cause}"),
        })
    })?;
    parse(&bytes, command).map_err(refused)
}

/// Parses the text of a result file. The error is a sentence without the file's name.
pub fn parse(bytes: &[u8], command: Option<&str>) -> Result<RunResult, String> {
    let budget = bytes
        .len()
        .saturating_mul(COST_PER_BYTE)
        .saturating_add(COST_BESIDE)
        .min(COST_MAX);
    let left = Cell::new(budget);
    let mut reader = Deserializer::from_slice(bytes);
    let weighed = WeighFile(&left).deserialize(&mut reader);
    weighed
        .and_then(|()| reader.end())
        .map_err(|cause| not_json(bytes, &cause))?;
    let damaged = |cause: String| format!("it is damaged: {cause}; {HOW_TO_SAVE}");
    // Reads only the members that identify the file. Any other JSON gives an empty head.
    let head: Head = serde_json::from_slice(bytes).unwrap_or_default();
    head.check()?;
    let found = head.command.unwrap_or_default();
    let name = shown(&found);
    match command {
        Some(wanted) if found != wanted => {
            return Err(format!(
                "it holds a result of {name}, not of '{wanted}'; compare like with like"
            ));
        }
        None if !COMMANDS.contains(&found.as_str()) => {
            return Err(format!(
                "it holds a result of the command {name}, which this version does not know; use the build that wrote it"
            ));
        }
        _ => {}
    }
    let whole = Whole::read(bytes, &left).map_err(|cause| cause.to_string());
    let whole = whole.map_err(|why| match why.starts_with(TOO_MANY_PARTS) {
        true => too_many_parts(),
        false => damaged(why),
    })?;
    let result = whole.result().map_err(damaged)?;
    for (name, table) in &result.samples.tables {
        let columns = table.columns.len();
        if let Some(row) = table.rows.iter().find(|row| row.len() != columns) {
            let (name, cells) = (shown(name), row.len());
            return Err(damaged(format!(
                "a row of the table {name} has {cells} cells below {columns} columns"
            )));
        }
    }
    result.sections.iter().try_for_each(check_table).map_err(damaged)?;
    Ok(result)
}

/// A name from the file, for a message.
fn shown(name: &str) -> String {
    quoted(&shortened(name, NAME_CHARS_MAX))
}

/// Refuses a table whose rows do not fit its columns, or that a small file makes too large to print: each row has every column,
/// as wide as its widest cell, and CSV repeats the names of row and column for each cell.
fn check_table(section: &Section) -> Result<(), String> {
    let Body::Table { columns, rows } = &section.body else {
        return Ok(());
    };
    let name = shown(&section.key);
    if let Some(row) = rows.iter().find(|row| row.cells.len() > columns.len()) {
        let (cells, columns) = (row.cells.len(), columns.len());
        return Err(format!(
            "a row of section {name} has {cells} cells below {columns} columns"
        ));
    }
    let mut widths: Vec<usize> = columns
        .iter()
        .map(|column| column.key.len() + column.label.len())
        .collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(&row.cells) {
            *width = (*width).max(match cell {
                Value::Text { text } => text.len(),
                _ => NUMBER_CHARS_MAX,
            });
        }
    }
    let names = rows
        .iter()
        .map(|row| row.key.len() + row.label.len())
        .max()
        .unwrap_or(0);
    let line = widths
        .iter()
        .map(|width| width + names + section.key.len())
        .fold(0_usize, usize::saturating_add);
    match line.saturating_mul(rows.len()) > TABLE_BYTES_MAX {
        true => Err(format!("section {name} has {} rows, too wide to print", rows.len())),
        false => Ok(()),
    }
}

fn too_many_parts() -> String {
    format!("{TOO_MANY_PARTS} for its length, so it is no result file; {HOW_TO_SAVE}")
}

fn not_json(bytes: &[u8], cause: &serde_json::Error) -> String {
    // For the parser a number that ends in one of these is wrong, not cut.
    let in_number = matches!(bytes.last(), Some(b'-' | b'+' | b'.' | b'e' | b'E'));
    let is_cut = cause.classify() == Category::Eof || (in_number && is_at_the_end(bytes, cause));
    if bytes.is_empty() {
        return format!("it is empty; {HOW_TO_SAVE}");
    }
    if is_cut {
        return "it ends in the middle, so it was cut; copy it again, or repeat the run".into();
    }
    if cause.is_data() {
        return too_many_parts();
    }
    let line = bytes
        .split(|byte| *byte == b'\n')
        .nth(cause.line().saturating_sub(1))
        .unwrap_or_default();
    let at = &line[cause.column().saturating_sub(1).min(line.len())..];
    let word = ["NaN", "Infinity"]
        .into_iter()
        .find(|word| at.starts_with(word.as_bytes()));
    match word {
        Some(word) => {
            format!("it holds {word}, which is no number in JSON, so another program wrote it; {HOW_TO_SAVE}")
        }
        None => format!("it is not JSON: {cause}; {HOW_TO_SAVE}"),
    }
}

/// Whether everything before the last byte is in order.
fn is_at_the_end(bytes: &[u8], cause: &serde_json::Error) -> bool {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    lines.clone().count() == cause.line() && lines.next_back().is_some_and(|line| line.len() <= cause.column())
}

/// The members that say what a file is.
#[derive(Default, Deserialize)]
struct Head {
    kind: Option<String>,
    schema: Option<u64>,
    command: Option<String>,
    title: Option<IgnoredAny>,
    metrics: Option<IgnoredAny>,
}

impl Head {
    fn check(&self) -> Result<(), String> {
        if self.kind.as_deref() != Some(KIND) {
            let is_report = self.title.is_some() && self.metrics.is_some();
            return Err(match is_report {
                true => format!("it is a report of --format json, which has no samples; {HOW_TO_SAVE}"),
                false => format!("it is not a result of lmcache-bench; {HOW_TO_SAVE}"),
            });
        }
        let schema = self.schema.unwrap_or(0);
        let relation = match schema.cmp(&u64::from(SCHEMA)) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Greater => "newer",
            std::cmp::Ordering::Less => "older",
        };
        Err(format!(
            "it has schema {schema} and this version reads {SCHEMA}; use the {relation} lmcache-bench that wrote it, or \
             repeat the run"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::result::samples::{Cell, Table};

    /// A result with as many rows as a file holds.
    fn large() -> RunResult {
        let mut result = RunResult::new("engine", "T", Instant::now());
        let names = ["id", "ok", "class", "a", "b", "c", "d", "e", "n", "m", "cached"];
        let mut table = Table::new(&names.map(|name| (name, None)));
        for number in 0_u64..50_000 {
            let ms = |factor: f64| Cell::Number(number as f64 * factor);
            let mut row = vec![
                Cell::from(format!("doc{number}_q1").as_str()),
                true.into(),
                None::<u64>.into(),
            ];
            row.extend([
                ms(0.123456),
                ms(1.0),
                ms(0.25),
                ms(1e-3),
                ms(17.77),
                100_u64.into(),
                128_u64.into(),
                None::<u64>.into(),
            ]);
            table.push(row);
        }
        result.samples.tables.insert("requests".into(), table);
        result
    }

    #[test]
    fn a_result_of_many_requests_reads_back() {
        let result = large();
        let text = text(&result);
        let again = parse(text.as_bytes(), Some("engine")).unwrap();
        assert_eq!(super::text(&again), text);
    }

    /// The rows that take the most memory for their text.
    #[test]
    fn narrow_rows_read_back() {
        let mut result = RunResult::new("l2", "T", Instant::now());
        let mut rounds = Table::new(&["operation", "round", "ns", "keys", "bytes", "a", "b"].map(|name| (name, None)));
        for round in 0_u64..100_000 {
            let counts = [round, 34_567, 1, 0].map(Cell::from);
            let absent = [None::<u64>.into(), None::<u64>.into()];
            rounds.push([Cell::from("lookup")].into_iter().chain(counts).chain(absent).collect());
        }
        result.samples.tables.insert("rounds".into(), rounds);
        let text = text(&result);
        let again = parse(text.as_bytes(), Some("l2")).unwrap();
        assert_eq!(super::text(&again), text);
    }

    #[test]
    fn a_file_that_was_cut_anywhere_is_called_cut() {
        let mut result = RunResult::new("l2", "T", Instant::now());
        let mut numbers = Table::new(&["a", "b", "c"].map(|name| (name, None)));
        for number in [-1.5, 1e-30, 1e300] {
            numbers.push([number, -number, 1.0 / number].map(Cell::Number).into());
        }
        result.samples.tables.insert("numbers".into(), numbers);
        let text = text(&result);
        assert!(["e-", "e+3", "-1"].iter().any(|part| text.contains(part)), "{text}");
        // The file ends with a line break, without which it is whole.
        let whole = text.trim_end().len();
        for end in 1..whole {
            let why = parse(&text.as_bytes()[..end], None).unwrap_err();
            assert!(
                why.starts_with("it ends in the middle"),
                "{end}, {:?}: {why}",
                &text[end.saturating_sub(9)..end]
            );
        }
        let why = parse(b"{\"a\": 1.,\n \"b\": 2e", None).unwrap_err();
        assert!(why.starts_with("it is not JSON"), "{why}");
    }

    /// A result with one table in its sections.
    fn with_table(columns: usize, rows: &str) -> String {
        let column = r#"{"key":"c","label":"C"}"#;
        let columns = vec![column; columns].join(",");
        let table = format!(r#"{{"key":"k","label":"L","columns":[{columns}],"rows":[{rows}]}}"#);
        text(&RunResult::new("l2", "T", Instant::now()))
            .replace(r#""sections":[]"#, &format!(r#""sections":[{table}]"#))
    }

    #[test]
    fn a_table_that_cannot_be_printed_is_refused() {
        let row = |cells: &str| format!(r#"{{"key":"r","label":"R","cells":[{cells}]}}"#);
        assert!(parse(with_table(1, &row(r#"{"count":1}"#)).as_bytes(), None).is_ok());
        let why = parse(with_table(1, &row(r#"{"count":1},{"count":2}"#)).as_bytes(), None).unwrap_err();
        assert!(
            why.contains("a row of section 'k' has 2 cells below 1 columns"),
            "{why}"
        );
        let rows = vec![row(""); 20_000].join(",");
        let why = parse(with_table(20_000, &rows).as_bytes(), None).unwrap_err();
        assert!(why.contains("section 'k' has 20000 rows, too wide to print"), "{why}");
    }

    #[test]
    fn another_command_is_refused() {
        let text = text(&large());
        let why = parse(text.as_bytes(), Some("l2")).unwrap_err();
        assert_eq!(
            why,
            "it holds a result of 'engine', not of 'l2'; compare like with like"
        );
        let unknown = text.replacen("\"engine\"", "\"l3\"", 1);
        assert_eq!(
            parse(unknown.as_bytes(), None).unwrap_err(),
            "it holds a result of the command 'l3', which this version does not know; use the build that wrote it"
        );
    }

    #[test]
    fn tiny_values_cost_more_than_their_text_and_are_refused() {
        let result = text(&RunResult::new("l2", "T", Instant::now()));
        let many = |cell: &str| format!("[{}{cell}]", format!("{cell},").repeat(1 << 20));
        for cell in ["0", "{}", r#"{"a":0}"#] {
            let text = result.replacen('{', &format!("{{\"machine\":{},", many(cell)), 1);
            let why = parse(text.as_bytes(), None).unwrap_err();
            assert!(why.starts_with("it has too many parts for its length"), "{cell}: {why}");
        }
    }

    /// The cells that take the most memory for their text.
    #[test]
    fn a_large_table_of_counts_reads_back() {
        let rows = format!(
            r#"{{"key":"r","label":"R","cells":[{}{{}}]}}"#,
            r#"{"count":1},"#.repeat(9_999)
        );
        let text = with_table(10_000, &rows);
        let again = parse(text.as_bytes(), Some("l2")).unwrap();
        assert_eq!(super::text(&again), text);
    }
}
