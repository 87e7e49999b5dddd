//! What may be wrong with a run's numbers: the trait and the message of a warning. Each command has an enum of its own
//! warnings.

/// A reason to trust a number less, or to repeat the run.
pub trait Warning {
    /// The stable name that scripts match on: lower case, words joined with dashes (docs/formats.md lists them).
    fn code(&self) -> &'static str;

    fn message(&self) -> Message;

    /// The message in one line.
    fn text(&self) -> String {
        self.message().text()
    }
}

/// Written with `message!`. The parts are separate so that a report can show advice apart from findings.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What was found.
    pub finding: String,
    /// What to do. Empty where there is nothing to do, or where the finding is a note that includes the advice.
    pub advice: String,
    pub separator: &'static str,
}

impl Message {
    fn text(self) -> String {
        self.finding + self.separator + &self.advice
    }
}

/// A `Message` of one or two format strings: the finding and the advice. A finding that ends with a full stop is
/// followed by a space, any other by a semicolon.
macro_rules! message {
    ($finding:literal $(,)?) => {
        $crate::result::warning::Message {
            finding: format!($finding),
            advice: String::new(),
            separator: "",
        }
    };
    ($finding:literal, $advice:literal $(,)?) => {
        $crate::result::warning::Message {
            finding: format!($finding),
            advice: format!($advice),
            separator: if $finding.ends_with('.') { " " } else { "; " },
        }
    };
}
pub(crate) use message;
