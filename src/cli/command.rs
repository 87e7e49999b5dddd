//! A command of the program as the command line sees it: its word, its help pages, and how its arguments are read.

use std::time::Instant;

use lexopt::Parser;

use super::page::Page;
use super::parse::{Stop, Table};
use super::{PROGRAM, help};
use crate::error::Error;
use crate::python::quote::quoted;
use crate::status::Status;

/// One row of the list of commands.
pub struct Command {
    /// What is typed.
    pub word: &'static str,
    /// Its words in the list of the program's help: `word`, or all that can follow it.
    pub term: &'static str,
    /// One sentence for that list.
    pub about: &'static str,
    /// One page for each thing that can be run.
    pub pages: fn() -> Vec<Page>,
    /// Reads everything behind the word.
    pub parse: fn(&mut Parser) -> Result<Invocation, Error>,
}

/// What a command line asks for.
pub enum Invocation {
    /// Text for stdout, complete with its last newline.
    Print(String),
    /// A run; the argument is when the process began.
    Run(Box<dyn FnOnce(Instant) -> Result<Status, Error>>),
}

/// What the flags of one command give.
#[derive(Debug, PartialEq)]
pub enum Flags<C> {
    Given(Box<C>),
    /// The help that was asked for.
    Help(String),
}

/// Reads the flags of one command to the end of the line, on top of `args`.
pub fn flags<C>(parser: &mut Parser, table: &Table<C>, page: &Page, mut args: C) -> Result<Flags<C>, Error> {
    match table.walk(parser, &mut args)? {
        Stop::End => Ok(Flags::Given(Box::new(args))),
        Stop::Help { long } => Ok(Flags::Help(help::render(page, long))),
        Stop::Word(word) => {
            let shown = quoted(&word.to_string_lossy());
            let command = page.word;
            Err(Error::Usage(format!(
                "{PROGRAM} {command}: unexpected argument {shown}; {command} takes flags only, and a value stands right \
                 after its flag"
            )))
        }
    }
}

/// The same, and what is to be run with them.
pub fn invocation<C: 'static>(
    parser: &mut Parser,
    table: &Table<C>,
    page: &Page,
    args: C,
    run: fn(&C, Instant) -> Result<Status, Error>,
) -> Result<Invocation, Error> {
    Ok(match flags(parser, table, page, args)? {
        Flags::Given(args) => Invocation::Run(Box::new(move |started| run(&args, started))),
        Flags::Help(text) => Invocation::Print(text),
    })
}
