//! What all commands share around their measurement: signals and exit status (`shell`), outputs and progress (`output`).

use crate::status::Status;
use crate::sys::signal;

pub mod output;
pub mod shell;

/// The status of a run that produced a report. `interrupted` is the signal that ended it, `sentences` say what failed. After a
/// closed pipe (`READER_LEFT`) the exit code is 1 rather than 141 if there are sentences: nothing has the whole report then.
pub fn ended(interrupted: Option<i32>, sentences: Vec<String>) -> Status {
    match interrupted {
        Some(signal) if signal != signal::READER_LEFT || sentences.is_empty() => {
            Status::Interrupted { signal, sentences }
        }
        None if sentences.is_empty() => Status::Done,
        _ => Status::Failed(sentences),
    }
}
