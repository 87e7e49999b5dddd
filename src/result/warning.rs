//! What may be wrong with a run's numbers. Each command has an enum of its own warnings beside it.

/// One reason to trust a number less, or to repeat the run.
pub trait Warning {
    /// The stable name that scripts match on: lower case, words joined with dashes (docs/formats.md lists them).
    fn code(&self) -> &'static str;

    /// What was found and what to do about it, in one line.
    fn text(&self) -> String;
}
