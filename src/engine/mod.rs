//! The `engine` benchmark; `bench` runs it from start to end.
//!
//! docs/architecture.md lists the modules, lowest first; each uses only those before it, which tests/cases/tidy.rs checks.

use self::flags::{EngineArgs, TABLE, page};
use crate::cli::command::{Command, invocation};

pub mod api_key;
pub mod args;
pub mod ask;
pub mod bench;
pub mod config;
pub mod failure;
pub mod flags;
pub mod hub_cache;
pub mod report;
pub mod results;
pub mod run;
pub mod samples;
pub mod settings;
pub mod stream;
pub mod template_kwargs;
#[cfg(test)]
mod testing;
pub mod timestamp;
pub mod tokens;
pub mod wire;
pub mod workload;

pub const COMMAND: Command = Command {
    word: "engine",
    term: "engine",
    about: "Measure an inference engine under KV-reuse workloads (`lmcache-bench engine --help`).",
    pages: || vec![page()],
    parse: |parser| invocation(parser, &TABLE, page, EngineArgs::default(), bench::run),
};
