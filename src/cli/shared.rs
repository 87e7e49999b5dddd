//! What every measuring command has: the output flags `--format`, `--output`, `--save` and `--quiet`, and exit codes.

use std::path::PathBuf;

use super::Format;
use super::flag::{BEYOND, Flag, Set};

/// The exit code of a panic, for the help.
pub const EXIT_BUG: (&str, &str) = (
    "101",
    "A bug in this program. stderr has the line to report; the report is marked partial and holds what was measured until \
     then.",
);

/// The exit codes of signals, for the help.
pub const EXIT_SIGNALS: (&str, &str) = (
    "129, 130, 143",
    "Ended by a closed terminal (SIGHUP), by Ctrl-C (SIGINT) or by SIGTERM, after a report that is marked partial.",
);

/// The values of the output flags.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutputArgs {
    pub format: Format,
    pub quiet: bool,
    /// The file of `--output`.
    pub report_path: Option<PathBuf>,
    /// Each `FORM=PATH` of `--save`, as typed.
    pub saves: Vec<String>,
    /// Tables of samples that the command has a form of its own for.
    pub tables: &'static [&'static str],
}

impl OutputArgs {
    pub fn set_format(&mut self, text: &str) -> Result<(), String> {
        Format::from_text(text).map(|format| self.format = format)
    }

    pub fn add_save(&mut self, text: &str) -> Result<(), String> {
        self.saves.push(text.to_owned());
        Ok(())
    }
}

/// The environment variables that say which servers are trusted, for the help of every command that speaks TLS.
pub const TRUST: (&str, &str) = (
    "SSL_CERT_FILE, SSL_CERT_DIR",
    "PEM file, and folders of PEM files, with the authorities that certificates of servers are checked against, instead of \
     Mozilla's list, which is compiled in. Certificates are always checked.",
);

/// The key of the cache server's HTTP API. The names are those of LMCache.
pub const LMCACHE_KEY: (&str, &str) = (
    "LMCACHE_API_KEY, LMCACHE_API_KEY_FILE",
    "The key that a cache server of LMCache 0.5.7 or later may ask for on its HTTP API, or a file with it in its first line. Sent to \
     that server as a bearer token with every HTTP request, and to nothing else; never printed. The value goes before the file. \
     Where they are unset, the older names `LMCACHE_HTTP_API_KEY` and `LMCACHE_HTTP_API_KEY_FILE` count.",
);

pub const fn format_row<C>(set: Set<C>) -> Flag<C> {
    Flag::value("format", "FORMAT", set)
        .choices(Format::CHOICES)
        .default("terminal")
        .help(
            "Form of the report",
            "With `json`, stdout carries the JSON report and nothing else; progress goes to stderr.",
        )
}

pub const fn output_row<C>(set: Set<C>) -> Flag<C> {
    Flag::value("output", "PATH", set).help(
        "Write the report to this file as well",
        "It gets the form that `--format` names. The folder must exist.",
    )
}

pub const fn quiet_row<C>(set: Set<C>) -> Flag<C> {
    Flag::switch("quiet", set).short('q').help(
        "Print no progress lines",
        "The report still goes to standard output, also when `--output` names a file for it.",
    )
}

pub const fn save_row<C>(set: Set<C>) -> Flag<C> {
    Flag::value("save", "FORM=PATH", set)
        .unset("no file")
        .repeatable()
        .group(&BEYOND)
        .help(
            "Save the result in this form, may be repeated",
            "Forms: `result` is everything (unrounded figures, samples, settings, machine) and can be read back, `json` \
             the report of `--format json`, `csv` one line for each figure, `series.csv` one for each second (`engine` only), `terminal` the report for people. The folder \
             must exist. A run that ends early saves what it has.",
        )
}
