//! What a workload says about itself: the flags, the questions of the interactive mode, and how it is made from their values.
//! The flag table, the menu, config files and the factory are all built from these.

use super::Workload;
use crate::cli::flag::{Absent, Flag, FlagSpec, Group, Preset};
use crate::cli::range::SETTINGS;
use crate::engine::args::{EngineArgs, WorkloadName, WorkloadValues};
use crate::engine::config::{EngineConfig, PromptText, Sizes};
use crate::engine::tokens::Tokenizer;
use crate::error::Error;

/// Requests of one phase, or sessions, that a run may have: more would not fit a schedule in memory.
const REQUESTS_MAX: f64 = 1e7;
/// Tokens of one text; a text of this many words has about half a gigabyte.
pub(super) const LENGTH_MAX: u64 = 100_000_000;

/// One workload, as a row of the list in this module's parent.
pub struct Descriptor {
    pub name: &'static str,
    /// What it sends, in the menu.
    pub about: &'static str,
    /// The heading of its flags in the help.
    pub group: Group,
    /// Its flags that stand in this group, in the order of help, questions and config files.
    pub flags: &'static [WorkloadFlag],
    /// Its flags that LMCache does not have although it has the workload; they are not asked for.
    pub added_flags: &'static [WorkloadFlag],
    pub prompt_text: PromptText,
    /// Whether the length of answers can be set; otherwise they have one token.
    pub sets_answer_length: bool,
    pub support: Support,
}

/// Makes a workload. Nothing is sent, and no body is built beyond the first.
pub type Create = fn(&EngineConfig, &Tokenizer) -> Result<Box<dyn Workload>, Error>;

pub enum Support {
    Built {
        /// Refuses values with which it cannot be run.
        check: fn(&WorkloadValues, &Sizes) -> Result<(), Error>,
        create: Create,
    },
    /// Known by name only.
    Absent {
        /// The sentence that refuses it.
        refusal: &'static str,
        flags: &'static [Absent],
    },
}

impl Descriptor {
    pub fn name(&self) -> WorkloadName {
        WorkloadName(self.name)
    }

    /// The sentence that refuses a workload which is not in this build.
    pub fn refusal(&self) -> Option<&'static str> {
        match self.support {
            Support::Built { .. } => None,
            Support::Absent { refusal, .. } => Some(refusal),
        }
    }

    pub const fn absent_flags(&self) -> &'static [Absent] {
        match self.support {
            Support::Built { .. } => &[],
            Support::Absent { flags, .. } => flags,
        }
    }
}

/// One flag of a workload, with its question. Rows begin with [`int!`], [`float!`] or [`choice!`].
#[derive(Clone, Copy)]
pub struct WorkloadFlag {
    /// Without the leading dashes.
    pub long: &'static str,
    pub value_name: &'static str,
    pub input: Input,
    pub choices: &'static [&'static str],
    /// As it would be typed.
    pub default: &'static str,
    /// One line without a full stop.
    pub help: &'static str,
    /// Further sentences of the help.
    pub detail: &'static str,
    /// The question's title, which is LMCache's: scripts match on it. Empty for a setting that is not asked for.
    pub title: &'static str,
    /// A sentence below the title.
    pub about: &'static str,
    pub set: fn(&mut EngineArgs, &str) -> Result<(), String>,
}

/// How a setting is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    Text,
    /// Text that may be a port or a host.
    Url,
    Int,
    Float,
    YesNo,
    /// Each with a few words about it, in the order of the flag's choices.
    Choice(&'static [&'static str]),
}

impl WorkloadFlag {
    /// The row that rows are written as differences from.
    pub const BLANK: WorkloadFlag = WorkloadFlag {
        long: "",
        value_name: "",
        input: Input::Text,
        choices: &[],
        default: "",
        help: "",
        detail: "",
        title: "",
        about: "",
        set: |_, _| Ok(()),
    };

    /// Its row in the flag table.
    pub const fn row(&self, group: &'static Group) -> Flag<EngineArgs> {
        Flag {
            spec: FlagSpec {
                long: self.long,
                value_name: self.value_name,
                choices: self.choices,
                preset: Preset::Text(self.default),
                group,
                help: self.help,
                detail: self.detail,
                ..FlagSpec::BLANK
            },
            set: self.set,
        }
    }
}

/// A flag whose value is a whole number.
macro_rules! int {
    ($flag:literal) => {
        $crate::engine::workload::descriptor::WorkloadFlag {
            long: $flag,
            value_name: "N",
            input: $crate::engine::workload::descriptor::Input::Int,
            set: |args, text| {
                let value = $crate::engine::args::WorkloadValue::Int($crate::python::number::int(text)?);
                args.workload_values.set($flag, value);
                Ok(())
            },
            ..$crate::engine::workload::descriptor::WorkloadFlag::BLANK
        }
    };
}

/// A flag whose value is a number.
macro_rules! float {
    ($flag:literal) => {
        $crate::engine::workload::descriptor::WorkloadFlag {
            long: $flag,
            value_name: "F",
            input: $crate::engine::workload::descriptor::Input::Float,
            set: |args, text| {
                let value = $crate::engine::args::WorkloadValue::Float($crate::python::number::float(text)?);
                args.workload_values.set($flag, value);
                Ok(())
            },
            ..$crate::engine::workload::descriptor::WorkloadFlag::BLANK
        }
    };
}

/// A flag whose value is a variant of a `choices!` enum, each with a few words for the menu.
macro_rules! choice {
    ($flag:literal, $type:ty, $value_name:literal, $about:expr) => {
        $crate::engine::workload::descriptor::WorkloadFlag {
            long: $flag,
            value_name: $value_name,
            choices: <$type>::CHOICES,
            input: $crate::engine::workload::descriptor::Input::Choice($about),
            set: |args, text| {
                let value = $crate::engine::args::WorkloadValue::Choice(<$type>::from_text(text)?.text());
                args.workload_values.set($flag, value);
                Ok(())
            },
            ..$crate::engine::workload::descriptor::WorkloadFlag::BLANK
        }
    };
}

pub(super) use {choice, float, int};

/// The value of an int flag, at least 1.
pub(super) fn count(values: &WorkloadValues, flag: &str) -> Result<u64, Error> {
    SETTINGS.at_least(&format!("--{flag}"), values.int(flag)?, 1)
}

/// The value of an int flag that is the length of a text in tokens.
pub(super) fn length(values: &WorkloadValues, flag: &str) -> Result<u64, Error> {
    SETTINGS.at_most(&format!("--{flag}"), count(values, flag)?, LENGTH_MAX)
}

/// The value of a float flag, finite and above 0.
pub(super) fn above_zero(values: &WorkloadValues, flag: &str) -> Result<f64, Error> {
    SETTINGS.above_zero(&format!("--{flag}"), values.float(flag)?, "above 0")
}

/// Python's `max(int(quotient), 1)`: how many documents, sessions or prefixes fill a volume.
pub(super) fn pool_size(quotient: f64) -> f64 {
    quotient.trunc().max(1.0)
}

/// Refuses more requests or sessions than a run may have; `advice` says which flags to change.
pub(super) fn bounded(requests: f64, advice: &str) -> Result<(), Error> {
    if requests <= REQUESTS_MAX {
        return Ok(());
    }
    Err(Error::Settings(format!(
        "these settings make {requests:.0} requests or sessions, more than the {REQUESTS_MAX:.0} of one run; {advice}"
    )))
}
