//! The fields that every adapter type takes. None of them changes what this benchmark measures; they are checked as the
//! reference checks them, and said to be without effect.

use serde_json::Value;

use super::fields::Fields;
use super::python::{repr, truthy, type_name};
use crate::report::warning::Warning;

pub const FIELDS: &[&str] = &["type", "affinity_tag", "shared", "persist_enabled", "eviction", "serde"];

const DEFAULT_AFFINITY: &str = "_default";
const EVICTION_POLICIES: [&str; 4] = ["LRU", "ARC", "IsolatedLRU", "noop"];

/// Comes before the type's own fields.
pub fn check_affinity(fields: Fields<'_>) -> Result<(), String> {
    match fields.0.get("affinity_tag") {
        None => Ok(()),
        Some(Value::String(tag)) if !tag.trim().is_empty() => Ok(()),
        Some(_) => Err("affinity_tag must be a non-empty string".to_owned()),
    }
}

/// Comes after the type's own fields.
pub fn check_wrappers(fields: Fields<'_>) -> Result<(), String> {
    if let Some(eviction) = fields.given("eviction") {
        check_eviction(eviction)?;
    }
    fields.given("serde").map_or(Ok(()), check_serde)
}

fn check_eviction(eviction: &Value) -> Result<(), String> {
    let Value::Object(members) = eviction else {
        return Err(format!("eviction must be a JSON object, got {}", type_name(eviction)));
    };
    let policy = members.get("eviction_policy").unwrap_or(&Value::Null);
    if !policy.as_str().is_some_and(|name| EVICTION_POLICIES.contains(&name)) {
        let known = "'LRU', 'ARC', 'IsolatedLRU', or 'noop'";
        return Err(format!(
            "eviction.eviction_policy must be {known}, got {}",
            repr(policy)
        ));
    }
    for name in ["trigger_watermark", "eviction_ratio"] {
        members.get(name).map_or(Ok(()), |value| check_float(name, value))?;
    }
    Ok(())
}

/// Takes what Python's `float` takes; its sentences alone would not say which field they are about.
fn check_float(name: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::Number(_) | Value::Bool(_) => Ok(()),
        Value::String(text) if text.trim().parse::<f64>().is_ok() => Ok(()),
        Value::String(_) => Err(format!(
            "eviction.{name}: could not convert string to float: {}",
            repr(value)
        )),
        _ => {
            let found = type_name(value);
            Err(format!(
                "eviction.{name}: float() argument must be a string or a real number, not '{found}'"
            ))
        }
    }
}

fn check_serde(serde: &Value) -> Result<(), String> {
    let Value::Object(members) = serde else {
        return Err(format!("'serde' must be a dict, got {}", type_name(serde)));
    };
    match members.get("type") {
        Some(Value::String(_)) => Ok(()),
        _ => Err("'serde' dict must include a 'type' field".to_owned()),
    }
}

/// What was set here and changes nothing.
pub fn without_effect(fields: Fields<'_>) -> Vec<Warning> {
    let differs = |name: &str, default: bool| fields.0.get(name).is_some_and(|value| truthy(value) != default);
    let tagged = fields.0.get("affinity_tag").is_some_and(|tag| tag != DEFAULT_AFFINITY);
    let set = [
        (
            tagged,
            "affinity_tag",
            "only one adapter is measured, so nothing is routed",
        ),
        (
            differs("shared", false),
            "shared",
            "this process alone uses the adapter",
        ),
        (
            differs("persist_enabled", true),
            "persist_enabled",
            "stored objects stay after the run in any case",
        ),
        (
            fields.given("eviction").is_some(),
            "eviction",
            "nothing is evicted while measuring",
        ),
        (
            fields.given("serde").is_some(),
            "serde",
            "objects are stored as they are, without conversion",
        ),
    ];
    let set = set.into_iter().filter(|(set, _, _)| *set);
    set.map(|(_, field, why)| Warning::FieldWithoutEffect {
        field: field.to_owned(),
        why: why.to_owned(),
    })
    .collect()
}
