//! Advice for errors that mean that a system limit was reached. Any call can fail with one, far from its cause, so every
//! message that shows an `io::Error` of such a call asks here.

use std::io;

/// EMFILE: the limit of this process.
const OPEN_FILES: &str = "raise this process's limit of open files (ulimit -n), or do less at the same time";
/// ENFILE: the limit of the machine.
const OPEN_FILES_OF_ALL: &str =
    "the whole machine has no open file left: raise fs.file-max, or end what keeps so many open";
/// A thread could not be started; the error itself is only EAGAIN.
const THREADS: &str = "allow more threads (ulimit -u, the container's limit of processes), or do less at the same time";

/// The advice for `error`; `None` if it is not about a system limit.
pub fn advice(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::EMFILE => Some(OPEN_FILES),
        libc::ENFILE => Some(OPEN_FILES_OF_ALL),
        _ => None,
    }
}

/// The error's text, followed by the advice if there is one: `Too many open files (os error 24); raise ...`.
pub fn with_advice(error: &io::Error) -> String {
    match advice(error) {
        Some(advice) => format!("{error}; {advice}"),
        None => error.to_string(),
    }
}

/// The same for the error of a thread that could not be started.
pub fn thread_with_advice(error: &io::Error) -> String {
    match advice(error) {
        Some(advice) => format!("{error}; {advice}"),
        None => format!("{error}; {THREADS}"),
    }
}

/// Whether a message contains advice of this module already, so that further advice would mislead.
pub fn has_advice(message: &str) -> bool {
    [OPEN_FILES, OPEN_FILES_OF_ALL, THREADS]
        .iter()
        .any(|advice| message.contains(advice))
}

/// An error of the same kind whose text includes the advice, for callers that show only the error.
pub fn add_advice(error: io::Error) -> io::Error {
    match advice(&error) {
        Some(_) => io::Error::new(error.kind(), with_advice(&error)),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_its_advice() {
        for (code, what) in [(libc::EMFILE, "ulimit -n"), (libc::ENFILE, "fs.file-max")] {
            let error = io::Error::from_raw_os_error(code);
            let text = with_advice(&error);
            assert!(text.starts_with("Too many open files") && text.contains(what), "{text}");
            assert_eq!(thread_with_advice(&error), text);
            assert_eq!(add_advice(error).to_string(), text);
            assert!(has_advice(&text));
        }
        let other = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        assert!(!has_advice(&with_advice(&other)));
        assert_eq!(add_advice(other).raw_os_error(), Some(libc::ECONNREFUSED));
        let threads = thread_with_advice(&io::Error::from_raw_os_error(libc::EAGAIN));
        assert!(threads.contains("ulimit -u") && has_advice(&threads), "{threads}");
    }
}
