//! The flags and the help page of `report`.

use std::path::PathBuf;

use crate::cli::flag::{Flag, keep, replace};
use crate::cli::page::{Body, Note, Page};
use crate::cli::parse::Table;

type Row = Flag<ReportArgs>;

/// The command line of `report` as typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportArgs {
    pub format: String,
    pub output: Option<PathBuf>,
}

pub const TABLE: Table<ReportArgs> = Table {
    program: "lmcache-bench report",
    flags: FLAGS,
    absent: &[],
};

const FLAGS: &[Row] = &[
    Row::value("format", "FORM", |args, text| replace(&mut args.format, text))
        .default("terminal")
        .help(
            "Output form",
            "`terminal`, `json` and `csv` are those of the run itself, `result` is the file again.",
        ),
    Row::value("output", "PATH", |args, text| keep(&mut args.output, text))
        .short('o')
        .unset("standard output")
        .help("Write to this file instead", "The folder must exist."),
    Row::help_row(),
];

pub fn page() -> Page {
    Page {
        word: "report",
        usage: "lmcache-bench [bench] report FILE [options]".into(),
        summary: "Show a saved result again, in any output form",
        about: &[
            "FILE is what `--save result=PATH` of `engine`, `server` or `l2` wrote. It holds unrounded figures, the samples \
             behind them, the settings and the machine, so a run need not be repeated to see it in another form.",
        ],
        flags: TABLE.specs(),
        notes: vec![EXIT_CODES, EXAMPLES],
    }
}

const EXIT_CODES: Note = Note {
    title: "Exit codes",
    body: Body::Terms(&[
        ("0", "The result was written in that form."),
        ("1", "The output could not be written."),
        (
            "2",
            "The command line is wrong, or FILE is no result that this version can read.",
        ),
    ]),
};

const EXAMPLES: Note = Note {
    title: "Examples",
    body: Body::Examples(&[(
        "Save a result, and look at it later as a table of figures:",
        &[
            "lmcache-bench l2 --save result=run.json --l2-adapter \\",
            "    '{\"type\":\"fs\",\"base_path\":\"/tmp/bench\"}'",
            "lmcache-bench report run.json --format csv",
        ],
    )]),
};
