//! The outermost layer of the program: watches for signals and faults, prints errors, and turns the outcome of a run into the
//! exit code.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use crate::cli;
use crate::cli::command::{Command, Invocation};
use crate::error::{Error, printable};
use crate::report::output;
use crate::status::Status;
use crate::sys::{ending, limits, panic, signal};

/// A criterion such as `--slo ttft.p99=800ms` does not hold.
const BROKEN_EXIT_CODE: u8 = 3;

/// Parses the command line and runs it. Returns the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>, commands: &'static [Command]) -> ExitCode {
    let started = Instant::now();
    panic::install(complain);
    let outcome = panic::caught(|| run(args, commands, started));
    let Some(outcome) = outcome.filter(|_| !panic::has_panicked()) else {
        return ExitCode::from(panic::EXIT_CODE);
    };
    match outcome {
        Ok(Status::Done) => ExitCode::SUCCESS,
        Ok(Status::Failed(sentences)) => {
            sentences.iter().for_each(|sentence| complain(sentence));
            ExitCode::FAILURE
        }
        Ok(Status::Broken(sentences)) => {
            sentences.iter().for_each(|sentence| complain(sentence));
            ExitCode::from(BROKEN_EXIT_CODE)
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

fn run(
    args: impl IntoIterator<Item = OsString>,
    commands: &'static [Command],
    started: Instant,
) -> Result<Status, Error> {
    let invocation = cli::parse(args, commands)?;
    signal::install()
        .and_then(|()| ending::watch(signal_code, complain))
        .map_err(|error| Error::Environment(format!("could not watch for signals: {}", limits::with_advice(&error))))?;
    let outcome = match invocation {
        Invocation::Print(text) => output::write_stdout(text.as_bytes()).map(|()| Status::Done),
        Invocation::Run(run) => run(started),
    };
    match (
        outcome,
        signal::received().filter(|signal| *signal != signal::READER_LEFT),
    ) {
        // The error is a consequence of the signal.
        (Err(_), Some(signal)) => Ok(Status::interrupted(signal)),
        (outcome, _) => outcome,
    }
}

/// The shell's convention: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP.
fn signal_code(signal: i32) -> u8 {
    128 + u8::try_from(signal).unwrap_or(0)
}

/// Prints one sentence on stderr. A failure is ignored: the exit code still says what happened.
fn complain(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(sentence));
}
