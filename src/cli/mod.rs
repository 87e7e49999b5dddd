//! The command line: parsing, help, man page, completions. Each command has its own flag table and help pages; this module
//! holds what they share and knows no command. It does no I/O and does not read the environment.

use std::ffi::OsString;

use crate::choices;
use crate::error::Error;
use crate::python::quote::quoted;
use command::{Command, Invocation};
use parse::Stop;
use top::{Artifact, TopArgs};

pub mod choice;
pub mod command;
pub mod complete;
pub mod flag;
pub mod help;
pub mod man;
pub mod markdown;
pub mod nearest;
pub mod page;
pub mod parse;
pub mod range;
pub mod shared;
#[cfg(test)]
pub mod table_rules;
pub mod top;

/// The program's name in every text, also when it was started through a link of another name.
pub const PROGRAM: &str = "lmcache-bench";

choices! {
    /// The form of a report.
    #[derive(Default)]
    pub enum Format ("format") {
        #[default]
        Terminal = "terminal",
        Json = "json",
    }
}

/// Parses the arguments after the program's name.
///
/// Errors are usage errors (exit code 2): an unknown command, flag or value.
pub fn parse(args: impl IntoIterator<Item = OsString>, commands: &'static [Command]) -> Result<Invocation, Error> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut top = TopArgs::default();
    top::TABLE.apply_presets(&mut top)?;
    let mut bench_seen = false;
    loop {
        let stop = top::TABLE.walk(&mut parser, &mut top)?;
        if let Stop::Help { long } = stop {
            return Ok(Invocation::Print(help::render(&top::page(commands), long)));
        }
        if let Some(artifact) = top.generate {
            return Ok(Invocation::Print(generate(artifact, commands)));
        }
        if top.version {
            return Ok(Invocation::Print(format!("{PROGRAM} {}\n", env!("CARGO_PKG_VERSION"))));
        }
        let Stop::Word(word) = stop else {
            return Err(no_command(commands));
        };
        let word = word.to_string_lossy();
        if word == "bench" && !bench_seen {
            bench_seen = true;
            continue;
        }
        return match commands.iter().find(|command| command.word == word) {
            Some(command) => (command.parse)(&mut parser),
            None => Err(no_such_command(&word, commands)),
        };
    }
}

/// The page of the program, then the pages of each command.
pub fn pages(commands: &'static [Command]) -> Vec<page::Page> {
    let command_pages = commands.iter().flat_map(|command| (command.pages)());
    std::iter::once(top::page(commands)).chain(command_pages).collect()
}

fn generate(artifact: Artifact, commands: &'static [Command]) -> String {
    let pages = pages(commands);
    match artifact {
        Artifact::Man => man::render(&pages),
        Artifact::CompleteBash => complete::bash(&pages),
        Artifact::CompleteZsh => complete::zsh(&pages),
        Artifact::CompleteFish => complete::fish(&pages),
        Artifact::CliMd => markdown::render(&pages),
    }
}

fn no_command(commands: &'static [Command]) -> Error {
    let usage = top::page(commands).usage;
    Error::Usage(format!(
        "usage: {usage}\n{PROGRAM}: no command given; start with `{PROGRAM} --help`"
    ))
}

fn no_such_command(word: &str, commands: &[Command]) -> Error {
    let words: Vec<&str> = commands.iter().map(|command| command.word).collect();
    let shown = quoted(word);
    let text = match nearest::nearest(word, words.iter().copied()) {
        Some(near) => format!("unknown command {shown}; did you mean {near}?"),
        None => format!("unknown command {shown}; the commands are: {}", words.join(", ")),
    };
    Error::Usage(format!("{PROGRAM}: {text}"))
}
