//! How rows of the flag table of `engine` are written: name and setter, then what differs from the usual. The group is set
//! where the table is put together.

use crate::cli::flag::{Flag, FlagSpec, Kind, Preset};
use crate::engine::args::EngineArgs;

/// Keeps the text of a value, or refuses it.
pub type Set = fn(&mut EngineArgs, &str) -> Result<(), String>;

impl Flag<EngineArgs> {
    /// `--long VALUE`.
    pub const fn value(long: &'static str, value_name: &'static str, set: Set) -> Flag<EngineArgs> {
        Flag {
            spec: FlagSpec {
                long,
                value_name,
                ..FlagSpec::BLANK
            },
            set,
        }
    }

    /// `--long`.
    pub const fn switch(long: &'static str, set: Set) -> Flag<EngineArgs> {
        let mut flag = Flag::value(long, "", set);
        flag.spec.kind = Kind::Switch;
        flag
    }

    pub const fn short(mut self, letter: char) -> Flag<EngineArgs> {
        self.spec.short = Some(letter);
        self
    }

    pub const fn choices(mut self, choices: &'static [&'static str]) -> Flag<EngineArgs> {
        self.spec.choices = choices;
        self
    }

    /// The default as it would be typed.
    pub const fn default(mut self, text: &'static str) -> Flag<EngineArgs> {
        self.spec.preset = Preset::Text(text);
        self
    }

    /// What it means that nothing is given.
    pub const fn unset(mut self, meaning: &'static str) -> Flag<EngineArgs> {
        self.spec.preset = Preset::Unset(meaning);
        self
    }

    /// `help` is one line without a full stop, `detail` further sentences.
    pub const fn help(mut self, help: &'static str, detail: &'static str) -> Flag<EngineArgs> {
        (self.spec.help, self.spec.detail) = (help, detail);
        self
    }
}
