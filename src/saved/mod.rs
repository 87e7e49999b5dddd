//! The `report` command: shows a saved result in any output form.

use std::path::PathBuf;
use std::time::Instant;

use lexopt::Parser;

use crate::cli::command::{Command, Invocation};
use crate::cli::parse::Stop;
use crate::cli::{PROGRAM, help};
use crate::error::Error;
use crate::python::quote::quoted;
use crate::report::{self, output};
use crate::result::file;
use crate::status::Status;

mod flags;

use self::flags::{ReportArgs, TABLE, page};

pub const COMMAND: Command = Command {
    word: "report",
    term: "report",
    about: "Show a saved result again, in any output form (`lmcache-bench report --help`).",
    pages: || vec![page()],
    parse,
};

fn parse(parser: &mut Parser) -> Result<Invocation, Error> {
    let mut args = TABLE.presets();
    let mut path: Option<PathBuf> = None;
    loop {
        match TABLE.walk(parser, &mut args)? {
            Stop::Help { long } => return Ok(Invocation::Print(help::render(&page(), long))),
            Stop::Word(word) if path.is_none() => path = Some(word.into()),
            Stop::Word(word) => {
                let shown = quoted(&word.to_string_lossy());
                return Err(usage(&format!("unexpected argument {shown}; give one result file")));
            }
            Stop::End => break,
        }
    }
    let path = path.ok_or_else(|| usage("no result file given; name one that --save result=PATH wrote"))?;
    Ok(Invocation::Run(Box::new(move |started| run(&args, &path, started))))
}

fn usage(what: &str) -> Error {
    Error::Usage(format!("{PROGRAM} report: {what}"))
}

fn run(args: &ReportArgs, path: &std::path::Path, _started: Instant) -> Result<Status, Error> {
    let form = report::form(&args.format)
        .map_err(|names| usage(&format!("there is no form '{}'; choose from {names}", args.format)))?;
    let file = args.output.as_deref().map(output::OutputFile::check).transpose()?;
    let result = file::load(path, None)?;
    let rendered = form.renderer.render(&result);
    match file {
        Some(file) => file.write(rendered)?,
        None => output::write_stdout(rendered)?,
    }
    Ok(Status::Done)
}
