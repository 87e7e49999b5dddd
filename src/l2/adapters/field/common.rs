//! The fields of every adapter type, and warnings about fields. The messages are LMCache's, without the prefix that names
//! the spec.

use std::path::Path;

use serde_json::Value;

use super::{Fields, given};
use crate::cli::nearest::distance;
use crate::error::shortened;
use crate::l2::warning::{FIELD_CHARS_MAX, SpecWarning, Warning};
use crate::python::value::{number, repr, type_name};
use crate::url::literal_path_note;

const FIELDS: [&str; 6] = ["type", "affinity_tag", "shared", "persist_enabled", "eviction", "serde"];
/// Unknown fields and unexpanded paths that are named; the others are counted.
const NAMED_MAX: usize = 20;
/// Longer names are not typing errors, and comparing them would take time.
const TYPED_BYTES_MAX: usize = 128;
const POLICIES: [&str; 4] = ["LRU", "ARC", "IsolatedLRU", "noop"];

pub fn check_affinity_tag(fields: &Fields) -> Result<(), String> {
    let blank = |tag: &Value| tag.as_str().is_none_or(|tag| tag.trim().is_empty());
    match fields.get("affinity_tag") {
        Some(tag) if blank(tag) => Err("affinity_tag must be a non-empty string".to_owned()),
        _ => Ok(()),
    }
}

pub fn check_eviction(fields: &Fields) -> Result<(), String> {
    let Some(eviction) = given(fields, "eviction") else {
        return Ok(());
    };
    let Some(eviction) = eviction.as_object() else {
        return Err(format!("'eviction' must be a dict, got {}", type_name(eviction)));
    };
    let policy = eviction.get("eviction_policy").unwrap_or(&Value::Null);
    if !policy.as_str().is_some_and(|policy| POLICIES.contains(&policy)) {
        return Err(format!(
            "eviction.eviction_policy must be 'LRU', 'ARC', 'IsolatedLRU', or 'noop', got {}",
            repr(policy)
        ));
    }
    for name in ["trigger_watermark", "eviction_ratio"] {
        // Python's float() reads text too.
        let reads = |value: &Value| {
            number(value).is_some() || value.as_str().is_some_and(|text| text.trim().parse::<f64>().is_ok())
        };
        if !eviction.get(name).is_none_or(reads) {
            return Err(format!("eviction.{name} must be a number"));
        }
    }
    Ok(())
}

pub fn check_serde(fields: &Fields) -> Result<(), String> {
    match given(fields, "serde") {
        None => Ok(()),
        Some(Value::Object(serde)) if serde.get("type").is_some_and(Value::is_string) => Ok(()),
        Some(Value::Object(_)) => Err("'serde' dict must include a 'type' field".to_owned()),
        Some(other) => Err(format!("'serde' must be a dict, got {}", type_name(other))),
    }
}

/// Warns about common fields that are valid but change nothing in the benchmark.
pub fn fields_without_effect(fields: &Fields) -> Vec<Warning> {
    let reasons = [
        (
            "affinity_tag",
            "one adapter alone is measured, so nothing chooses between adapters",
        ),
        ("shared", "one process alone uses the adapter"),
        (
            "persist_enabled",
            "it is about a server that shuts down, not about a benchmark",
        ),
        ("eviction", "the adapter is measured without an eviction controller"),
        (
            "serde",
            "objects are stored as they are, without a serializer, unless --apply-serde is given",
        ),
    ];
    let given = reasons.iter().filter(|(field, _)| given(fields, field).is_some());
    given.map(|(field, why)| without_effect(field, why)).collect()
}

pub fn without_effect(field: &str, why: &str) -> Warning {
    Warning::Spec(SpecWarning::FieldWithoutEffect {
        field: field.to_owned(),
        why: why.to_owned(),
    })
}

/// Warns about paths at any depth of a spec with a prefix such as `~` that nothing expands. The parser bounds the depth.
pub fn literal_paths(value: &Value, warnings: &mut Vec<Warning>) {
    let mut notes = Vec::new();
    let more = note_paths(value, &mut notes);
    if more > 0 {
        notes.push(format!(
            "and {more} more paths in the adapter JSON are taken as they stand"
        ));
    }
    warnings.extend(notes.into_iter().map(|note| Warning::LiteralPath { note }));
}

/// Adds the first notes; returns how many more there are.
fn note_paths(value: &Value, notes: &mut Vec<String>) -> u64 {
    match value {
        Value::Object(fields) => {
            let mut more = 0;
            for (name, value) in fields {
                let is_path = name.ends_with("_path") || name == "tls_ca_file";
                let path = value.as_str().filter(|_| is_path).map(Path::new);
                let shown = || format!("{} in the adapter JSON:", shortened(name, FIELD_CHARS_MAX));
                match path.and_then(|path| literal_path_note(&shown(), path)) {
                    Some(note) if notes.len() < NAMED_MAX => notes.push(note),
                    Some(_) => more += 1,
                    None => {}
                }
                more += note_paths(value, notes);
            }
            more
        }
        Value::Array(items) => items.iter().map(|item| note_paths(item, notes)).sum(),
        _ => 0,
    }
}

/// Warns about fields that are neither among the type's `own` nor common.
pub fn unknown(fields: &Fields, own: &[&str]) -> Vec<Warning> {
    let known: Vec<&str> = own.iter().chain(&FIELDS).copied().collect();
    let warn = |field: &String| {
        Warning::Spec(SpecWarning::UnknownField {
            field: field.clone(),
            nearest: nearest(field, &known),
        })
    };
    let mut unknown = fields.keys().filter(|field| !known.contains(&field.as_str()));
    let mut warnings: Vec<Warning> = unknown.by_ref().take(NAMED_MAX).map(warn).collect();
    let count = unknown.count() as u64;
    warnings.extend((count > 0).then_some(Warning::Spec(SpecWarning::MoreUnknownFields { count })));
    warnings
}

/// The nearest known name, if at most half of it differs.
fn nearest(field: &str, known: &[&str]) -> Option<String> {
    if field.len() > TYPED_BYTES_MAX {
        return None;
    }
    let (distance, name) = known.iter().map(|name| (distance(field, name), name)).min()?;
    (distance * 2 <= name.chars().count()).then(|| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::warning::Warning as _;

    #[test]
    fn paths_that_nothing_expands_are_told() {
        let spec = serde_json::json!({"type": "fs", "base_path": "~/kv", "devices": [{"device_path": "file:///dev/x"}],
            "model": "~", "inner": {"base_path": "/kv/~"}});
        let mut warnings = Vec::new();
        literal_paths(&spec, &mut warnings);
        let texts: Vec<String> = warnings.iter().map(Warning::text).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].starts_with("base_path in the adapter JSON: ~/kv ") && texts[0].ends_with("write $HOME/kv"));
        assert!(texts[1].ends_with("write /dev/x"), "{texts:?}");
    }

    #[test]
    fn many_fields_and_paths_are_counted() {
        let path = |place: usize| serde_json::json!({"base_path": format!("~/{place}")});
        let paths: Vec<Value> = (0..25).map(path).collect();
        let mut warnings = Vec::new();
        literal_paths(&Value::Array(paths), &mut warnings);
        assert_eq!(warnings.len(), NAMED_MAX + 1);
        assert!(
            warnings[NAMED_MAX].text().starts_with("and 5 more paths "),
            "{warnings:?}"
        );
        let mut fields: Fields = (0..40_000).map(|field| (format!("x{field}"), Value::Null)).collect();
        fields.insert("base_path".into(), Value::Null);
        let warnings = unknown(&fields, &["base_path"]);
        assert_eq!(warnings.len(), NAMED_MAX + 1);
        let last = &warnings[NAMED_MAX];
        assert_eq!(
            (last.code(), &last.text()[..27]),
            ("more-unknown-fields", "and 39980 more fields of it")
        );
        fields.clear();
        fields.insert("y".repeat(100_000), Value::Null);
        assert!(unknown(&fields, &["base_path"])[0].text().len() < 300);
    }

    #[test]
    fn only_near_names_are_proposed() {
        assert_eq!(
            nearest("base_pth", &["use_odirect", "base_path"]).as_deref(),
            Some("base_path")
        );
        assert_eq!(nearest("colour", &["use_odirect", "base_path"]), None);
    }
}
