//! Output: one renderer for each output form, the writing of files and stdout, progress lines, and prompts.

use crate::result::RunResult;
use crate::result::file;

pub mod banner;
pub mod csv;
pub mod json;
pub mod output;
pub mod progress;
pub mod prompt;
pub mod screen;
pub mod terminal;

#[cfg(test)]
mod golden;

/// Renders a result in one output form.
pub trait Renderer: Sync {
    fn render(&self, result: &RunResult) -> Vec<u8>;
}

/// An output form with its name on the command line.
pub struct Form {
    pub name: &'static str,
    pub renderer: &'static dyn Renderer,
    /// Whether it needs the samples of the result.
    pub has_samples: bool,
    /// The table of samples that it is, if it is one.
    pub table: Option<&'static str>,
}

impl Form {
    const fn new(name: &'static str, renderer: &'static dyn Renderer) -> Form {
        Form {
            name,
            renderer,
            has_samples: false,
            table: None,
        }
    }
}

/// The forms that `--save` accepts. `--format` accepts some of them.
pub const FORMS: &[Form] = &[
    Form {
        has_samples: true,
        ..Form::new("result", &Whole)
    },
    Form::new("terminal", &terminal::Terminal),
    Form::new("json", &json::ReferenceJson),
    Form::new("csv", &csv::Csv),
    Form {
        has_samples: true,
        table: Some("series"),
        ..Form::new("series.csv", &csv::TableCsv("series"))
    },
];

/// The form of that name. The error is the list of all names.
pub fn form(name: &str) -> Result<&'static Form, String> {
    let found = FORMS.iter().find(|form| form.name == name);
    found.ok_or_else(|| FORMS.iter().map(|form| form.name).collect::<Vec<_>>().join(", "))
}

/// The result file, which can be read back.
struct Whole;

impl Renderer for Whole {
    fn render(&self, result: &RunResult) -> Vec<u8> {
        file::text(result).into_bytes()
    }
}
