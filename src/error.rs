//! Errors, split by who can react to them. Each carries one finished sentence: what could not be done, the cause, and
//! what to do; `main` prints it once and turns it into the exit code.

use std::borrow::Cow;
use std::fmt;
use std::process::ExitCode;

/// Everything that can end a run early.
#[derive(Debug)]
pub enum Error {
    /// The command line or the adapter spec is wrong: whoever typed it can mend it. Exit code 2.
    Usage(String),
    /// Settings that are missing, out of range or contradict each other, where LMCache ends with 1 too. Exit code 1.
    Settings(String),
    /// The machine, a path or a service is not as needed: whoever runs the node can mend it. Exit code 1.
    Environment(String),
    /// Something this program believed about itself was false. Exit code 1, and worth a bug report.
    Internal(String),
}

impl Error {
    /// The documented exit code (docs/cli.md).
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

/// What a server, a file or a path put into a sentence must not steer the terminal.
pub fn printable(sentence: &str) -> String {
    sentence.replace(|c: char| c.is_control() && c != '\n', " ")
}

/// A text of others in a sentence, cut where it would drown it.
pub fn shortened(text: &str, chars_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}
