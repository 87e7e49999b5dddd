//! The command line of `server` as typed values.

use super::flag::{Flag, FlagSpec, Group};
use super::page::Page;
use super::parse::Table;

const OPTIONS: Group = Group {
    title: "Options",
    of_reference: true,
};

/// The command line of `server` as typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerArgs {}

pub const TABLE: Table<ServerArgs> = Table {
    program: "lmcache-bench server",
    flags: FLAGS,
    absent: &[],
};

const FLAGS: &[Flag<ServerArgs>] = &[Flag {
    spec: FlagSpec::help_flag(&OPTIONS),
    set: |_, _| Ok(()),
}];

pub fn page() -> Page {
    Page {
        word: "server",
        usage: "lmcache-bench [bench] server [options]",
        summary: "Check and measure a multiprocess cache server",
        about: &[
            "Stores, looks up and retrieves KV tensors through the protocol of LMCache and verifies what comes back.",
        ],
        flags: TABLE.specs(),
        notes: &[],
    }
}
