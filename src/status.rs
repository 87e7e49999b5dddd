//! How a run that got as far as a report ended. `main` turns it into the exit code.

#[derive(Debug, PartialEq, Eq)]
pub enum Status {
    Done,
    /// Sentences for people, most important first.
    Failed(Vec<String>),
    /// By this signal. What had failed until then, or could not be written, is still said.
    Interrupted {
        signal: i32,
        sentences: Vec<String>,
    },
}

impl Status {
    /// Ended by a signal with nothing else to tell.
    pub fn interrupted(signal: i32) -> Status {
        Status::Interrupted {
            signal,
            sentences: Vec::new(),
        }
    }
}
