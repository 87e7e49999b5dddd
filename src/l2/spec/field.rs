//! Checks of single fields, as LMCache's config classes make them, with its messages. A type that words a message of its own
//! makes that check itself.

use serde_json::{Map, Value};

use super::python_value;

const BYTES_PER_GIB: f64 = (1u64 << 30) as f64;

/// What LMCache calls `GB`. What is beyond the range of u64 becomes its end.
pub fn gib_bytes(gib: f64) -> u64 {
    (gib * BYTES_PER_GIB) as u64
}

/// `None` for a field that is absent or null, where LMCache takes null for absent.
pub fn given<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

pub fn non_empty_string(fields: &Map<String, Value>, name: &str) -> Result<String, String> {
    match fields.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        _ => Err(format!("{name} must be a non-empty string")),
    }
}

/// Absent or null is none.
pub fn optional_string(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match given(fields, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} must be a string")),
    }
}

/// Null is refused.
pub fn string(fields: &Map<String, Value>, name: &str, default: &str) -> Result<String, String> {
    match fields.get(name) {
        None => Ok(default.to_owned()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("{name} must be a string")),
    }
}

/// Null is refused.
pub fn boolean(fields: &Map<String, Value>, name: &str, default: bool) -> Result<bool, String> {
    match fields.get(name) {
        None => Ok(default),
        Some(Value::Bool(on)) => Ok(*on),
        Some(_) => Err(format!("{name} must be a boolean")),
    }
}

/// Python's truth of whatever is given.
pub fn truth(fields: &Map<String, Value>, name: &str, default: bool) -> bool {
    fields.get(name).map_or(default, python_value::is_true)
}

/// An `int` above 0; `true` passes as 1, as in LMCache.
pub fn positive_int(fields: &Map<String, Value>, name: &str, default: Option<u64>) -> Result<u64, String> {
    let value = match fields.get(name) {
        None => default,
        Some(value) => python_value::positive_int(value),
    };
    value.ok_or_else(|| format!("{name} must be a positive integer"))
}

/// As [`positive_int`], but `true` is refused.
pub fn strict_positive_int(fields: &Map<String, Value>, name: &str, default: Option<u64>) -> Result<u64, String> {
    if fields.get(name).is_some_and(Value::is_boolean) {
        return Err(format!("{name} must be a positive integer"));
    }
    positive_int(fields, name, default)
}

/// Absent or null is none.
pub fn optional_positive_int(fields: &Map<String, Value>, name: &str) -> Result<Option<u64>, String> {
    given(fields, name)
        .map(|value| python_value::positive_int(value).ok_or_else(|| format!("{name} must be a positive integer")))
        .transpose()
}

pub fn positive_number(fields: &Map<String, Value>, name: &str) -> Result<f64, String> {
    let number = fields.get(name).and_then(python_value::number);
    number
        .filter(|number| *number > 0.0)
        .ok_or_else(|| format!("{name} must be a positive number"))
}

pub fn non_negative_number(fields: &Map<String, Value>, name: &str, default: f64) -> Result<f64, String> {
    let number = fields.get(name).map_or(Some(default), python_value::number);
    number
        .filter(|number| *number >= 0.0)
        .ok_or_else(|| format!("{name} must be a non-negative number"))
}

/// The most threads that one field may ask for.
const WORKERS_MAX: u64 = 1024;

/// A number of threads, which LMCache does not bound.
pub fn workers(count: u64, name: &str) -> Result<usize, String> {
    let bounded = usize::try_from(count).ok().filter(|_| count <= WORKERS_MAX);
    bounded.ok_or_else(|| format!("{name} is {count} but at most {WORKERS_MAX} threads are started"))
}
