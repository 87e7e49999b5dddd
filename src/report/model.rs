//! A report as values: title, sections, and in each section entries, a table or a list of notes. Both renderers read
//! the same values, so they cannot disagree. Nothing here formats.

use std::borrow::Cow;

use super::warning::Warning;

/// Keys and labels, which are nearly always literals.
pub type Name = Cow<'static, str>;

#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub title: Name,
    /// Characters per terminal line: 64 for l2 and server, 56 for engine.
    pub width: usize,
    pub sections: Vec<Section>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// The section's key in JSON.
    pub key: Name,
    /// The section's heading on the terminal.
    pub label: Name,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    Entries(Vec<Entry>),
    Table { columns: Vec<Column>, rows: Vec<Row> },
    List(Vec<Note>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: Name,
    pub label: Name,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub key: Name,
    pub label: Name,
}

/// One line of a table; a cell that is not there counts as absent.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub key: Name,
    pub label: Name,
    pub cells: Vec<Value>,
}

/// One sentence for people, with a code that scripts can match on.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    pub key: Name,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Count(u64),
    /// Rounded to `decimals` before anything is printed.
    Number {
        value: f64,
        decimals: u8,
    },
    Text(String),
    Absent,
}

impl Section {
    pub fn entries(key: impl Into<Name>, label: impl Into<Name>, entries: Vec<Entry>) -> Section {
        Section {
            key: key.into(),
            label: label.into(),
            body: Body::Entries(entries),
        }
    }

    pub fn table(key: impl Into<Name>, label: impl Into<Name>, columns: Vec<Column>, rows: Vec<Row>) -> Section {
        Section {
            key: key.into(),
            label: label.into(),
            body: Body::Table { columns, rows },
        }
    }

    pub fn list(key: impl Into<Name>, label: impl Into<Name>, notes: Vec<Note>) -> Section {
        Section {
            key: key.into(),
            label: label.into(),
            body: Body::List(notes),
        }
    }

    /// The section that every report ends with: doubts about its numbers.
    pub fn warnings(warnings: &[Warning]) -> Section {
        let notes = warnings.iter().map(|warning| Note {
            key: warning.code().into(),
            text: warning.text(),
        });
        Section::list("warnings", "Warnings", notes.collect())
    }
}

impl Entry {
    pub fn new(key: impl Into<Name>, label: impl Into<Name>, value: Value) -> Entry {
        Entry {
            key: key.into(),
            label: label.into(),
            value,
        }
    }

    pub fn count(key: impl Into<Name>, label: impl Into<Name>, count: u64) -> Entry {
        Entry::new(key, label, Value::Count(count))
    }

    pub fn number(key: impl Into<Name>, label: impl Into<Name>, value: f64, decimals: u8) -> Entry {
        Entry::new(key, label, Value::Number { value, decimals })
    }

    pub fn text(key: impl Into<Name>, label: impl Into<Name>, text: impl Into<String>) -> Entry {
        Entry::new(key, label, Value::Text(text.into()))
    }
}

impl Column {
    pub fn new(key: impl Into<Name>, label: impl Into<Name>) -> Column {
        Column {
            key: key.into(),
            label: label.into(),
        }
    }
}

impl Row {
    pub fn new(key: impl Into<Name>, label: impl Into<Name>, cells: Vec<Value>) -> Row {
        Row {
            key: key.into(),
            label: label.into(),
            cells,
        }
    }

    /// The cell in a column, by position.
    pub fn cell(&self, column: usize) -> &Value {
        self.cells.get(column).unwrap_or(&Value::Absent)
    }
}
