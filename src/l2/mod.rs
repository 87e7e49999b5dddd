//! Benchmark of an L2 storage adapter: storing, looking up and loading KV objects in rounds.

use self::flags::{TABLE, page};
use crate::cli::command::{Command, invocation};

pub mod adapter;
pub mod adapters;
pub mod bench;
mod blake2b;
pub mod config;
pub mod device;
pub mod flags;
pub mod keys;
pub mod payload;
mod result;
pub mod runner;
pub mod samples;
mod setup;
pub mod spec;
pub mod stamp;
pub mod summary;
pub mod verify;
pub mod warning;

pub const COMMAND: Command = Command {
    word: "l2",
    term: "l2",
    about: "Measure store, lookup and load of an L2 adapter (`lmcache-bench l2 --help`).",
    pages: || vec![page()],
    parse: |parser| invocation(parser, &TABLE, page, TABLE.presets(), bench::run),
};
