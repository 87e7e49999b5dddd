//! The command line: what may be typed, and every text that explains it. Values leave here typed but unchecked against
//! one another; must never open a file, read the environment or print.

use std::ffi::OsString;

use crate::error::Error;
use parse::Stop;
use python_number::quoted;
use top::{Artifact, TopArgs};

pub mod big_int;
pub mod complete;
pub mod engine;
pub mod flag;
pub mod help;
pub mod l2;
pub mod man;
pub mod markdown;
mod mock;
pub mod mock_engine;
pub mod mock_server;
pub mod nearest;
pub mod page;
pub mod parse;
pub mod python_number;
pub mod server;
#[cfg(test)]
mod table_rules;
pub mod top;

/// What the program is called in every text, whatever link it was started through.
pub const PROGRAM: &str = "lmcache-bench";

/// The words that name a command.
const COMMANDS: [&str; 4] = ["engine", "server", "l2", "mock"];

/// What a command line asks for.
#[derive(Debug, PartialEq)]
pub enum Invocation {
    Engine(Box<engine::EngineArgs>),
    Server(Box<server::ServerArgs>),
    L2(Box<l2::L2Args>),
    MockEngine(Box<mock_engine::MockEngineArgs>),
    MockServer(Box<mock_server::MockServerArgs>),
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

    pub fn text(self) -> &'static str {
        Format::CHOICES[self as usize]
    }

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
            "engine" => return subcommand(&mut parser, &engine::TABLE, engine::page(), Invocation::Engine),
            "server" => return subcommand(&mut parser, &server::TABLE, server::page(), Invocation::Server),
            "l2" => return subcommand(&mut parser, &l2::TABLE, l2::page(), Invocation::L2),
            "mock" => return mock::parse(&mut parser),
            other => return Err(no_such_command(other)),
        }
    }
}

/// Reads the flags of one subcommand to the end of the line.
fn subcommand<C: Default>(
    parser: &mut lexopt::Parser,
    table: &parse::Table<C>,
    page: page::Page,
    wrap: fn(Box<C>) -> Invocation,
) -> Result<Invocation, Error> {
    let mut args = C::default();
    match table.walk(parser, &mut args)? {
        Stop::End => Ok(wrap(Box::new(args))),
        Stop::Help { long } => Ok(Invocation::Print(help::render(&page, long))),
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

/// The program's page and then one for each subcommand.
pub fn pages() -> Vec<page::Page> {
    vec![
        top::page(),
        engine::page(),
        server::page(),
        l2::page(),
        mock_engine::page(),
        mock_server::page(),
    ]
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
        "usage: {usage}\n{PROGRAM}: no command given; start with `{PROGRAM} --help`"
    ))
}

fn no_such_command(word: &str) -> Error {
    let shown = quoted(word);
    let text = match nearest::nearest(word, COMMANDS) {
        Some(near) => format!("unknown command {shown}; did you mean {near}?"),
        None => format!("unknown command {shown}; the commands are: {}", COMMANDS.join(", ")),
    };
    Error::Usage(format!("{PROGRAM}: {text}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn typed(words: &[&str]) -> Result<Invocation, Error> {
        parse(words.iter().map(OsString::from))
    }

    fn printed(words: &[&str]) -> String {
        match typed(words) {
            Ok(Invocation::Print(text)) => text,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    fn refused(words: &[&str]) -> String {
        match typed(words) {
            Err(Error::Usage(text)) => text,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn a_leading_bench_is_skipped_once() {
        let plain = typed(&["l2", "--num-keys", "3"]).unwrap();
        assert_eq!(typed(&["bench", "l2", "--num-keys", "3"]).unwrap(), plain);
        assert_eq!(
            refused(&["bench", "bench", "l2"]),
            "lmcache-bench: unknown command 'bench'; the commands are: engine, server, l2, mock"
        );
    }

    #[test]
    fn help_version_and_generated_texts_are_printed() {
        assert_eq!(
            printed(&["--version"]),
            format!("lmcache-bench {}\n", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(printed(&["bench", "-V"]), printed(&["--vers"]));
        assert_eq!(printed(&["-h"]), help::render(&top::page(), false));
        assert_eq!(printed(&["bench", "--help"]), help::render(&top::page(), true));
        assert_eq!(printed(&["l2", "-qh"]), help::render(&l2::page(), false));
        assert_eq!(
            printed(&["l2", "--num-keys", "3", "--help"]),
            help::render(&l2::page(), true)
        );
        for choice in top::TABLE.specs().iter().flat_map(|spec| spec.choices) {
            let text = printed(&["--generate", choice]);
            assert!(text.contains("num-keys") || text.contains("num\\-keys"), "{choice}");
            assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{choice}");
        }
    }

    #[test]
    fn a_missing_or_unknown_command_is_a_usage_error() {
        let usage = "usage: lmcache-bench [bench] {engine,server,l2,mock} [options]\n\
                     lmcache-bench: no command given; start with `lmcache-bench --help`";
        assert_eq!(refused(&[]), usage);
        assert_eq!(refused(&["bench"]), usage);
        assert_eq!(
            refused(&["l3"]),
            "lmcache-bench: unknown command 'l3'; did you mean l2?"
        );
        assert!(refused(&["mock"]).contains("`lmcache-bench mock engine --help`"));
        assert!(refused(&["mock"]).contains("name what to imitate"));
        assert!(refused(&["mock", "engin"]).ends_with("'engin'; did you mean engine?"));
        assert!(refused(&["mock", "queue"]).ends_with("'queue'; there are engine and server"));
        assert!(refused(&["mock", "--x"]).starts_with("lmcache-bench mock: unknown argument '--x'"));
        assert!(printed(&["mock", "-h"]).starts_with("Imitate what the benchmarks measure"));
    }

    #[test]
    fn l2_takes_no_bare_words() {
        let text = refused(&["l2", "/tmp/bench"]);
        assert!(
            text.starts_with("lmcache-bench l2: unexpected argument '/tmp/bench'"),
            "{text}"
        );
        let not_utf8 = parse(["l2".into(), OsString::from_vec(vec![0xff])]).expect_err("a bare word");
        assert!(
            not_utf8.to_string().contains("unexpected argument '\u{fffd}'"),
            "{not_utf8}"
        );
    }

    #[test]
    fn markup_is_closed_in_every_text() {
        for page in pages() {
            let of_flags = page.flags.iter().map(|spec| spec.full_help());
            let of_page = page.about.iter().map(|text| text.to_string());
            for text in of_flags.chain(of_page) {
                assert!(text.matches('`').count() % 2 == 0, "{text}");
                assert!(text.ends_with('.'), "{text}");
            }
        }
    }
}
