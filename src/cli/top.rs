//! The flags and the help page of the program itself, before any subcommand.

use super::PROGRAM;
use super::command::Command;
use super::flag::Flag;
use super::page::{Body, Note, Page};
use super::parse::Table;
use crate::choices;

type Row = Flag<TopArgs>;

choices! {
    /// A text that `--generate` prints.
    pub enum Artifact ("text") {
        Man = "man",
        CompleteBash = "complete-bash",
        CompleteZsh = "complete-zsh",
        CompleteFish = "complete-fish",
        CliMd = "cli-md",
    }
}

#[derive(Debug, Default)]
pub struct TopArgs {
    pub version: bool,
    pub generate: Option<Artifact>,
}

pub const TABLE: Table<TopArgs> = Table {
    program: PROGRAM,
    flags: FLAGS,
    absent: &[],
};

const FLAGS: &[Row] = &[
    Row::help_row(),
    Row::switch("version", |args, text| {
        super::flag::on_off(text).map(|on| args.version = on)
    })
    .short('V')
    .help("Print the version", ""),
    Row::value("generate", "WHAT", |args, text| {
        Artifact::from_text(text).map(|artifact| args.generate = Some(artifact))
    })
    .choices(Artifact::CHOICES)
    .help(
        "Print a man page, shell completions or docs/cli.md",
        "`man` is a page for section 1, `complete-bash`, `complete-zsh` and `complete-fish` are scripts that \
         the shell loads, `cli-md` is this text in Markdown.",
    ),
];

pub fn page(commands: &'static [Command]) -> Page {
    let words: Vec<&str> = commands.iter().map(|command| command.word).collect();
    Page {
        word: "",
        usage: format!("{PROGRAM} [bench] {{{}}} [options]", words.join(",")).into(),
        summary: "Benchmark an engine, a cache server or a storage tier of LMCache",
        about: &[
            "A native successor of `lmcache bench`. The flags of LMCache keep their names, defaults and meaning; a \
             leading word `bench` is skipped, so command lines written for `lmcache bench` work unchanged, also \
             through a link named `lmcache`.",
            "Long flags may be abbreviated to any unique prefix. A value follows its flag after a blank or `=`. Whole \
             numbers may be written `1_000`. When a flag is given twice, the last value counts. `--` ends the flags.",
        ],
        flags: TABLE.specs(),
        notes: vec![
            Note {
                title: "Commands",
                body: Body::Commands(commands),
            },
            INSTALLING,
        ],
    }
}

const INSTALLING: Note = Note {
    title: "Installing the generated texts",
    body: Body::Examples(&[
        (
            "Man page:",
            &["lmcache-bench --generate man > ~/.local/share/man/man1/lmcache-bench.1"],
        ),
        (
            "Completions for bash:",
            &[
                "lmcache-bench --generate complete-bash \\",
                "    > ~/.local/share/bash-completion/completions/lmcache-bench",
            ],
        ),
        (
            "Completions for zsh, into a folder of `$fpath`:",
            &["lmcache-bench --generate complete-zsh > ~/.zfunc/_lmcache-bench"],
        ),
        (
            "Completions for fish:",
            &[
                "lmcache-bench --generate complete-fish \\",
                "    > ~/.config/fish/completions/lmcache-bench.fish",
            ],
        ),
    ]),
};
