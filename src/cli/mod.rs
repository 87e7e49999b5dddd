//! The command line: what may be typed, and every text that explains it. Each command has a table of flags and pages of
//! its own; this module holds what they share and knows no command. It opens no file, reads no environment and prints
//! nothing.

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

/// What the program is called in every text, whatever link it was started through.
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

/// Reads the arguments after the program's name.
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

/// The program's page and then those of each command.
pub fn pages(commands: &'static [Command]) -> Vec<page::Page> {
    let of_commands = commands.iter().flat_map(|command| (command.pages)());
    std::iter::once(top::page(commands)).chain(of_commands).collect()
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
