//! What a workload says about itself: the flags, the questions of the interactive mode, and how it is made from their values.
//! The flag table, the menu, config files and the factory are all built from these.

use super::Workload;
use crate::cli::flag::{Flag, Group};
use crate::cli::range::SETTINGS;
use crate::engine::args::{Endpoint, EngineArgs, WorkloadName, WorkloadValues};
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
    /// Whether its prompts make sense only as messages, so that `--endpoint completions` is refused.
    pub chat_only: bool,
    pub support: Support,
}

/// What is done with the values of its flags.
pub struct Support {
    pub check: Check,
    pub create: Create,
    /// Whether the LMCache server is asked about itself for the workload, if there is one.
    pub asks_cache: bool,
}

/// Refuses values with which a workload cannot be run.
pub type Check = fn(&WorkloadValues, &Sizes) -> Result<(), Error>;
/// Makes a workload. Nothing is sent, and no body is built beyond the first.
pub type Create = fn(&EngineConfig, &Tokenizer) -> Result<Box<dyn Workload>, Error>;

/// What follows from the values of a workload's flags.
pub trait Settings: Sized {
    /// Whether the LMCache server is asked about itself for the workload, if there is one.
    const ASKS_CACHE: bool = false;

    /// `values` has a value for each flag of the workload.
    fn resolve(values: &WorkloadValues, sizes: &Sizes) -> Result<Self, Error>;

    fn create(self, config: &EngineConfig, tokenizer: &Tokenizer) -> Result<Box<dyn Workload>, Error>;
}

impl Support {
    pub const fn built<S: Settings>() -> Support {
        Support {
            check: |values, sizes| S::resolve(values, sizes).map(drop),
            create: |config, tokenizer| {
                let settings = S::resolve(&config.workload.values, &config.sizes())?;
                settings.create(config, tokenizer)
            },
            asks_cache: S::ASKS_CACHE,
        }
    }
}

impl Descriptor {
    pub fn name(&self) -> WorkloadName {
        WorkloadName(self.name)
    }

    /// Whether it needs the tokens per GB of KV cache. LMCache asks for them for each of its workloads, used or not.
    pub fn needs_cache_size(&self) -> bool {
        self.group.of_reference
    }

    pub fn check_endpoint(&self, endpoint: Endpoint) -> Result<(), Error> {
        if self.chat_only && endpoint != Endpoint::Chat {
            return Err(Error::Settings(format!(
                "--endpoint {} does not go with the workload {}, whose prompts need the model's chat template; leave it out",
                endpoint.text(),
                self.name
            )));
        }
        Ok(())
    }
}

/// The heading of a workload that LMCache has too.
pub const fn lmcache_group(title: &'static str) -> Group {
    Group {
        title,
        of_reference: true,
    }
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

/// One flag of a workload, with its question. Rows begin with `int!`, `float!`, `choice!`, `text!` or `texts!`.
#[derive(Clone, Copy)]
pub struct WorkloadFlag {
    pub row: Flag<EngineArgs>,
    pub input: Input,
    /// Whether a run of the workload needs it and it has no default.
    pub required: bool,
    /// The question's title, which is LMCache's: scripts match on it. Empty for a flag that is not asked for and not exported.
    pub title: &'static str,
    /// A sentence below the title.
    pub about: &'static str,
    /// The value of an empty answer when there is an LMCache server, from which the run then finds out what is wanted.
    pub with_server: Option<&'static str>,
}

impl WorkloadFlag {
    pub const fn new(row: Flag<EngineArgs>, input: Input) -> WorkloadFlag {
        WorkloadFlag {
            row,
            input,
            required: false,
            title: "",
            about: "",
            with_server: None,
        }
    }

    /// As for any flag.
    pub const fn help(mut self, help: &'static str, detail: &'static str) -> WorkloadFlag {
        self.row = self.row.help(help, detail);
        self
    }

    /// No default; the help shows `meaning` in its place.
    pub const fn unset(mut self, meaning: &'static str) -> WorkloadFlag {
        self.row = self.row.unset(meaning);
        self
    }

    /// The workload cannot be run without it, so it is asked for first.
    pub const fn required(mut self) -> WorkloadFlag {
        self.required = true;
        self
    }

    pub const fn question(mut self, title: &'static str, about: &'static str) -> WorkloadFlag {
        (self.title, self.about) = (title, about);
        self
    }

    /// See the field of this name.
    pub const fn with_server(mut self, text: &'static str) -> WorkloadFlag {
        self.with_server = Some(text);
        self
    }
}

/// A flag whose value is a whole number: name, and default where it has one.
macro_rules! int {
    ($long:literal) => {
        $crate::engine::workload::descriptor::WorkloadFlag::new(
            $crate::cli::flag::Flag::<$crate::engine::args::EngineArgs>::value($long, "N", |args, text| {
                args.workload_values.read_int($long, text)
            }),
            $crate::engine::workload::descriptor::Input::Int,
        )
    };
    ($long:literal, $default:literal) => {{
        let mut flag = $crate::engine::workload::descriptor::int!($long);
        flag.row = flag.row.default($default);
        flag
    }};
}

/// A flag whose value is a number: name and default.
macro_rules! float {
    ($long:literal, $default:literal) => {
        $crate::engine::workload::descriptor::WorkloadFlag::new(
            $crate::cli::flag::Flag::<$crate::engine::args::EngineArgs>::value($long, "F", |args, text| {
                args.workload_values.read_float($long, text)
            })
            .default($default),
            $crate::engine::workload::descriptor::Input::Float,
        )
    };
}

/// A flag whose value is a variant of a `choices!` enum: name, name of the value, default, the enum, and a few words about
/// each variant for the menu.
macro_rules! choice {
    ($long:literal, $value_name:literal, $default:literal, $type:ty, $about:expr) => {
        $crate::engine::workload::descriptor::WorkloadFlag::new(
            $crate::cli::flag::Flag::<$crate::engine::args::EngineArgs>::value($long, $value_name, |args, text| {
                let choice = <$type>::from_text(text)?.text();
                args.workload_values
                    .set($long, $crate::engine::args::WorkloadValue::Choice(choice));
                Ok(())
            })
            .choices(<$type>::CHOICES)
            .default($default),
            $crate::engine::workload::descriptor::Input::Choice($about),
        )
    };
}

/// A flag whose value is any text: name, name of the value (`PATH` for a file), and default where it has one.
macro_rules! text {
    ($long:literal, $value_name:literal) => {
        $crate::engine::workload::descriptor::WorkloadFlag::new(
            $crate::cli::flag::Flag::<$crate::engine::args::EngineArgs>::value($long, $value_name, |args, text| {
                args.workload_values.read_text($long, text)
            }),
            $crate::engine::workload::descriptor::Input::Text,
        )
    };
    ($long:literal, $value_name:literal, $default:literal) => {{
        let mut flag = $crate::engine::workload::descriptor::text!($long, $value_name);
        flag.row = flag.row.default($default);
        flag
    }};
}

/// A flag whose value is any text, and which may be repeated: name and name of the value.
macro_rules! texts {
    ($long:literal, $value_name:literal) => {{
        let mut flag = $crate::engine::workload::descriptor::WorkloadFlag::new(
            $crate::cli::flag::Flag::<$crate::engine::args::EngineArgs>::value($long, $value_name, |args, text| {
                args.workload_values.push_text($long, text)
            }),
            $crate::engine::workload::descriptor::Input::Text,
        );
        flag.row = flag.row.repeatable();
        flag
    }};
}

pub(super) use {choice, float, int, text, texts};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flag::Preset;

    #[test]
    fn a_text_flag_keeps_its_text_and_may_have_a_default() {
        const PATH: WorkloadFlag = text!("x-file", "PATH");
        const NAMED: WorkloadFlag = text!("x-name", "NAME", "n");
        let mut args = EngineArgs::default();
        assert_eq!((PATH.row.set)(&mut args, " a b"), Ok(()));
        assert_eq!(args.workload_values.text("x-file").unwrap(), " a b");
        assert_eq!(args.workload_values.get("x-name"), None);
        assert!(args.workload_values.text("x-name").is_err());
        assert_eq!(args.value("x_file"), Some(" a b".into()));
        assert_eq!(
            (PATH.row.spec.preset, NAMED.row.spec.preset),
            (Preset::Unset(""), Preset::Text("n"))
        );
        assert!(PATH.row.spec.takes_path());
    }
}
