//! What every measuring command has: the output flags `--format`, `--output`, `--save` and `--quiet`, and exit codes.

use std::path::PathBuf;

use super::Format;
use super::flag::{BEYOND, Flag, FlagSpec, Group, Kind, OPTIONS, Preset, on_off};

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
}

impl OutputArgs {
    pub fn set_format(&mut self, text: &str) -> Result<(), String> {
        Format::from_text(text).map(|format| self.format = format)
    }

    pub fn set_report_path(&mut self, text: &str) -> Result<(), String> {
        self.report_path = Some(PathBuf::from(text));
        Ok(())
    }

    pub fn set_quiet(&mut self, text: &str) -> Result<(), String> {
        on_off(text).map(|on| self.quiet = on)
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

/// Exit codes that every measuring command has, for its help.
pub const FAULT: (&str, &str) = (
    "101",
    "This program has a fault: stderr has the line to report, and what was measured until then is in a report that is marked \
     partial.",
);
pub const SIGNALS: (&str, &str) = (
    "129, 130, 143",
    "Ended by a closed terminal (SIGHUP), by Ctrl-C (SIGINT) or by SIGTERM, after a partial report that is marked as such.",
);

/// Arguments with these flags among them.
pub trait HasOutput {
    fn output(&mut self) -> &mut OutputArgs;
}

pub const fn format_row<C: HasOutput>() -> Flag<C> {
    Flag {
        spec: format(&OPTIONS),
        set: |args, text| args.output().set_format(text),
    }
}

pub const fn output_row<C: HasOutput>() -> Flag<C> {
    Flag {
        spec: output(&OPTIONS),
        set: |args, text| args.output().set_report_path(text),
    }
}

pub const fn quiet_row<C: HasOutput>() -> Flag<C> {
    Flag {
        spec: quiet(&OPTIONS),
        set: |args, text| args.output().set_quiet(text),
    }
}

pub const fn save_row<C: HasOutput>() -> Flag<C> {
    Flag {
        spec: save(&BEYOND),
        set: |args, text| args.output().add_save(text),
    }
}

pub const fn format(group: &'static Group) -> FlagSpec {
    FlagSpec {
        long: "format",
        value_name: "FORMAT",
        choices: Format::CHOICES,
        preset: Preset::Text("terminal"),
        group,
        help: "Form of the report",
        detail: "With `json`, stdout carries the JSON report and nothing else; progress goes to stderr.",
        ..FlagSpec::BLANK
    }
}

const fn output(group: &'static Group) -> FlagSpec {
    FlagSpec {
        long: "output",
        value_name: "PATH",
        group,
        help: "Write the report to this file as well",
        detail: "It gets the form that `--format` names. The folder must exist.",
        ..FlagSpec::BLANK
    }
}

const fn quiet(group: &'static Group) -> FlagSpec {
    FlagSpec {
        long: "quiet",
        short: Some('q'),
        kind: Kind::Switch,
        group,
        help: "Print no progress lines",
        detail: "The report still goes to standard output, also when `--output` names a file for it.",
        ..FlagSpec::BLANK
    }
}

pub const fn save(group: &'static Group) -> FlagSpec {
    FlagSpec {
        long: "save",
        value_name: "FORM=PATH",
        preset: Preset::Unset("no file"),
        group,
        help: "Save the result in this form, may be repeated",
        detail: "Forms: `result` is everything (unrounded figures, samples, settings, machine) and can be read back, \
                 `json` the report of `--format json`, `csv` one line for each figure, `terminal` the report for people. The \
                 folder must exist. A run that ends early saves what it has.",
        repeatable: true,
        ..FlagSpec::BLANK
    }
}
