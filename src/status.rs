//! How a run that got as far as a report ended. `main` turns it into the exit code.

#[derive(Debug, PartialEq, Eq)]
pub enum Status {
    Done,
    /// Sentences for people, most important first.
    Failed(Vec<String>),
    Interrupted(i32),
}
