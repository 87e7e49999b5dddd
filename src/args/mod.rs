//! The command line: what may be typed, and every text that explains it. Values leave here typed but unchecked against
//! one another; must never open a file, read the environment or print.

use std::ffi::OsString;

use crate::error::Error;
use parse::Stop;
use python_number::quoted;
use top::{Artifact, TopArgs};

pub mod complete;
pub mod flag;
pub mod help;
pub mod l2;
pub mod man;
pub mod markdown;
pub mod nearest;
pub mod page;
pub mod parse;
pub mod python_number;
pub mod top;

/// What the program is called in every text, whatever link it was started through.
pub const PROGRAM: &str = "lmcache-bench";

/// What a command line asks for.
#[derive(Debug, PartialEq)]
pub enum Invocation {
    L2(Box<l2::L2Args>),
    /// Text for stdout, complete with its last newline.
    Print(String),
}

/// The form of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Terminal,
    Json,
}

impl Format {
    pub const CHOICES: &'static [&'static str] = &["terminal", "json"];

    pub fn from_text(text: &str) -> Result<Format, String> {
        match text {
            "terminal" => Ok(Format::Terminal),
            "json" => Ok(Format::Json),
            other => Err(format!("unknown format {}", quoted(other))),
        }
    }
}

/// Reads the arguments after the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, Error> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut top = TopArgs::default();
    top::TABLE.apply_presets(&mut top)?;
    let mut bench_seen = false;
    loop {
        let stop = top::TABLE.walk(&mut parser, &mut top)?;
        if let Stop::Help { long } = stop {
            return Ok(Invocation::Print(help::render(&top::page(), long)));
        }
        if let Some(artifact) = top.generate {
            return Ok(Invocation::Print(generate(artifact)));
        }
        if top.version {
            return Ok(Invocation::Print(format!("{PROGRAM} {}\n", env!("CARGO_PKG_VERSION"))));
        }
        let Stop::Word(word) = stop else {
            return Err(no_command());
        };
        match word.to_string_lossy().as_ref() {
            "bench" if !bench_seen => bench_seen = true,
            "l2" => return l2_invocation(&mut parser),
            other => return Err(no_such_command(other)),
        }
    }
}

fn l2_invocation(parser: &mut lexopt::Parser) -> Result<Invocation, Error> {
    let mut args = l2::L2Args::default();
    match l2::TABLE.walk(parser, &mut args)? {
        Stop::End => Ok(Invocation::L2(Box::new(args))),
        Stop::Help { long } => Ok(Invocation::Print(help::render(&l2::page(), long))),
        Stop::Word(word) => {
            let shown = quoted(&word.to_string_lossy());
            Err(Error::Usage(format!(
                "{PROGRAM} l2: unexpected argument {shown}; l2 takes flags only, and a value stands right after its flag"
            )))
        }
    }
}

/// The program's page and then one for each subcommand.
pub fn pages() -> Vec<page::Page> {
    vec![top::page(), l2::page()]
}

fn generate(artifact: Artifact) -> String {
    let pages = pages();
    match artifact {
        Artifact::Man => man::render(&pages),
        Artifact::CompleteBash => complete::bash(&pages),
        Artifact::CompleteZsh => complete::zsh(&pages),
        Artifact::CompleteFish => complete::fish(&pages),
        Artifact::CliMd => markdown::render(&pages),
    }
}

fn no_command() -> Error {
    let usage = top::page().usage;
    Error::Usage(format!(
        "usage: {usage}\n{PROGRAM}: no command given; start with `{PROGRAM} l2 --help`"
    ))
}

fn no_such_command(word: &str) -> Error {
    let shown = quoted(word);
    let text = match word {
        "engine" | "server" => {
            format!("the command {shown} is not in this build yet; use `lmcache bench {word}` of LMCache until it is")
        }
        _ => match nearest::nearest(word, ["l2", "bench", "engine", "server"]) {
            Some(near) => format!("unknown command {shown}; did you mean {near}?"),
            None => format!("unknown command {shown}; the commands are: l2"),
        },
    };
    Error::Usage(format!("{PROGRAM}: {text}"))
}
