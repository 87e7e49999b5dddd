//! Mocks of an engine and a cache server with exact delays, for trying things out, for self-checks and for tests.

use crate::cli::command::Command;

pub mod engine;
mod flags;
pub mod server;

pub const COMMAND: Command = Command {
    word: "mock",
    term: "mock engine, mock server",
    about: "Imitate an inference engine or a cache server with exact delays (`lmcache-bench mock engine --help`).",
    pages: || vec![engine::flags::page(), server::flags::page()],
    parse: flags::parse,
};
