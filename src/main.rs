//! `lmcache-bench`: parse, run, report; errors become one sentence and an exit code.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use lmcache_bench::cli;
use lmcache_bench::cli::command::Invocation;
use lmcache_bench::commands::COMMANDS;
use lmcache_bench::error::{Error, printable};
use lmcache_bench::report::output;
use lmcache_bench::status::Status;
use lmcache_bench::sys::{ending, limits, panic, signal};

fn main() -> ExitCode {
    let started = Instant::now();
    panic::install(complain);
    let outcome = panic::caught(|| run(started));
    let Some(outcome) = outcome.filter(|_| !panic::has_panicked()) else {
        return ExitCode::from(panic::EXIT_CODE);
    };
    match outcome {
        Ok(Status::Done) => ExitCode::SUCCESS,
        Ok(Status::Failed(sentences)) => {
            sentences.iter().for_each(|sentence| complain(sentence));
            ExitCode::FAILURE
        }
        Ok(Status::Interrupted { signal, sentences }) => {
            sentences.iter().for_each(|sentence| complain(sentence));
            let name = signal::name(signal);
            complain(&format!("lmcache-bench: stopped by {name}; any report is partial"));
            ExitCode::from(signal_code(signal))
        }
        Err(error) => {
            complain(&error.to_string());
            error.exit_code()
        }
    }
}

fn run(started: Instant) -> Result<Status, Error> {
    let invocation = cli::parse(std::env::args_os().skip(1), COMMANDS)?;
    signal::install()
        .and_then(|()| ending::watch(signal_code, complain))
        .map_err(|error| Error::Environment(format!("could not watch for signals: {}", limits::with_advice(&error))))?;
    let outcome = match invocation {
        Invocation::Print(text) => output::write_stdout(&text).map(|()| Status::Done),
        Invocation::Run(run) => run(started),
    };
    match (
        outcome,
        signal::received().filter(|signal| *signal != signal::READER_LEFT),
    ) {
        // What a signal broke off did not fail by itself.
        (Err(_), Some(signal)) => Ok(Status::interrupted(signal)),
        (outcome, _) => outcome,
    }
}

/// The shell's convention: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP.
fn signal_code(signal: i32) -> u8 {
    128 + u8::try_from(signal).unwrap_or(0)
}

/// One sentence on standard error. Nobody is left to tell when that fails, and the exit code still says it.
fn complain(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(sentence));
}
