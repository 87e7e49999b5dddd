//! Errors, by who can fix them. Each holds a complete message: what failed, why, and what to do. `run::shell` prints it and sets
//! the exit code.

use std::borrow::Cow;
use std::fmt;
use std::process::ExitCode;

/// An error that ends a run.
#[derive(Debug)]
pub enum Error {
    /// The command line or the adapter spec is wrong. Exit code 2.
    Usage(String),
    /// Settings are missing, out of range or contradict each other, and LMCache exits with 1 too. Exit code 1.
    Settings(String),
    /// The machine, a path or a service is not as required. Exit code 1.
    Environment(String),
    /// A bug in this program. Exit code 1; the message asks for a report.
    Internal(String),
}

impl Error {
    /// The exit code that docs/cli.md documents.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Error::Usage(_) => ExitCode::from(2),
            Error::Settings(_) | Error::Environment(_) | Error::Internal(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(text) | Error::Settings(text) | Error::Environment(text) => f.write_str(text),
            Error::Internal(text) => write!(f, "internal error: {text} (please report this)"),
        }
    }
}

impl std::error::Error for Error {}

/// Replaces control characters except line feeds with blanks, because a message may quote a server, a file or a path.
pub fn printable(sentence: &str) -> String {
    sentence.replace(|c: char| c.is_control() && c != '\n', " ")
}

/// Cuts quoted text to `chars_max` characters, with `...` after a cut.
pub fn shortened(text: &str, chars_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}
