//! The outputs of a run: stdout, `--output` and `--save`. Files are checked before the run, so that a long run does not end
//! without its result. Each is written even if another one failed.

use std::path::Path;

use crate::cli::Format;
use crate::cli::shared::OutputArgs;
use crate::error::Error;
use crate::report::output::{OutputFile, write_stdout};
use crate::report::progress::Progress;
use crate::report::{self, Form};
use crate::result::RunResult;
use crate::result::samples::Samples;
use crate::sys::ending::saving;
use crate::sys::machine::Machine;
use crate::url::literal_path_note;

/// The outputs of one run.
#[derive(Debug)]
pub struct Output {
    format: Format,
    quiet: bool,
    report: Option<OutputFile>,
    exports: Vec<Export>,
    /// Notes about paths that begin with `~` or `file://`, which nothing expands.
    pub path_notes: Vec<String>,
}

struct Export {
    form: &'static Form,
    file: OutputFile,
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={:?}", self.form.name, self.file)
    }
}

impl Output {
    /// Checks that every file can be written, and changes none. Errors name the flag and the path.
    pub fn check(args: &OutputArgs) -> Result<Output, Error> {
        let mut path_notes = Vec::new();
        let mut note = |flag: &str, path| path_notes.extend(literal_path_note(flag, path));
        let mut exports = Vec::new();
        let mut paths: Vec<&Path> = args.report_path.as_deref().into_iter().collect();
        for typed in &args.saves {
            let (form, path) = save(typed)?;
            if form.table.is_some_and(|table| !args.tables.contains(&table)) {
                let why = "this run has no such table";
                return Err(Error::Usage(format!("--save {typed}: {why}; leave it out")));
            }
            if paths.contains(&Path::new(path)) {
                let why = "another output has the same file; name a file of its own";
                return Err(Error::Usage(format!("--save {typed}: {why}")));
            }
            paths.push(path.as_ref());
            note("--save", path.as_ref());
            let file = OutputFile::check_for("--save", "the result", path.as_ref())?;
            exports.push(Export { form, file });
        }
        let report = args.report_path.as_deref();
        if let Some(path) = report {
            note("--output", path);
        }
        Ok(Output {
            format: args.format,
            quiet: args.quiet,
            report: report.map(OutputFile::check).transpose()?,
            exports,
            path_notes,
        })
    }

    /// Progress lines: on stdout with the terminal report, on stderr with any other format, nowhere with `--quiet`.
    pub fn progress(&self) -> Progress {
        match (self.quiet, self.format) {
            (true, _) => Progress::silent(),
            (false, Format::Terminal) => Progress::stdout(),
            (false, _) => Progress::stderr(),
        }
    }

    /// Whether `--save` asks for a form that has the samples.
    pub fn saves_samples(&self) -> bool {
        self.exports.iter().any(|export| export.form.has_samples)
    }

    /// Adds what only forms with samples have, if one is saved.
    pub fn complete(&self, result: &mut RunResult, samples: impl FnOnce() -> Samples) {
        if self.saves_samples() {
            let _saving = saving();
            result.machine = Machine::read();
            result.samples = samples();
        }
    }

    /// Writes the result in every requested form. Returns a message for each output that could not be written.
    /// Files come before stdout, so that a closed pipe does not cost them.
    pub fn write(&self, result: &RunResult) -> Vec<String> {
        let form = report::form(self.format.text()).expect("a test looks up every format");
        let render = |form: &Form| {
            let _saving = saving();
            form.renderer.render(result)
        };
        let rendered = render(form);
        let saved = self.exports.iter().map(|export| export.file.write(render(export.form)));
        let report = self.report.iter().map(|file| file.write(&rendered));
        let written = saved.chain(report).collect::<Vec<_>>().into_iter();
        let printed = std::iter::once_with(|| write_stdout(&rendered));
        written
            .chain(printed)
            .filter_map(|outcome| outcome.err().map(|error| error.to_string()))
            .collect()
    }
}

/// Checks the form of each `--save`, before anything else is done.
pub fn check_saves<'a>(mut saves: impl Iterator<Item = &'a String>) -> Result<(), Error> {
    saves.try_for_each(|typed| save(typed).map(drop))
}

/// `FORM=PATH`.
fn save(typed: &str) -> Result<(&'static Form, &str), Error> {
    let refused = |why: String| Error::Usage(format!("--save {typed}: {why}"));
    let Some((name, path)) = typed.split_once('=').filter(|(_, path)| !path.is_empty()) else {
        return Err(refused("write FORM=PATH, for example --save result=run.json".into()));
    };
    let form =
        report::form(name).map_err(|names| refused(format!("there is no form '{name}'; choose from {names}")))?;
    Ok((form, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_a_form() {
        for format in Format::CHOICES {
            assert!(report::form(format).is_ok(), "{format}");
        }
    }

    #[test]
    fn a_save_is_a_form_and_a_path() {
        let (form, path) = save("result=a=b.json").unwrap();
        assert_eq!((form.name, path), ("result", "a=b.json"));
        for (typed, why) in [
            ("result", "write FORM=PATH"),
            ("result=", "write FORM=PATH"),
            (
                "xml=a",
                "there is no form 'xml'; choose from result, terminal, json, csv, series.csv",
            ),
        ] {
            let text = save(typed).err().unwrap().to_string();
            assert!(text.starts_with(&format!("--save {typed}: {why}")), "{text}");
        }
    }
}
