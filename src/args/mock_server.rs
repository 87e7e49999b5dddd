//! The command line of `mock server` as typed values.

use super::flag::{Flag, FlagSpec, Group};
use super::page::Page;
use super::parse::Table;

const OPTIONS: Group = Group {
    title: "Options",
    of_reference: true,
};

/// The command line of `mock server` as typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MockServerArgs {}

pub const TABLE: Table<MockServerArgs> = Table {
    program: "lmcache-bench mock server",
    flags: FLAGS,
    absent: &[],
};

const FLAGS: &[Flag<MockServerArgs>] = &[Flag {
    spec: FlagSpec::help_flag(&OPTIONS),
    set: |_, _| Ok(()),
}];

pub fn page() -> Page {
    Page {
        word: "mock server",
        usage: "lmcache-bench mock server [options]",
        summary: "Imitate a multiprocess cache server with exact delays",
        about: &["Speaks the protocol of the multiprocess cache server on a loopback port."],
        flags: TABLE.specs(),
        notes: &[],
    }
}
