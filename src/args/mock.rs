//! `mock`, a word that only leads to `mock engine` and `mock server`: the choice between them and its help. Must never know
//! their flags.

use lexopt::Parser;

use super::flag::{Flag, FlagSpec, Group};
use super::nearest::nearest;
use super::page::{Body, Note, Page};
use super::parse::{Stop, Table};
use super::python_number::quoted;
use super::{Invocation, PROGRAM, help, mock_engine, mock_server, subcommand};
use crate::error::Error;

const WORDS: [&str; 2] = ["engine", "server"];

const OPTIONS: Group = Group {
    title: "Options",
    of_reference: true,
};

const TABLE: Table<()> = Table {
    program: "lmcache-bench mock",
    flags: &[Flag {
        spec: FlagSpec::help_flag(&OPTIONS),
        set: |_, _| Ok(()),
    }],
    absent: &[],
};

fn page() -> Page {
    Page {
        word: "mock",
        usage: "lmcache-bench mock {engine,server} [options]",
        summary: "Imitate what the benchmarks measure, with exact delays",
        about: &[],
        flags: TABLE.specs(),
        notes: NOTES,
    }
}

const NOTES: &[Note] = &[Note {
    title: "Commands",
    body: Body::Terms(&[
        (
            "mock engine",
            "An inference engine (`lmcache-bench mock engine --help`).",
        ),
        (
            "mock server",
            "A multiprocess cache server (`lmcache-bench mock server --help`).",
        ),
    ]),
}];

/// Reads what stands behind `mock`.
pub fn parse(parser: &mut Parser) -> Result<Invocation, Error> {
    match TABLE.walk(parser, &mut ())? {
        // Too little to say for a short form.
        Stop::Help { .. } => Ok(Invocation::Print(help::render(&page(), true))),
        Stop::Word(word) if word == "engine" => {
            subcommand(parser, &mock_engine::TABLE, mock_engine::page(), Invocation::MockEngine)
        }
        Stop::Word(word) if word == "server" => {
            subcommand(parser, &mock_server::TABLE, mock_server::page(), Invocation::MockServer)
        }
        Stop::Word(word) => {
            let word = word.to_string_lossy();
            let shown = quoted(&word);
            let text = match nearest(&word, WORDS) {
                Some(near) => format!("nothing to imitate is called {shown}; did you mean {near}?"),
                None => format!(
                    "nothing to imitate is called {shown}; there are {}",
                    WORDS.join(" and ")
                ),
            };
            Err(Error::Usage(format!("{PROGRAM} mock: {text}")))
        }
        Stop::End => Err(Error::Usage(format!(
            "{PROGRAM} mock: name what to imitate: `{PROGRAM} mock engine --help` or `{PROGRAM} mock server --help`"
        ))),
    }
}
