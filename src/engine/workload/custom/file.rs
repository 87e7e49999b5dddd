//! Reads a file of prompts: one JSON object per line, or a JSON list of such objects.

use std::path::Path;
use std::str::Utf8Error;

use serde::Deserializer as _;
use serde::de::DeserializeSeed as _;

use super::Rules;
use super::intake::{Elements, Intake, Loaded, said};
use crate::error::Error;
use crate::python::json::{BYTE_ORDER_MARK, without_mark};
use crate::sys::whole_file::Pieces;
use crate::url::literal_path_advice;

/// Bytes of a file.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// Bytes of one line.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Bytes of a file that is one list, which is held as a whole while it is read. ShareGPT's largest has 0.7 GB.
const LIST_BYTES_MAX: usize = 1 << 30;
/// Blank bytes in which the beginning of a list is looked for.
const BLANK_BYTES_MAX: usize = 4096;

/// Reads the file. Errors name it, and the line.
pub(super) fn load(path: &Path, rules: &Rules) -> Result<Loaded, Error> {
    let complaint = |what: String| Error::Environment(format!("--prompts {}{what}", path.display()));
    let unreadable = |cause: std::io::Error| {
        let advice = literal_path_advice(path).map_or_else(String::new, |advice| format!("; {advice}"));
        complaint(format!(": could not read it: {cause}{advice}"))
    };
    let mut pieces = Pieces::open(path, FILE_BYTES_MAX).map_err(unreadable)?;
    let mut reader = Reader::new(rules);
    while let Some(piece) = pieces.next_piece().map_err(unreadable)? {
        reader.take(piece).map_err(complaint)?;
    }
    let loaded = reader.end().map_err(complaint)?;
    if loaded.items.is_empty() {
        let skipped = loaded.skipped;
        let why = match skipped {
            0 => "; give one JSON object per line".to_owned(),
            _ => format!(": none of its {skipped} conversations has a question and an answer"),
        };
        return Err(complaint(format!(" holds no prompt{why}")));
    }
    Ok(loaded)
}

/// Reads a file that comes in these pieces.
#[cfg(any(test, fuzzing))]
pub(super) fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, rules: &Rules) -> Result<Loaded, String> {
    let mut reader = Reader::new(rules);
    for piece in pieces {
        reader.take(piece)?;
    }
    reader.end()
}

/// The form of a file, which its first byte tells.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Unknown,
    Lines,
    List,
}

/// Takes a file in pieces. Complaints begin behind the file's name.
struct Reader<'a> {
    form: Form,
    /// An unfinished line, or all of a list.
    held: Vec<u8>,
    lines: u64,
    intake: Intake<'a>,
}

impl<'a> Reader<'a> {
    fn new(rules: &'a Rules<'a>) -> Reader<'a> {
        Reader {
            form: Form::Unknown,
            held: Vec::new(),
            lines: 0,
            intake: Intake::new(rules),
        }
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), String> {
        match self.form {
            Form::Unknown => {
                self.held.extend_from_slice(piece);
                self.begin(false)
            }
            Form::Lines => self.take_lines(piece),
            Form::List => {
                if self.held.len() + piece.len() > LIST_BYTES_MAX {
                    let most = LIST_BYTES_MAX >> 30;
                    return Err(format!(
                        " is a list of more than {most} GiB; give one JSON object per line instead"
                    ));
                }
                self.held.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    /// Looks for the form in what is held. At the end of the file, what is blank is lines too.
    fn begin(&mut self, at_end: bool) -> Result<(), String> {
        let text = without_mark(&self.held);
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        let may_begin = BYTE_ORDER_MARK.starts_with(&self.held);
        self.form = match first {
            _ if may_begin && !at_end => return Ok(()),
            None if !at_end && text.len() < BLANK_BYTES_MAX => return Ok(()),
            Some(b'[') => Form::List,
            _ => Form::Lines,
        };
        let text = text.to_vec();
        self.held.clear();
        self.take(&text)
    }

    fn take_lines(&mut self, mut rest: &[u8]) -> Result<(), String> {
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if self.held.is_empty() {
                self.take_line(&rest[..end])?;
            } else {
                self.held.extend_from_slice(&rest[..end]);
                let line = std::mem::take(&mut self.held);
                self.take_line(&line)?;
                // Its memory serves the next line.
                self.held = line;
                self.held.clear();
            }
            rest = &rest[end + 1..];
        }
        self.held.extend_from_slice(rest);
        self.check_length(self.held.len(), self.lines + 1)
    }

    fn check_length(&self, bytes: usize, line: u64) -> Result<(), String> {
        if bytes <= LINE_BYTES_MAX {
            return Ok(());
        }
        let most = LINE_BYTES_MAX >> 20;
        Err(format!(", line {line}: it is longer than {most} MiB"))
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), String> {
        self.lines += 1;
        let place = self.lines;
        self.check_length(line.len(), place)?;
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let complaint = |what: String| format!(", line {place}: {what}");
        let text = std::str::from_utf8(line).map_err(|error| complaint(not_utf8(line, &error)))?;
        self.intake.place = place;
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = self.intake.deserialize(&mut reader).and_then(|()| reader.end());
        read.map_err(|error| complaint(said(&error)))
    }

    fn end(mut self) -> Result<Loaded, String> {
        if self.form == Form::Unknown {
            self.begin(true)?;
        }
        let held = std::mem::take(&mut self.held);
        match self.form {
            Form::List => self.take_list(&held)?,
            _ if held.is_empty() => {}
            _ => self.take_line(&held)?,
        }
        Ok(self.intake.loaded)
    }

    fn take_list(&mut self, list: &[u8]) -> Result<(), String> {
        self.intake.loaded.is_list = true;
        let text = std::str::from_utf8(list).map_err(|error| format!(": {}", not_utf8(list, &error)))?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = reader
            .deserialize_seq(Elements(&mut self.intake))
            .and_then(|()| reader.end());
        read.map_err(|error| {
            format!(
                ", entry {} (line {}): {}",
                self.intake.place,
                error.line(),
                said(&error)
            )
        })
    }
}

fn not_utf8(text: &[u8], error: &Utf8Error) -> String {
    let before = &text[..error.valid_up_to()];
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    let line = before.iter().filter(|byte| **byte == b'\n').count();
    let of_list = if line > 0 {
        format!(" in line {}", line + 1)
    } else {
        String::new()
    };
    format!("it is not UTF-8 at byte {column}{of_list}; save the file as UTF-8")
}
