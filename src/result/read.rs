//! Reads a result from JSON. Written by hand, because derived readers of these few types took a hundred KiB of the binary.
//! Samples are read as they stream by; everything else is small.

use std::cell::Cell as Left;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value as Json};

use super::model::{Body, Column, Entry, Name, Note, Row, Section, Value};
use super::samples::{ABSENT, Cell, Samples};
use super::{Build, RunResult};
use crate::python::json::Bounded;
use crate::sys::machine::Machine;

/// Memory limit of all members except the samples.
const MEMBERS_BYTES_MAX: usize = 64 << 20;

/// A result as it stands in a file: its samples, and its other members as they are.
pub struct Whole {
    members: Map<String, Json>,
    samples: Samples,
}

impl Whole {
    /// Reads a text that is JSON. The members but the samples may take the bytes left, at most `MEMBERS_BYTES_MAX`.
    pub fn read(bytes: &[u8], left: &Left<usize>) -> serde_json::Result<Whole> {
        left.set(left.get().min(MEMBERS_BYTES_MAX));
        serde_json::Deserializer::from_slice(bytes).deserialize_map(WholeVisitor(left))
    }
}

struct WholeVisitor<'a>(&'a Left<usize>);

impl<'de> Visitor<'de> for WholeVisitor<'_> {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a result")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Whole, A::Error> {
        let (mut members, mut samples) = (Map::new(), Samples::default());
        while let Some(name) = object.next_key::<String>()? {
            if name == "samples" {
                samples = object.next_value()?;
            } else {
                members.insert(name, object.next_value_seed(Bounded(self.0))?);
            }
        }
        Ok(Whole { members, samples })
    }
}

impl Whole {
    /// The error names the member that has another form.
    pub fn result(self) -> Result<RunResult, String> {
        let mut members = self.members;
        let mut object = |name: &str| match members.remove(name) {
            Some(Json::Object(object)) => object,
            _ => Map::new(),
        };
        let (target, settings) = (object("target"), object("settings"));
        let members = Json::Object(members);
        Ok(RunResult {
            kind: text(&members, "kind")?,
            schema: members["schema"]
                .as_u64()
                .and_then(|schema| u32::try_from(schema).ok())
                .unwrap_or(0),
            command: text(&members, "command")?,
            title: text(&members, "title")?,
            build: build(&members["build"]).map_err(|why| format!("build: {why}"))?,
            started_unix_s: members["started_unix_s"]
                .as_f64()
                .ok_or("started_unix_s is not a number")?,
            partial: optional_text(&members["partial"]),
            machine: machine(&members["machine"]),
            target,
            settings,
            sections: list(&members, "sections", section)?,
            samples: self.samples,
        })
    }
}

fn text(object: &Json, name: &str) -> Result<Name, String> {
    optional_text(&object[name]).ok_or_else(|| format!("{name} is not a text"))
}

fn optional_text(value: &Json) -> Option<Name> {
    value.as_str().map(|text| text.to_owned().into())
}

fn list<T>(object: &Json, name: &str, read: fn(&Json) -> Result<T, String>) -> Result<Vec<T>, String> {
    let items = object[name].as_array().ok_or_else(|| format!("{name} is not a list"))?;
    // Not collected, which would double the capacity again and again: the memory for a file's values is limited.
    let mut made = Vec::with_capacity(items.len());
    for item in items {
        made.push(read(item)?);
    }
    Ok(made)
}

fn build(value: &Json) -> Result<Build, String> {
    Ok(Build {
        version: text(value, "version")?,
        target: text(value, "target")?,
        profile: text(value, "profile")?,
        is_static: value["static"].as_bool().unwrap_or(false),
    })
}

fn machine(value: &Json) -> Machine {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    Machine {
        cpu_model: text("cpu_model"),
        cpus: value["cpus"].as_u64(),
        memory_bytes: value["memory_bytes"].as_u64(),
        kernel: text("kernel"),
        cgroup_memory_bytes: value["cgroup_memory_bytes"].as_u64(),
        cgroup_cpus: value["cgroup_cpus"].as_f64(),
    }
}

fn section(value: &Json) -> Result<Section, String> {
    let body = if value.get("entries").is_some() {
        Body::Entries {
            entries: list(value, "entries", entry)?,
        }
    } else if value.get("notes").is_some() {
        Body::List {
            notes: list(value, "notes", note)?,
        }
    } else {
        Body::Table {
            columns: list(value, "columns", column)?,
            rows: list(value, "rows", row)?,
        }
    };
    Ok(Section {
        key: text(value, "key")?,
        label: text(value, "label")?,
        for_programs: value["for_programs"].as_bool().unwrap_or(false),
        body,
    })
}

fn entry(value: &Json) -> Result<Entry, String> {
    Ok(Entry {
        key: text(value, "key")?,
        label: text(value, "label")?,
        value: figure(value)?,
        unit: optional_text(&value["unit"]),
    })
}

fn column(value: &Json) -> Result<Column, String> {
    Ok(Column {
        key: text(value, "key")?,
        label: text(value, "label")?,
        unit: optional_text(&value["unit"]),
    })
}

fn row(value: &Json) -> Result<Row, String> {
    Ok(Row {
        key: text(value, "key")?,
        label: text(value, "label")?,
        cells: list(value, "cells", figure)?,
    })
}

fn note(value: &Json) -> Result<Note, String> {
    Ok(Note {
        key: text(value, "code")?,
        text: text(value, "text")?.into_owned(),
    })
}

/// The value of a cell or entry; absent if it has none of the known members.
fn figure(value: &Json) -> Result<Value, String> {
    let decimals = || {
        value["decimals"]
            .as_u64()
            .and_then(|decimals| u8::try_from(decimals).ok())
    };
    Ok(match (&value["count"], value.get("value"), &value["text"]) {
        (Json::Number(count), ..) => Value::count(count.as_u64().ok_or("a count is not a whole number from 0 on")?),
        (_, Some(number), _) => {
            let decimals = decimals().ok_or("a value has no decimals")?;
            Value::number(number.as_f64().unwrap_or(f64::NAN), decimals)
        }
        (.., Json::String(text)) => Value::text(text.clone()),
        _ => Value::Absent {},
    })
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Cell, D::Error> {
        from.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl Visitor<'_> for CellVisitor {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a text, true, false or null")
    }

    fn visit_unit<E: Error>(self) -> Result<Cell, E> {
        Ok(ABSENT)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Cell, E> {
        Ok(Cell::Flag(flag))
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<Cell, E> {
        Ok(Cell::Count(count))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Cell, E> {
        Ok(Cell::Number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Cell, E> {
        Ok(Cell::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cell, E> {
        Ok(Cell::Text(text.to_owned().into()))
    }
}
