//! The command line of `mock engine` as typed values.

use super::flag::{Flag, FlagSpec, Group};
use super::page::Page;
use super::parse::Table;

const OPTIONS: Group = Group {
    title: "Options",
    of_reference: true,
};

/// The command line of `mock engine` as typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MockEngineArgs {}

pub const TABLE: Table<MockEngineArgs> = Table {
    program: "lmcache-bench mock engine",
    flags: FLAGS,
    absent: &[],
};

const FLAGS: &[Flag<MockEngineArgs>] = &[Flag {
    spec: FlagSpec::help_flag(&OPTIONS),
    set: |_, _| Ok(()),
}];

pub fn page() -> Page {
    Page {
        word: "mock engine",
        usage: "lmcache-bench mock engine [options]",
        summary: "Imitate an inference engine with exact delays",
        about: &["Answers as an OpenAI-compatible engine on a loopback port."],
        flags: TABLE.specs(),
        notes: &[],
    }
}
