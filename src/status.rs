//! How a run that produced a report ended. `run::shell` turns it into the exit code.

#[derive(Debug, PartialEq, Eq)]
pub enum Status {
    Done,
    /// Messages for standard error, most important first.
    Failed(Vec<String>),
    /// The run is fine, and what it measured breaks a criterion that was given.
    Broken(Vec<String>),
    /// Ended by this signal. `sentences` are failures up to then, and files that could not be written.
    Interrupted {
        signal: i32,
        sentences: Vec<String>,
    },
}

impl Status {
    /// Ended by a signal, without failures.
    pub fn interrupted(signal: i32) -> Status {
        Status::Interrupted {
            signal,
            sentences: Vec::new(),
        }
    }
}
