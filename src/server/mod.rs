//! The `server` command: checks and measures a multiprocess cache server. `bench` runs it from start to end.

use self::flags::{TABLE, page};
use crate::cli::command::{Command, invocation};

pub mod bench;
pub mod blocks;
pub mod checksum;
pub mod clients;
pub mod config;
pub mod device;
pub mod flags;
pub mod http;
pub mod memory;
pub mod plan;
pub mod progress;
mod result;
pub mod rpc;
pub mod runner;
pub mod samples;
pub mod session;
pub mod shape;
pub mod share;
pub mod summary;
pub mod tensors;
pub mod transport;
pub mod warning;

pub const COMMAND: Command = Command {
    word: "server",
    term: "server",
    about: "Check and measure a multiprocess cache server (`lmcache-bench server --help`).",
    pages: || vec![page()],
    parse: |parser| invocation(parser, &TABLE, page, TABLE.presets(), bench::run),
};
