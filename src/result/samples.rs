//! The samples behind the figures, for comparisons of runs. Tables have one row for each request, round or operation;
//! histograms hold the latencies of operations that are too many for rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::Name;
use super::number;
use crate::stats::hdr_v2;
use crate::stats::histogram::LatencyHistogram;

/// Rows of one table in a file; further rows are counted in `rows_left_out`.
pub const ROWS_MAX: usize = 400_000;

/// All samples of a run by name. docs/formats.md lists the names of each command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    #[serde(default)]
    pub tables: BTreeMap<String, Table>,
    #[serde(default)]
    pub histograms: BTreeMap<String, Histogram>,
}

/// A table of samples: each row has one cell for each column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    pub columns: Vec<TableColumn>,
    pub rows: Vec<Vec<Cell>>,
    /// Rows beyond `ROWS_MAX`.
    #[serde(default)]
    pub rows_left_out: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableColumn {
    pub key: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Name>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    Flag(bool),
    Count(u64),
    Number(#[serde(serialize_with = "number::serialize")] f64),
    Text(Name),
}

/// An unknown value: null in the file.
pub const ABSENT: Cell = Cell::Number(f64::NAN);

/// Latencies of single operations in nanoseconds. All histograms have the same buckets, so they merge by adding counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    pub unit: Name,
    pub count: u64,
    pub sum: f64,
    pub max: u64,
    /// HdrHistogram's V2 encoding, not compressed, in base64: other implementations read it.
    pub hdr_v2: String,
}

impl Table {
    /// `columns` are names with their units.
    pub fn new(columns: &[(&'static str, Option<&'static str>)]) -> Table {
        let column = |(key, unit): &(&'static str, Option<&'static str>)| TableColumn {
            key: (*key).into(),
            unit: unit.map(Name::from),
        };
        Table {
            columns: columns.iter().map(column).collect(),
            ..Table::default()
        }
    }

    pub fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.columns.len());
        if self.rows.len() < ROWS_MAX {
            self.rows.push(row);
        } else {
            self.rows_left_out += 1;
        }
    }
}

impl From<Option<f64>> for Cell {
    fn from(value: Option<f64>) -> Cell {
        value.map_or(ABSENT, Cell::Number)
    }
}

impl From<Option<u64>> for Cell {
    fn from(value: Option<u64>) -> Cell {
        value.map_or(ABSENT, Cell::Count)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Cell {
        Cell::Number(value)
    }
}

impl From<u64> for Cell {
    fn from(count: u64) -> Cell {
        Cell::Count(count)
    }
}

impl From<bool> for Cell {
    fn from(flag: bool) -> Cell {
        Cell::Flag(flag)
    }
}

impl From<Option<&'static str>> for Cell {
    fn from(text: Option<&'static str>) -> Cell {
        text.map_or(ABSENT, |text| Cell::Text(text.into()))
    }
}

impl<'a> From<&'a str> for Cell {
    fn from(text: &'a str) -> Cell {
        Cell::Text(text.to_owned().into())
    }
}

impl From<&LatencyHistogram> for Histogram {
    fn from(histogram: &LatencyHistogram) -> Histogram {
        Histogram {
            unit: "ns".into(),
            count: histogram.len(),
            sum: histogram.sum_ns() as f64,
            max: histogram.percentiles().max,
            hdr_v2: hdr_v2::base64(&hdr_v2::encoded(histogram)),
        }
    }
}
