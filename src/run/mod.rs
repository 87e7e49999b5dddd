//! What all commands share around their measurement: signals and exit status (`shell`), where results go and what is shown
//! meanwhile (`output`).

use crate::status::Status;
use crate::sys::signal;

pub mod output;
pub mod shell;

/// How a run that got as far as a report ended: by this signal, or with these sentences about what failed. A reader who left
/// is no reason to leave out why nothing else has the report either.
pub fn ended(interrupted: Option<i32>, sentences: Vec<String>) -> Status {
    match interrupted {
        Some(signal) if signal != signal::READER_LEFT || sentences.is_empty() => {
            Status::Interrupted { signal, sentences }
        }
        None if sentences.is_empty() => Status::Done,
        _ => Status::Failed(sentences),
    }
}
