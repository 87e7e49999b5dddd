//! The figures of a run: sections of entries, tables or notes. Every renderer reads these values, so outputs cannot disagree.
//! Numbers are unrounded, with their unit and the number of decimals to show.

use std::borrow::Cow;

use serde::Serialize;

use super::number;
use super::warning::Warning;

/// Keys and labels, which are nearly always literals.
pub type Name = Cow<'static, str>;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Section {
    /// The section's key in JSON.
    pub key: Name,
    /// The section's heading on the terminal.
    pub label: Name,
    /// It says in other terms what another section says, so the terminal report leaves it out.
    #[serde(skip_serializing_if = "is_false")]
    pub for_programs: bool,
    #[serde(flatten)]
    pub body: Body,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Body {
    Entries { entries: Vec<Entry> },
    Table { columns: Vec<Column>, rows: Vec<Row> },
    List { notes: Vec<Note> },
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    pub key: Name,
    pub label: Name,
    #[serde(flatten)]
    pub value: Value,
    /// Unit of the value, such as `ms` or `MiB/s`; none for counts and texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Name>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    pub key: Name,
    pub label: Name,
    /// Unit of every value in the column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Name>,
}

/// One row of a table. Missing cells are absent values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub key: Name,
    pub label: Name,
    pub cells: Vec<Value>,
}

/// One sentence with a code that scripts can match on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Note {
    #[serde(rename = "code")]
    pub key: Name,
    pub text: String,
}

/// A value. In a result file it is an object with one of these members; a number that is not finite is null.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    Count {
        count: u64,
    },
    Number {
        #[serde(serialize_with = "number::serialize")]
        value: f64,
        /// Decimals in the terminal report and in the JSON report.
        decimals: u8,
    },
    Text {
        text: String,
    },
    /// Not known, or not measured in this run.
    Absent {},
}

impl Value {
    pub fn count(count: u64) -> Value {
        Value::Count { count }
    }

    pub fn number(value: f64, decimals: u8) -> Value {
        Value::Number { value, decimals }
    }

    pub fn text(text: impl Into<String>) -> Value {
        Value::Text { text: text.into() }
    }

    /// A number that may not be known.
    pub fn optional(value: Option<f64>, decimals: u8) -> Value {
        value.map_or(Value::Absent {}, |value| Value::number(value, decimals))
    }
}

impl Section {
    pub fn entries(key: impl Into<Name>, label: impl Into<Name>, entries: Vec<Entry>) -> Section {
        Section {
            key: key.into(),
            label: label.into(),
            for_programs: false,
            body: Body::Entries { entries },
        }
    }

    pub fn table(key: impl Into<Name>, label: impl Into<Name>, columns: Vec<Column>, rows: Vec<Row>) -> Section {
        Section {
            key: key.into(),
            label: label.into(),
            for_programs: false,
            body: Body::Table { columns, rows },
        }
    }

    pub fn list(key: impl Into<Name>, label: impl Into<Name>, notes: Vec<Note>) -> Section {
        Section {
            key: key.into(),
            label: label.into(),
            for_programs: false,
            body: Body::List { notes },
        }
    }

    /// The same, left out of the terminal report.
    pub fn for_programs(self) -> Section {
        Section {
            for_programs: true,
            ..self
        }
    }

    /// The last section of a result: its warnings.
    pub fn warnings(warnings: &[impl Warning]) -> Section {
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
            unit: None,
        }
    }

    /// The same with its unit.
    #[inline(never)]
    pub fn unit(mut self, unit: &'static str) -> Entry {
        self.unit = Some(unit.into());
        self
    }

    #[inline(never)]
    pub fn count(key: impl Into<Name>, label: impl Into<Name>, count: u64) -> Entry {
        Entry::new(key, label, Value::count(count))
    }

    #[inline(never)]
    pub fn number(key: impl Into<Name>, label: impl Into<Name>, value: f64, decimals: u8) -> Entry {
        Entry::new(key, label, Value::number(value, decimals))
    }

    /// A number that may not be known.
    #[inline(never)]
    pub fn optional(key: impl Into<Name>, label: impl Into<Name>, value: Option<f64>, decimals: u8) -> Entry {
        Entry::new(key, label, Value::optional(value, decimals))
    }

    #[inline(never)]
    pub fn text(key: impl Into<Name>, label: impl Into<Name>, text: impl Into<String>) -> Entry {
        Entry::new(key, label, Value::text(text))
    }
}

impl Column {
    pub fn new(key: impl Into<Name>, label: impl Into<Name>) -> Column {
        Column {
            key: key.into(),
            label: label.into(),
            unit: None,
        }
    }

    /// The same with the unit of its values.
    #[inline(never)]
    pub fn unit(mut self, unit: &'static str) -> Column {
        self.unit = Some(unit.into());
        self
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
        self.cells.get(column).unwrap_or(&Value::Absent {})
    }
}
