//! What to do about a limit of the system that an error says was reached. Such an error comes out of any call, far from
//! what it is about, so every message that shows one asks here.

use std::io;

/// Of this process (EMFILE).
const OPEN_FILES: &str = "raise this process's limit of open files (ulimit -n), or do less at the same time";
/// Of the machine (ENFILE).
const OPEN_FILES_OF_ALL: &str =
    "the whole machine has no open file left: raise fs.file-max, or end what keeps so many open";
/// A thread that could not be started says no more than EAGAIN.
const THREADS: &str = "allow more threads (ulimit -u, the container's limit of processes), or do less at the same time";

/// What to do where `error` is a limit that was reached; nothing for other errors.
pub fn advice(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::EMFILE => Some(OPEN_FILES),
        libc::ENFILE => Some(OPEN_FILES_OF_ALL),
        _ => None,
    }
}

/// The error's own words, and what to do about it if it is a limit.
pub fn told(error: &io::Error) -> String {
    match advice(error) {
        Some(advice) => format!("{error}; {advice}"),
        None => error.to_string(),
    }
}

/// The same for a thread that could not be started.
pub fn thread_told(error: &io::Error) -> String {
    match advice(error) {
        Some(advice) => format!("{error}; {advice}"),
        None => format!("{error}; {THREADS}"),
    }
}

/// Whether a message says what to do about a limit already; any further advice would lead elsewhere.
pub fn are_told_in(message: &str) -> bool {
    [OPEN_FILES, OPEN_FILES_OF_ALL, THREADS]
        .iter()
        .any(|advice| message.contains(advice))
}

/// For calls whose callers show the error alone: the same kind of error in words that say what to do.
pub fn explained(error: io::Error) -> io::Error {
    match advice(&error) {
        Some(_) => io::Error::new(error.kind(), told(&error)),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_says_what_to_raise() {
        for (code, what) in [(libc::EMFILE, "ulimit -n"), (libc::ENFILE, "fs.file-max")] {
            let error = io::Error::from_raw_os_error(code);
            let text = told(&error);
            assert!(text.starts_with("Too many open files") && text.contains(what), "{text}");
            assert_eq!(thread_told(&error), text);
            assert_eq!(explained(error).to_string(), text);
            assert!(are_told_in(&text));
        }
        let other = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        assert!(!are_told_in(&told(&other)));
        assert_eq!(explained(other).raw_os_error(), Some(libc::ECONNREFUSED));
        let threads = thread_told(&io::Error::from_raw_os_error(libc::EAGAIN));
        assert!(threads.contains("ulimit -u") && are_told_in(&threads), "{threads}");
    }
}
