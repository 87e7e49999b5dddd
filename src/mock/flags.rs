//! `mock`, a word that only leads to `mock engine` and `mock server`: the choice between them and its help.

use lexopt::Parser;

use super::{engine, server};
use crate::cli::command::{Invocation, invocation};
use crate::cli::flag::Flag;
use crate::cli::nearest::nearest;
use crate::cli::page::{Body, Note, Page};
use crate::cli::parse::{Stop, Table};
use crate::cli::{PROGRAM, help};
use crate::error::Error;
use crate::python::quote::quoted;

type Row = Flag<()>;

const WORDS: [&str; 2] = ["engine", "server"];

const TABLE: Table<()> = Table {
    program: "lmcache-bench mock",
    flags: &[Row::help_row()],
    absent: &[],
};

fn page() -> Page {
    Page {
        word: "mock",
        usage: "lmcache-bench mock {engine,server} [options]".into(),
        summary: "Imitate what the benchmarks measure, with exact delays",
        about: &[],
        flags: TABLE.specs(),
        notes: vec![Note {
            title: "Commands",
            body: Body::Terms(COMMANDS),
        }],
    }
}

const COMMANDS: &[(&str, &str)] = &[
    (
        "mock engine",
        "An inference engine (`lmcache-bench mock engine --help`).",
    ),
    (
        "mock server",
        "A multiprocess cache server (`lmcache-bench mock server --help`).",
    ),
];

/// Parses the arguments after `mock`.
pub fn parse(parser: &mut Parser) -> Result<Invocation, Error> {
    match TABLE.walk(parser, &mut ())? {
        // Too little to say for a short form.
        Stop::Help { .. } => Ok(Invocation::Print(help::render(&page(), true))),
        Stop::Word(word) if word == "engine" => {
            let flags = engine::flags::TABLE;
            invocation(parser, &flags, engine::flags::page, flags.presets(), engine::run)
        }
        Stop::Word(word) if word == "server" => {
            let flags = server::flags::TABLE;
            invocation(parser, &flags, server::flags::page, flags.presets(), server::run)
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
