//! The files of `engine` alone: LMCache's CSV and JSON summary, and JSON lines. Each is written even if another one failed.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::jsonl;
use crate::engine::config::OutputConfig;
use crate::engine::results::figures::{CSV_FILE, Figures, Row, SUMMARY_FILE, SummaryConfig, rows_csv, summary_json};
use crate::engine::samples::record::Record;
use crate::engine::timestamp::Clock;
use crate::error::Error;
use crate::ledger::expect::ExpectedRequest;
use crate::report::output::OutputFile;
use crate::report::progress::Progress;

/// The output files of one run, checked before it.
pub struct Outputs<'a> {
    config: &'a OutputConfig,
    requests: Option<OutputFile>,
}

impl<'a> Outputs<'a> {
    /// Creates `--output-dir` and checks the named files. A named file that cannot be written is an error. A problem with
    /// the folder is returned as a message, because the results are still printed.
    pub fn check(config: &'a OutputConfig) -> Result<(Outputs<'a>, Option<String>), Error> {
        let in_folder = config.csv || config.json_summary;
        let folder = &config.folder;
        let made = if in_folder { fs::create_dir_all(folder) } else { Ok(()) };
        let problem = made.err().map(|cause| folder_failure(folder, &cause));
        let check = |path| OutputFile::check_for("--requests-jsonl", "the requests", path);
        let requests = config.requests_jsonl.as_deref().map(check).transpose()?;
        Ok((Outputs { config, requests }, problem))
    }

    /// Says where the files of `--output-dir` go, or what is wrong with the folder.
    pub fn tell(&self, folder_problem: Option<String>, progress: &mut Progress) {
        match folder_problem {
            Some(problem) => progress.line(&format!("Note: {problem}")),
            None => self
                .names()
                .iter()
                .for_each(|name| progress.line(&format!("Results also go to {name}"))),
        }
    }

    /// The paths of the files in `--output-dir`.
    fn names(&self) -> Vec<String> {
        let wanted = [(self.config.csv, CSV_FILE), (self.config.json_summary, SUMMARY_FILE)];
        let wanted = wanted.into_iter().filter(|(wanted, _)| *wanted);
        wanted
            .map(|(_, name)| self.config.folder.join(name).display().to_string())
            .collect()
    }

    /// Writes all files. Returns a message for each that could not be written.
    pub fn write(&self, results: &Results) -> Vec<String> {
        let mut problems = Vec::new();
        let mut tried = |outcome: Result<(), String>| problems.extend(outcome.err());
        if self.config.csv {
            tried(self.write_in_folder(CSV_FILE, &rows_csv(results.rows)));
        }
        if self.config.json_summary {
            tried(self.write_in_folder(SUMMARY_FILE, &summary_json(results.summary, results.figures)));
        }
        if let Some(file) = &self.requests {
            let lines = jsonl::lines(results.records, results.clock, results.expected);
            tried(file.write(&lines).map_err(|error| error.to_string()));
        }
        problems
    }

    fn write_in_folder(&self, name: &str, text: &str) -> Result<(), String> {
        let folder = &self.config.folder;
        fs::create_dir_all(folder).map_err(|cause| folder_failure(folder, &cause))?;
        let path = folder.join(name);
        fs::write(&path, text).map_err(|cause| {
            format!(
                "could not write {}: {cause}; the results are on the terminal, name another --output-dir",
                path.display()
            )
        })
    }
}

fn folder_failure(folder: &Path, cause: &std::io::Error) -> String {
    format!(
        "could not make the folder --output-dir {}: {cause}; the results are on the terminal only",
        folder.display()
    )
}

/// The data of the files.
pub struct Results<'a> {
    pub rows: &'a [Row],
    pub figures: &'a Figures,
    pub summary: &'a SummaryConfig,
    pub records: &'a [Record],
    pub clock: &'a Clock,
    /// What each request was expected to find, by its id.
    pub expected: &'a HashMap<String, ExpectedRequest>,
}
