//! Result files: JSON, written in one piece and read back with limits on size and memory. Unknown members are ignored, so
//! newer versions may add some; a change that older readers would misread raises the schema number.

use std::cell::Cell;
use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny};
use serde_json::Deserializer;
use serde_json::error::Category;

use super::read::Whole;
use super::weigh::Weigh;
use super::{KIND, RunResult, SCHEMA};
use crate::error::{Error, shortened};
use crate::sys::whole_file;

/// The result of 400,000 requests has about 50 MiB.
pub const FILE_BYTES_MAX: u64 = 96 << 20;
/// The commands that save results.
pub const COMMANDS: [&str; 3] = ["engine", "server", "l2"];
/// Characters of the cause in an error message.
const REASON_CHARS_MAX: usize = 300;
/// The memory limit for reading a result: `COST_PER_BYTE` for each byte of its text plus `COST_BESIDE`, in bytes.
const COST_PER_BYTE: usize = 8;
const COST_BESIDE: usize = 768 << 10;
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
    let budget = bytes.len().saturating_mul(COST_PER_BYTE).saturating_add(COST_BESIDE);
    let mut reader = Deserializer::from_slice(bytes);
    let weighed = Weigh(&Cell::new(budget)).deserialize(&mut reader);
    weighed
        .and_then(|()| reader.end())
        .map_err(|cause| not_json(bytes, &cause))?;
    let damaged = |cause: String| format!("it is damaged: {cause}; {HOW_TO_SAVE}");
    // Nothing but these members until it is known to be a result: a list of JSON is none of them.
    let head: Head = serde_json::from_slice(bytes).unwrap_or_default();
    head.check()?;
    let found = head.command.unwrap_or_default();
    match command {
        Some(wanted) if found != wanted => {
            return Err(format!(
                "it holds a result of '{found}', not of '{wanted}'; compare like with like"
            ));
        }
        None if !COMMANDS.contains(&found.as_str()) => {
            return Err(format!(
                "it holds a result of the command '{found}', which this version does not know"
            ));
        }
        _ => {}
    }
    let whole: Whole = serde_json::from_slice(bytes).map_err(|cause| damaged(cause.to_string()))?;
    let result = whole.result().map_err(damaged)?;
    for (name, table) in &result.samples.tables {
        let columns = table.columns.len();
        if let Some(row) = table.rows.iter().find(|row| row.len() != columns) {
            let cells = row.len();
            return Err(format!(
                "it is damaged: a row of the table '{name}' has {cells} cells below {columns} columns; {HOW_TO_SAVE}"
            ));
        }
    }
    Ok(result)
}

fn not_json(bytes: &[u8], cause: &serde_json::Error) -> String {
    let is_cut = cause.classify() == Category::Eof;
    if bytes.is_empty() {
        return format!("it is empty; {HOW_TO_SAVE}");
    }
    if is_cut {
        return "it ends in the middle, so it was cut; copy it again, or repeat the run".into();
    }
    if cause.is_data() {
        return format!("it has too many parts for its length, so it is no result file; {HOW_TO_SAVE}");
    }
    let line = bytes
        .split(|byte| *byte == b'\n')
        .nth(cause.line().saturating_sub(1))
        .unwrap_or_default();
    let at = &line[cause.column().saturating_sub(1).min(line.len())..];
    let word = ["NaN", "Infinity", "-Infinity"]
        .into_iter()
        .find(|word| at.starts_with(word.as_bytes()));
    match word {
        Some(word) => {
            format!("it holds {word}, which is no number in JSON, so another program wrote it; {HOW_TO_SAVE}")
        }
        None => format!("it is not JSON: {cause}; {HOW_TO_SAVE}"),
    }
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

    #[test]
    fn another_command_is_refused() {
        let text = text(&large());
        let why = parse(text.as_bytes(), Some("l2")).unwrap_err();
        assert_eq!(
            why,
            "it holds a result of 'engine', not of 'l2'; compare like with like"
        );
    }

    #[test]
    fn tiny_values_cost_more_than_their_text_and_are_refused() {
        let text = format!("{{\"kind\": [{}0]}}", "0,".repeat(1 << 20));
        let why = parse(text.as_bytes(), None).unwrap_err();
        assert!(why.starts_with("it has too many parts for its length"), "{why}");
    }
}
