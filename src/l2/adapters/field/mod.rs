//! Checks of single fields as in LMCache's config classes, with its messages. Checks with a message of their own are in the
//! type's module.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};

pub mod common;
pub mod secret;

use crate::python::{quote, value};

/// The JSON object of a spec, or of a part of one.
pub type Fields = Map<String, Value>;

const BYTES_PER_GIB: f64 = (1u64 << 30) as f64;

/// Bytes of LMCache's `GB`, saturating.
pub fn gib_bytes(gib: f64) -> u64 {
    (gib * BYTES_PER_GIB) as u64
}

/// The field, or `None` when it is absent or null.
pub fn given<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

pub fn non_empty_string(fields: &Fields, name: &str) -> Result<String, String> {
    match fields.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        _ => Err(format!("{name} must be a non-empty string")),
    }
}

pub fn non_empty_string_or(fields: &Fields, name: &str, default: &str) -> Result<String, String> {
    if fields.contains_key(name) {
        non_empty_string(fields, name)
    } else {
        Ok(default.to_owned())
    }
}

/// Absent or null is none.
pub fn optional_string(fields: &Fields, name: &str) -> Result<Option<String>, String> {
    match given(fields, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} must be a string")),
    }
}

/// Null is refused.
pub fn string(fields: &Fields, name: &str, default: &str) -> Result<String, String> {
    match fields.get(name) {
        None => Ok(default.to_owned()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("{name} must be a string")),
    }
}

/// Null is refused.
pub fn boolean(fields: &Fields, name: &str, default: bool) -> Result<bool, String> {
    match fields.get(name) {
        None => Ok(default),
        Some(Value::Bool(on)) => Ok(*on),
        Some(_) => Err(format!("{name} must be a boolean")),
    }
}

/// Python's truth value of the field.
pub fn truth(fields: &Fields, name: &str, default: bool) -> bool {
    fields.get(name).map_or(default, value::is_true)
}

/// An `int` above 0; `true` passes as 1, as in LMCache.
pub fn positive_int(fields: &Fields, name: &str, default: Option<u64>) -> Result<u64, String> {
    let value = match fields.get(name) {
        None => default,
        Some(value) => value::positive_int(value),
    };
    value.ok_or_else(|| format!("{name} must be a positive integer"))
}

/// As [`positive_int`], but `true` is refused.
pub fn strict_positive_int(fields: &Fields, name: &str, default: Option<u64>) -> Result<u64, String> {
    if fields.get(name).is_some_and(Value::is_boolean) {
        return Err(format!("{name} must be a positive integer"));
    }
    positive_int(fields, name, default)
}

/// Absent or null is none.
pub fn optional_positive_int(fields: &Fields, name: &str) -> Result<Option<u64>, String> {
    given(fields, name)
        .map(|value| value::positive_int(value).ok_or_else(|| format!("{name} must be a positive integer")))
        .transpose()
}

/// An `int` from 0 on; `true` passes as 1.
pub fn non_negative_int(fields: &Fields, name: &str, default: u64) -> Result<u64, String> {
    let value = fields.get(name).map_or(Some(i128::from(default)), value::as_int);
    value
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| format!("{name} must be a non-negative integer"))
}

/// An `int` between two ends, both allowed; `text` is how LMCache's message writes them.
pub fn int_in(
    fields: &Fields,
    name: &str,
    default: i128,
    range: RangeInclusive<i128>,
    text: &str,
) -> Result<i128, String> {
    let value = fields.get(name).map_or(Some(default), value::as_int);
    value
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("{name} must be in range {text}"))
}

/// An object; absent is an empty one, null is refused.
pub fn dict<'a>(fields: &'a Fields, name: &str) -> Result<Option<&'a Fields>, String> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::Object(dict)) => Ok(Some(dict)),
        Some(_) => Err(format!("{name} must be a dict")),
    }
}

/// Worker counts by lane. As in LMCache all are checked to be ints before any range is checked.
pub fn per_op_workers(fields: &Fields) -> Result<Vec<(String, i128)>, String> {
    let lanes = match given(fields, "per_op_workers") {
        None => return Ok(Vec::new()),
        Some(Value::Object(lanes)) => lanes,
        Some(_) => return Err("per_op_workers must be a dict".to_owned()),
    };
    let count = |(lane, count): (&String, &Value)| {
        let number = value::as_int(count).filter(|_| !count.is_boolean());
        let number = number.ok_or_else(|| {
            let (lane, type_name) = (quote::repr(lane), value::type_name(count));
            format!("per_op_workers[{lane}] must be an integer, got {type_name}")
        })?;
        Ok((lane.clone(), number))
    };
    lanes.iter().map(count).collect()
}

/// The range check of the counts, which LMCache makes after all other fields.
pub fn check_per_op_workers(lanes: &[(String, i128)]) -> Result<(), String> {
    match lanes.iter().find(|(_, count)| *count <= 0) {
        Some((lane, count)) => Err(format!(
            "per_op_workers[{}] must be a positive integer, got {count}",
            quote::repr(lane)
        )),
        None => Ok(()),
    }
}

pub fn positive_number(fields: &Fields, name: &str) -> Result<f64, String> {
    positive_number_or(fields, name, None)
}

pub fn positive_number_or(fields: &Fields, name: &str, default: Option<f64>) -> Result<f64, String> {
    let number = fields.get(name).map_or(default, value::number);
    number
        .filter(|number| *number > 0.0)
        .ok_or_else(|| format!("{name} must be a positive number"))
}

pub fn non_negative_number(fields: &Fields, name: &str, default: f64) -> Result<f64, String> {
    let number = fields.get(name).map_or(Some(default), value::number);
    number
        .filter(|number| *number >= 0.0)
        .ok_or_else(|| format!("{name} must be a non-negative number"))
}

/// As [`non_negative_number`], but `true` is refused.
pub fn strict_non_negative_number(fields: &Fields, name: &str, default: f64) -> Result<f64, String> {
    if fields.get(name).is_some_and(Value::is_boolean) {
        return Err(format!("{name} must be a non-negative number"));
    }
    non_negative_number(fields, name, default)
}

/// Seconds above 0, for fields that LMCache does not have.
pub fn seconds(fields: &Fields, name: &str, default_s: f64) -> Result<Duration, String> {
    match fields.get(name).map_or(Some(default_s), value::number) {
        Some(seconds) if seconds > 0.0 => Ok(duration(seconds)),
        _ => Err(format!("{name} must be a positive number")),
    }
}

/// At most a year, so that deadlines stay in the clock's range.
pub fn duration(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(1e-3, 366.0 * 86_400.0))
}

/// The most threads that one field may ask for.
const WORKERS_MAX: u64 = 1024;

/// A number of threads, which LMCache does not bound.
pub fn workers(count: u64, name: &str) -> Result<usize, String> {
    let bounded = usize::try_from(count).ok().filter(|_| count <= WORKERS_MAX);
    bounded.ok_or_else(|| format!("{name} is {count} but at most {WORKERS_MAX} threads are started"))
}
