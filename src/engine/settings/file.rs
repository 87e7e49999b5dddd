//! Config files: JSON objects in LMCache's format (docs/formats.md). Exported files contain no URL, API key or output setting.

use std::cell::Cell;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

use super::items::{GENERAL, Item, REQUIRED, workload_items};
use crate::cli::flag::{Flag, FlagSpec, Kind};
use crate::cli::nearest::nearest;
use crate::engine::args::{EngineArgs, WorkloadName};
use crate::engine::flags::TABLE;
use crate::engine::workload::WORKLOADS;
use crate::error::{Error, shortened};
use crate::python::json::{self, Bounded};
use crate::python::quote::quoted;
use crate::sys::whole_file;
use crate::url::literal_path_advice;

/// Bytes of a file, far above any config file.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Bytes of memory for the values of all known keys together.
const VALUES_BYTES_MAX: usize = 1 << 20;
/// Unknown keys noted by name; further ones are only counted.
const NOTES_MAX: usize = 20;
/// Characters of a key in a message.
const KEY_CHARS_MAX: usize = 64;
/// Characters of the message about a malformed file.
const WHAT_CHARS_MAX: usize = 600;
/// Flags that a file cannot set.
const NOT_IN_FILES: [&str; 4] = ["config", "export_config", "no_interactive", "help"];
/// Keys of LMCache without a meaning here, ignored without a note.
const WITHOUT_EFFECT: [&str; 3] = ["has_lmcache", "bench_target", "export_csv"];
/// The name of a value that is an object; such a key may hold it as it is.
const JSON: &str = "JSON";
/// Output flags that only this program has; exported files leave them out.
const OUTPUT_FLAGS: [&str; 4] = ["format", "output", "requests-jsonl", "save"];

/// Reads a config file: its settings, and notes about keys without effect. Errors name the file.
pub fn load(path: &Path) -> Result<(EngineArgs, Vec<String>), Error> {
    let complaint = |what: String| {
        let what = shortened(&what, WHAT_CHARS_MAX);
        Error::Settings(format!("--config {}: {what}", path.display()))
    };
    let text = whole_file::read(path, FILE_BYTES_MAX).map_err(|cause| {
        if cause.kind() == ErrorKind::FileTooLarge {
            return complaint(format!("{cause}, so it is no config file; name the right one"));
        }
        let advice = literal_path_advice(path).map_or_else(String::new, |advice| format!("; {advice}"));
        let is_out_of_reach = matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied);
        let verb = if is_out_of_reach { "open" } else { "read" };
        complaint(format!("could not {verb} it: {cause}{advice}"))
    })?;
    if [&b"\xff\xfe"[..], b"\xfe\xff"].contains(&&text[..text.len().min(2)]) {
        return Err(complaint("it is UTF-16; save it as UTF-8".into()));
    }
    given(json::without_mark(&text)).map_err(complaint)
}

fn given(text: &[u8]) -> Result<(EngineArgs, Vec<String>), String> {
    let keys = keys(text)?;
    let mut args = EngineArgs::default();
    for (key, value) in keys.known.iter().filter(|(_, value)| !value.is_null()) {
        let Some(row) = row(key) else { continue };
        for text in texts(value, &row.spec).map_err(|why| format!("{key}: {why}"))? {
            let set = args.set(row.spec.long, &text).unwrap_or(Ok(()));
            set.map_err(|why| format!("{key}: {why}"))?;
        }
    }
    let mut notes: Vec<String> = keys.unknown.iter().map(|key| without_effect(key)).collect();
    if keys.more > 0 {
        let more = keys.more;
        notes.push(format!(
            "and {more} more keys of the config file are unknown and have no effect"
        ));
    }
    Ok((args, notes))
}

/// The flag of a key, if a file can set it.
fn row(key: &str) -> Option<&'static Flag<EngineArgs>> {
    let flag = key.replace('_', "-");
    let row = TABLE.flags.iter().find(|row| row.spec.long == flag);
    row.filter(|_| !NOT_IN_FILES.contains(&key) && !key.contains('-'))
}

/// The known keys of a file with their values, and the names of unknown ones.
#[derive(Default)]
struct Keys {
    known: Map<String, Value>,
    /// The first of them.
    unknown: Vec<String>,
    /// How many there are besides.
    more: u64,
}

fn keys(text: &[u8]) -> Result<Keys, String> {
    // NaN is refused: read as null, it would silently become the default.
    let mut reader = serde_json::Deserializer::from_slice(text);
    let keys = reader
        .deserialize_any(KeysVisitor)
        .and_then(|keys| reader.end().map(|()| keys));
    keys.map_err(|cause| match cause.classify() {
        Category::Data if !text.trim_ascii_start().starts_with(b"{") => {
            "it holds no JSON object; give keys and values in braces".to_owned()
        }
        Category::Data => format!("a value in it is no setting: {cause}"),
        _ => format!("it is not JSON: {cause}"),
    })
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys and values in braces")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Keys, A::Error> {
        let mut keys = Keys::default();
        let left = Cell::new(VALUES_BYTES_MAX);
        while let Some(key) = object.next_key::<String>()? {
            if row(&key).is_some() {
                keys.known.insert(key, object.next_value_seed(Bounded(&left))?);
                continue;
            }
            object.next_value::<IgnoredAny>()?;
            if WITHOUT_EFFECT.contains(&key.as_str()) {
                continue;
            }
            if keys.unknown.len() < NOTES_MAX {
                keys.unknown.push(key);
            } else {
                keys.more += 1;
            }
        }
        Ok(keys)
    }
}

/// The texts that would be typed for a value; a list gives one for each element.
fn texts(value: &Value, spec: &FlagSpec) -> Result<Vec<String>, String> {
    match (value, spec.kind) {
        (Value::Object(_), _) if spec.value_name == JSON => Ok(vec![value.to_string()]),
        (Value::Bool(on), Kind::Switch) => Ok(vec![if *on { "on" } else { "off" }.to_string()]),
        (_, Kind::Switch) => Err(format!("{value} is neither true nor false")),
        (Value::String(text), _) => Ok(vec![text.clone()]),
        (Value::Number(number), _) => Ok(vec![number.to_string()]),
        (Value::Array(list), _) if list.iter().all(Value::is_string) => {
            Ok(list.iter().filter_map(Value::as_str).map(str::to_string).collect())
        }
        _ => Err(format!("{value} is neither a number nor a text")),
    }
}

/// The note about an unknown key.
fn without_effect(key: &str) -> String {
    let keys: Vec<String> = TABLE
        .flags
        .iter()
        .map(|row| row.spec.long.replace('-', "_"))
        .filter(|key| !NOT_IN_FILES.contains(&key.as_str()))
        .collect();
    let advice = match nearest(key, keys.iter().map(String::as_str)) {
        Some(near) => format!("; did you mean {near}?"),
        None => String::new(),
    };
    format!(
        "the config file's key {} is unknown and has no effect{advice}",
        quoted(&shortened(key, KEY_CHARS_MAX))
    )
}

/// Clears the settings of workloads other than `name`, as LMCache does with a file.
pub fn clear_other_workloads(args: &mut EngineArgs, name: WorkloadName) {
    let others = WORKLOADS.iter().filter(|workload| workload.name() != name);
    for flag in others.flat_map(|workload| workload.flags) {
        args.clear(&flag.row.spec.long.replace('-', "_"));
    }
}

/// The settings that every exported file has, in LMCache's order.
pub fn exported_items(args: &EngineArgs) -> Vec<Item> {
    // In LMCache's order: what has no default comes last.
    let (required, others): (Vec<Item>, Vec<Item>) = workload_items(args.workload)
        .into_iter()
        .partition(|item| item.required);
    let of = |list: &[Item], flag: &str| list.iter().find(|item| item.flag == flag).copied();
    let first = [
        of(GENERAL, "model"),
        of(REQUIRED, "workload"),
        of(GENERAL, "kv-cache-volume"),
        of(REQUIRED, "tokens-per-gb-kvcache"),
        of(GENERAL, "ignore-eos"),
        of(GENERAL, "no-warmup"),
    ];
    first.into_iter().flatten().chain(others).chain(required).collect()
}

/// Keys that LMCache does not write, in the order in which they are added if not the default.
fn added_keys() -> impl Iterator<Item = String> {
    let specs = TABLE.specs().into_iter();
    let ours = specs.filter(|spec| !spec.group.of_reference && !OUTPUT_FLAGS.contains(&spec.long));
    std::iter::once("seed")
        .chain(ours.map(|spec| spec.long))
        .map(|flag| flag.replace('-', "_"))
}

/// The text of a config file: `items` in their order, then the keys of this program that are not the default.
pub fn render(args: &EngineArgs, items: &[Item]) -> String {
    let mut fields = Map::new();
    for item in items {
        if let Some(value) = item.value_or_default(args) {
            fields.insert(item.key(), value);
        }
    }
    let presets = TABLE.presets();
    for key in added_keys() {
        if let Some(value) = args.value(&key)
            && presets.value(&key).as_ref() != Some(&value)
            && value != Value::Bool(false)
        {
            fields.insert(key, value);
        }
    }
    let text = serde_json::to_string_pretty(&Value::Object(fields)).expect("values in memory are JSON");
    json::ascii(&text).into_owned() + "\n"
}

pub fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|cause| {
        let advice = literal_path_advice(path).unwrap_or_else(|| "name a file in a writable folder".to_owned());
        let path = path.display();
        Error::Environment(format!("could not write the config file {path}: {cause}; {advice}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_beyond_ascii_are_escaped() {
        assert_eq!(
            json::ascii("\"m\u{f6}del \u{1f600}\""),
            "\"m\\u00f6del \\ud83d\\ude00\""
        );
    }

    #[test]
    fn unknown_keys_are_noted_with_the_nearest_known() {
        let fields = serde_json::json!({"workloud": "x", "has_lmcache": true, "config": "y"});
        let (args, notes) = given(fields.to_string().as_bytes()).unwrap();
        assert_eq!(args, EngineArgs::default());
        assert!(
            notes[0].contains("'workloud' is unknown") && notes[0].contains("did you mean workload?"),
            "{notes:?}"
        );
        assert_eq!(notes.len(), 2);
    }

    #[test]
    fn wrong_types_name_their_key() {
        for (fields, expected) in [
            (serde_json::json!({"mrc_qps": []}), ""),
            (
                serde_json::json!({"mrc_qps": {}}),
                "mrc_qps: {} is neither a number nor a text",
            ),
            (
                serde_json::json!({"no_warmup": 1}),
                "no_warmup: 1 is neither true nor false",
            ),
            (
                serde_json::json!({"rp_num_requests": 2.5}),
                "rp_num_requests: invalid int value: '2.5'",
            ),
            (serde_json::json!({"workload": "x"}), "workload: invalid choice: 'x'"),
        ] {
            let outcome = given(fields.to_string().as_bytes());
            match expected {
                "" => assert!(outcome.is_ok()),
                expected => assert!(outcome.as_ref().is_err_and(|why| why.contains(expected)), "{outcome:?}"),
            }
        }
    }
    #[test]
    fn many_unknown_keys_are_counted_and_long_ones_cut() {
        let keys: Vec<String> = (0..90_000).map(|key| format!("\"unknown_{key}\":[[{key}]]")).collect();
        let text = format!(
            "{{\"{}\":0,{},\"model\":\"a\",\"model\":\"m\"}}",
            "k".repeat(90),
            keys.join(",")
        );
        let (args, notes) = given(text.as_bytes()).unwrap();
        assert_eq!(args.model.as_deref(), Some("m"));
        assert_eq!(notes.len(), NOTES_MAX + 1);
        assert!(
            notes[0].contains(&format!("'{}...' is unknown", "k".repeat(64))),
            "{notes:?}"
        );
        assert!(notes[NOTES_MAX].starts_with("and 89981 more keys "), "{notes:?}");
    }

    #[test]
    fn what_is_no_object_or_too_much_is_refused() {
        let many = format!("{{\"model\":[{}0]}}", "0,".repeat(VALUES_BYTES_MAX / 64));
        for (text, why) in [
            ("[1]", "it holds no JSON object"),
            (" 5", "it holds no JSON object"),
            ("", "it is not JSON"),
            ("{\"model\":NaN}", "it is not JSON"),
            ("{} {}", "it is not JSON"),
            (&many, "it has too many parts"),
        ] {
            let refused = given(text.as_bytes()).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
