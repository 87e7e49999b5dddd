//! A dataset of questions with passages and answers: from a file of JSON records, or from the local Hugging Face cache. Nothing
//! is downloaded.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::record::{Lacks, Sample};
use crate::engine::hub_cache;
use crate::engine::tokens::ended;
use crate::error::Error;
use crate::python::json;
use crate::python::text::strip;
use crate::sys::{signal, whole_file};
use crate::url::literal_path_advice;

/// Bytes of a file with a record a line, and of one such line.
const LINES_BYTES_MAX: u64 = 1 << 30;
const LINE_BYTES_MAX: usize = 64 << 20;
/// Bytes of a file with one list, whose values take up to nine times as much.
const LIST_BYTES_MAX: u64 = 256 << 20;
const FLAG: &str = "--rag-dataset";

/// A dataset that LMCache knows by name: a file of a repository of datasets.
struct Named {
    name: &'static str,
    repository: &'static str,
    file: &'static str,
}

/// In the order of the error that lists them.
const NAMED: [Named; 2] = [
    Named {
        name: "hotpotqa",
        repository: "hotpotqa/hotpot_qa",
        file: "distractor/validation-00000-of-00001.parquet",
    },
    Named {
        name: "musique",
        repository: "dgslibisey/MuSiQue",
        file: "musique_ans_v1.0_dev.jsonl",
    },
];

/// The samples that a run takes, and what the file has besides.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dataset {
    /// The first usable ones.
    pub samples: Vec<Sample>,
    pub records: u64,
    /// Records that were left out, by what they lack.
    skipped: [u64; 4],
}

impl Dataset {
    /// Reads a known name or a file, and keeps the first `samples_max` usable records. The whole file is read, so that a bad
    /// line behind them is an error too.
    pub fn open(dataset: &str, samples_max: u64) -> Result<Dataset, Error> {
        let path = located(dataset)?;
        let suffix = path.to_string_lossy().to_lowercase();
        if suffix.ends_with(".parquet") || suffix.ends_with(".pq") {
            return Err(parquet(&path));
        }
        let is_lines = suffix.ends_with(".jsonl");
        let bytes_max = if is_lines { LINES_BYTES_MAX } else { LIST_BYTES_MAX };
        let bytes = whole_file::read(&path, bytes_max).map_err(|cause| {
            let smaller = if is_lines {
                ""
            } else {
                ", or make it one of a record a line, named .jsonl"
            };
            wrong(
                &path,
                "",
                &format!("could not read it: {cause}; give a smaller file{smaller}"),
            )
        })?;
        let read = if is_lines { Dataset::of_lines } else { Dataset::of_list };
        let found = read(&bytes, samples_max).map_err(|fault| wrong(&path, &fault.place, &fault.why))?;
        ended()?;
        if found.samples.is_empty() {
            let left_out = found.left_out().map_or(String::new(), |why| format!(" ({why})"));
            return Err(wrong(
                &path,
                "",
                &format!(
                    "no record of it can be used{left_out}; one needs passages (paragraphs, ctxs, contexts, \
                     retrieved_contexts or context), a question and answers"
                ),
            ));
        }
        Ok(found)
    }

    /// A record a line, blank lines skipped.
    pub fn of_lines(bytes: &[u8], samples_max: u64) -> Result<Dataset, Fault> {
        let mut dataset = Dataset::default();
        for (at, line) in Lines(bytes).enumerate() {
            let line_fault = |why: String| Fault {
                place: format!(", line {}", at + 1),
                why,
            };
            if line.len() > LINE_BYTES_MAX {
                let most = LINE_BYTES_MAX >> 20;
                return Err(line_fault(format!("it is longer than {most} MiB; leave it out")));
            }
            let text = std::str::from_utf8(line).map_err(|_| line_fault("it is not UTF-8; save the file so".into()))?;
            if strip(text).is_empty() {
                continue;
            }
            let record =
                json::loads_texts(line).map_err(|cause| line_fault(not_json(&cause, &cause.column().to_string())))?;
            dataset.add(&record, samples_max);
            // A large file takes seconds. The caller sees the signal too.
            if signal::received().is_some() {
                break;
            }
        }
        Ok(dataset)
    }

    /// One JSON document that is a list.
    pub fn of_list(bytes: &[u8], samples_max: u64) -> Result<Dataset, Fault> {
        let whole = |why: &str| Fault {
            place: String::new(),
            why: why.to_owned(),
        };
        let by_line = "if it has one record a line, its name has to end in .jsonl";
        std::str::from_utf8(bytes).map_err(|_| whole("it is not UTF-8; save it so"))?;
        let document = json::loads_texts(bytes).map_err(|cause| Fault {
            place: format!(", line {}", cause.line()),
            why: format!("{}; {by_line}", not_json(&cause, &cause.column().to_string())),
        })?;
        let Value::Array(records) = document else {
            return Err(whole(&format!(
                "it holds no list of records; give one in brackets; {by_line}"
            )));
        };
        let mut dataset = Dataset::default();
        records.iter().for_each(|record| dataset.add(record, samples_max));
        Ok(dataset)
    }

    fn add(&mut self, record: &Value, samples_max: u64) {
        let index = self.records;
        self.records += 1;
        match Sample::of(record, index) {
            Ok(sample) if (self.samples.len() as u64) < samples_max => self.samples.push(sample),
            Ok(_) => {}
            Err(lacks) => self.skipped[lacks as usize] += 1,
        }
    }

    /// How many records were left out, and why; `None` where all can be used.
    pub fn left_out(&self) -> Option<String> {
        let all: u64 = self.skipped.iter().sum();
        let reasons = [
            (Lacks::Fields, "not an object"),
            (Lacks::Passages, "without passages"),
            (Lacks::Question, "without a question"),
            (Lacks::Answers, "without answers"),
        ];
        let reasons = reasons.map(|(lacks, why)| (self.skipped[lacks as usize], why));
        let told = reasons.iter().filter(|(count, _)| *count > 0);
        let told: Vec<String> = told.map(|(count, why)| format!("{count} {why}")).collect();
        (all > 0).then(|| format!("{all} of {} records left out: {}", self.records, told.join(", ")))
    }
}

/// What is wrong with a file, and in which line.
#[derive(Debug)]
pub struct Fault {
    place: String,
    why: String,
}

/// Lines that end in LF, CR or CRLF, without their ends, as Python reads text.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = self
            .0
            .iter()
            .position(|byte| [b'\n', b'\r'].contains(byte))
            .unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at(end);
        let ending = if rest.starts_with(b"\r\n") { 2 } else { 1 };
        self.0 = rest.get(ending..).unwrap_or_default();
        Some(line)
    }
}

/// The parser's message, which names a line that is always 1 where a line is all that it sees.
fn not_json(cause: &serde_json::Error, column: &str) -> String {
    let message = cause.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    if json::costs_too_much(cause) {
        return format!("{message} for a dataset; leave it out");
    }
    format!("it is not JSON at column {column}: {message}")
}

fn wrong(path: &Path, place: &str, why: &str) -> Error {
    Error::Settings(format!("{FLAG} {}{place}: {why}", path.display()))
}

/// The file of a known name, or the file of that path. A name wins.
fn located(dataset: &str) -> Result<PathBuf, Error> {
    if let Some(named) = NAMED.iter().find(|named| named.name == dataset) {
        return hub_cache::file("datasets", named.repository, named.file).ok_or_else(|| absent(named));
    }
    let path = PathBuf::from(dataset);
    let what = match fs::metadata(&path) {
        Ok(file) if file.is_file() => return Ok(path),
        Ok(file) if file.is_dir() => "it is a folder".to_owned(),
        Ok(_) => "it is a pipe or a device, where a regular file is needed".to_owned(),
        Err(cause) if cause.kind() == ErrorKind::NotFound => "there is no such file".to_owned(),
        Err(cause) => format!("could not look at it: {cause}"),
    };
    let known: Vec<&str> = NAMED.iter().map(|named| named.name).collect();
    let advice = literal_path_advice(&path).unwrap_or_else(|| "name a file of JSON records".to_owned());
    let known = known.join(", ");
    Err(wrong(
        &path,
        "",
        &format!("{what}, and no dataset has that name; {advice}, or one of the known names {known}"),
    ))
}

fn absent(named: &Named) -> Error {
    let Named { name, repository, file } = named;
    Error::Environment(format!(
        "{FLAG} {name}: {file} of the dataset {repository} is not in the local Hugging Face cache, and nothing is downloaded; \
         get it with: hf download --repo-type dataset {repository} {file}; or give the path of a copy with {FLAG} PATH"
    ))
}

fn parquet(path: &Path) -> Error {
    let shown = path.display().to_string().replace('\'', "'\\''");
    wrong(
        path,
        "",
        &format!(
            "Parquet files are not read; make it JSON lines with: python -c 'import pandas, sys; \
             pandas.read_parquet(sys.argv[1]).to_json(\"dataset.jsonl\", orient=\"records\", lines=True)' '{shown}'"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const USABLE: &str = r#"{"ctxs": ["d"], "question": "q", "answer": "a"}"#;

    struct File(PathBuf);

    impl File {
        fn new(name: &str, bytes: &[u8]) -> File {
            let path = crate::testing::temporary_path(&format!("rag-{name}"));
            std::fs::write(&path, bytes).unwrap();
            File(path)
        }

        fn open(&self, samples_max: u64) -> Result<Dataset, String> {
            Dataset::open(self.0.to_str().unwrap(), samples_max).map_err(|error| error.to_string())
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn lines_end_as_in_python() {
        let text = format!("{USABLE}\r\n\r\u{a0}\n{USABLE}\r[1]\n\u{feff}{USABLE}\u{1f}\n");
        let lines: Vec<&[u8]> = Lines(b"a\r\n\rb\n\nc").collect();
        assert_eq!(lines, [&b"a"[..], b"", b"b", b"", b"c"]);
        let fault = Dataset::of_lines(text.as_bytes(), 9).unwrap_err();
        assert_eq!(fault.place, ", line 6");
        let dataset = Dataset::of_lines(&text.as_bytes()[..text.len() - 2], 1).unwrap();
        assert_eq!((dataset.samples.len(), dataset.records), (1, 4));
        assert_eq!(dataset.left_out().unwrap(), "1 of 4 records left out: 1 not an object");
        let unicode = format!("{}\n", USABLE.replace("\"d\"", "\"d\u{2028}e\""));
        assert_eq!(
            Dataset::of_lines(unicode.as_bytes(), 9).unwrap().samples[0].passages,
            ["d\u{2028}e"]
        );
    }

    /// As Python's `str` shows them.
    #[test]
    fn numbers_keep_their_digits() {
        let line = USABLE
            .replace("\"d\"", "18446744073709551616, NaN")
            .replace("\"a\"", "Infinity")
            .replace("\"q\"", "-9223372036854775809");
        for read in [
            Dataset::of_lines(line.as_bytes(), 9),
            Dataset::of_list(format!("[{line}]").as_bytes(), 9),
        ] {
            let sample = &read.unwrap().samples[0];
            assert_eq!(sample.passages, ["18446744073709551616", "nan"]);
            assert_eq!(
                (sample.question.as_str(), &sample.answers[0][..]),
                ("-9223372036854775809", "inf")
            );
        }
    }

    #[test]
    fn the_suffix_decides_how_a_file_is_read() {
        let list = format!("\u{feff}[{USABLE}, {USABLE}]");
        for (name, text, samples) in [("a.JSONL", USABLE, 1), ("b.json", &list, 2), ("c", &list, 2)] {
            assert_eq!(
                File::new(name, text.as_bytes()).open(9).unwrap().samples.len(),
                samples,
                "{name}"
            );
        }
        assert_eq!(File::new("d.json", list.as_bytes()).open(1).unwrap().samples.len(), 1);
    }

    #[test]
    fn errors_name_file_and_line() {
        let lines = format!("{USABLE}\n\n{{\"a\": 1,}}\n");
        for (name, bytes, expected) in [
            (
                "a.jsonl",
                lines.as_bytes(),
                "a.jsonl, line 3: it is not JSON at column 9: trailing comma",
            ),
            (
                "b.jsonl",
                &b"\xff"[..],
                "b.jsonl, line 1: it is not UTF-8; save the file so",
            ),
            ("c.json", b"{}", "c.json: it holds no list of records; "),
            (
                "d.json",
                format!("{USABLE}\n{USABLE}").as_bytes(),
                "d.json, line 2: it is not JSON at column 1: trailing characters; ",
            ),
            (
                "e.jsonl",
                br#"{"id": 1}"#,
                "e.jsonl: no record of it can be used (1 of 1 records left out: 1 without passages); ",
            ),
            ("f.jsonl", b"", "f.jsonl: no record of it can be used; "),
            (
                "g.Parquet",
                b"PAR1",
                "g.Parquet: Parquet files are not read; make it JSON lines with: python ",
            ),
        ] {
            let refused = File::new(name, bytes).open(9).unwrap_err();
            let refused = refused
                .split_once(&format!("-{name}"))
                .map(|(_, after)| format!("{name}{after}"));
            assert!(refused.as_ref().unwrap().starts_with(expected), "{refused:?}");
        }
        let refused = |dataset: &str| Dataset::open(dataset, 9).unwrap_err().to_string();
        assert!(refused("/nowhere/x").ends_with("or one of the known names hotpotqa, musique"));
        assert!(refused("/nowhere/x").contains(": there is no such file, and no dataset"));
        assert!(refused("/").starts_with("--rag-dataset /: it is a folder, and no dataset"));
        let device = refused("/dev/null");
        assert!(
            device
                .starts_with("--rag-dataset /dev/null: it is a pipe or a device, where a regular file is needed, and"),
            "{device}"
        );
        assert!(refused("/dev/null/x").contains(": could not look at it: Not a directory"));
    }

    #[test]
    fn a_line_with_too_many_values_is_refused() {
        let line = format!("[{}0]", "0,".repeat(200_000));
        let fault = Dataset::of_lines(line.as_bytes(), 9).unwrap_err();
        assert!(fault.why.contains("too many parts"), "{}", fault.why);
    }
}
