//! A subcommand: its word, its help pages, and the parser of its arguments.

use std::time::Instant;

use lexopt::Parser;

use super::page::Page;
use super::parse::{Stop, Table};
use super::{PROGRAM, help};
use crate::error::Error;
use crate::python::quote::quoted;
use crate::status::Status;

/// A row of the list of commands.
pub struct Command {
    /// The word that selects it.
    pub word: &'static str,
    /// How the program's help lists it: `word`, or `word` with the words that can follow it.
    pub term: &'static str,
    /// One sentence for that list.
    pub about: &'static str,
    /// The help pages: one, or one for each second word.
    pub pages: fn() -> Vec<Page>,
    /// Parses everything after the word.
    pub parse: fn(&mut Parser) -> Result<Invocation, Error>,
}

/// What to do for a command line.
pub enum Invocation {
    /// Print this text to stdout. It ends with a newline.
    Print(String),
    /// Run this; the argument is the time at which the process started.
    Run(Box<dyn FnOnce(Instant) -> Result<Status, Error>>),
}

/// The parsed flags of one command.
#[derive(Debug, PartialEq)]
pub enum Flags<C> {
    Given(Box<C>),
    /// The help text, when `-h` or `--help` was given.
    Help(String),
}

/// Parses the flags of one command up to the end of the command line, starting from `args`.
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

/// Like [`flags`], paired with the function that runs the command.
pub fn invocation<C: 'static>(
    parser: &mut Parser,
    table: &Table<C>,
    page: fn() -> Page,
    args: C,
    run: fn(&C, Instant) -> Result<Status, Error>,
) -> Result<Invocation, Error> {
    Ok(match flags(parser, table, &page(), args)? {
        Flags::Given(args) => Invocation::Run(Box::new(move |started| run(&args, started))),
        Flags::Help(text) => Invocation::Print(text),
    })
}
