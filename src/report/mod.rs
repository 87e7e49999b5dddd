//! Output forms: one renderer for each, from a result to bytes; where those bytes go; and what is shown while a run goes
//! on. Nothing here measures.

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

/// One output form: a result in, bytes out.
pub trait Renderer: Sync {
    fn render(&self, result: &RunResult) -> Vec<u8>;
}

/// A form by the name that people type.
pub struct Form {
    pub name: &'static str,
    pub renderer: &'static dyn Renderer,
}

/// Everything that `--save` takes, and `--format` by the same names.
pub const FORMS: &[Form] = &[
    Form {
        name: "result",
        renderer: &Whole,
    },
    Form {
        name: "terminal",
        renderer: &terminal::Terminal,
    },
    Form {
        name: "json",
        renderer: &json::ReferenceJson,
    },
    Form {
        name: "csv",
        renderer: &csv::Csv,
    },
];

/// The form of that name, or the names there are.
pub fn form(name: &str) -> Result<&'static Form, String> {
    let found = FORMS.iter().find(|form| form.name == name);
    found.ok_or_else(|| FORMS.iter().map(|form| form.name).collect::<Vec<_>>().join(", "))
}

/// The whole result, to be read back.
struct Whole;

impl Renderer for Whole {
    fn render(&self, result: &RunResult) -> Vec<u8> {
        file::text(result).into_bytes()
    }
}
