//! `machine`: the facts about this machine that a result holds.

use std::time::Instant;

use crate::cli::command::{Command, invocation};
use crate::cli::flag::{Flag, Group};
use crate::cli::page::Page;
use crate::cli::parse::Table;
use crate::error::Error;
use crate::report::output::write_stdout;
use crate::status::Status;
use crate::sys::machine::Machine;

const OPTIONS: Group = Group {
    title: "Options",
    of_reference: false,
};

const TABLE: Table<()> = Table {
    program: "lmcache-bench machine",
    flags: &[Flag::help_row(&OPTIONS)],
    absent: &[],
};

pub const COMMAND: Command = Command {
    word: "machine",
    term: "machine",
    about: "Print the facts about this machine that a result holds.",
    pages: || vec![page()],
    parse: |parser| invocation(parser, &TABLE, &page(), (), run),
};

fn page() -> Page {
    Page {
        word: "machine",
        usage: "lmcache-bench machine".into(),
        summary: "Print the facts about this machine that a result holds",
        about: &[],
        flags: TABLE.specs(),
        notes: Vec::new(),
    }
}

fn run(_: &(), _: Instant) -> Result<Status, Error> {
    let text = serde_json::to_string_pretty(&Machine::read()).expect("values in memory are JSON");
    write_stdout(text + "\n").map(|()| Status::Done)
}
