//! The command line of `engine` as typed values.

use super::flag::{Flag, FlagSpec, Group};
use super::page::Page;
use super::parse::Table;

const OPTIONS: Group = Group {
    title: "Options",
    of_reference: true,
};

/// The command line of `engine` as typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineArgs {}

pub const TABLE: Table<EngineArgs> = Table {
    program: "lmcache-bench engine",
    flags: FLAGS,
    absent: &[],
};

const FLAGS: &[Flag<EngineArgs>] = &[Flag {
    spec: FlagSpec::help_flag(&OPTIONS),
    set: |_, _| Ok(()),
}];

pub fn page() -> Page {
    Page {
        word: "engine",
        usage: "lmcache-bench [bench] engine [options]",
        summary: "Measure an inference engine under KV-reuse workloads",
        about: &[
            "Sends the requests of `lmcache bench engine` to an OpenAI-compatible engine and reports its latencies.",
        ],
        flags: TABLE.specs(),
        notes: &[],
    }
}
