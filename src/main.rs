//! `lmcache-bench`: the commands in src/commands.rs, run by src/run/shell.rs.

use std::process::ExitCode;

use lmcache_bench::commands::COMMANDS;
use lmcache_bench::run::shell;

fn main() -> ExitCode {
    shell::main(std::env::args_os().skip(1), COMMANDS)
}
