//! The outcome of each key, derived from what LMCache reports about a task.

use std::collections::HashSet;
use std::path::Path;
use std::{fs, io};

use serde_json::Value;

use crate::l2::adapter::{Item, Outcome};
use crate::l2::keys::ObjectKey;

/// Far more files than any run has keys.
const FILES_MAX: usize = 16 << 20;

/// How a type accounts for a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreRule {
    /// Objects that exist are left alone, and each new one counts as this many bytes.
    CountsNew { unit_bytes: u64 },
    /// Files that exist are left alone, but LMCache counts bytes for those that another process wrote.
    KeepsFiles,
    /// Every object is written; LMCache's byte count is not used.
    WritesAll,
}

impl StoreRule {
    /// The rule of the type that a spec names, as LMCache 0.5.6 has it.
    pub fn of(spec: &Value, object_bytes: u64) -> StoreRule {
        let slot_bytes = spec.get("slot_bytes").and_then(Value::as_u64);
        match spec.get("type").and_then(Value::as_str) {
            Some("fs_native") => StoreRule::KeepsFiles,
            Some("fs" | "mock") => StoreRule::CountsNew {
                unit_bytes: object_bytes,
            },
            Some("raw_block" | "dax") => StoreRule::CountsNew {
                unit_bytes: slot_bytes.unwrap_or(object_bytes),
            },
            Some("fault_inject") => spec
                .get("inner")
                .map_or(StoreRule::WritesAll, |inner| StoreRule::of(inner, object_bytes)),
            _ => StoreRule::WritesAll,
        }
    }
}

/// Objects that lie below `base_path` before the run.
pub fn existing_objects(base_path: &Path) -> HashSet<ObjectKey> {
    // A missing directory holds none; the adapter creates it.
    let entries = fs::read_dir(base_path).into_iter().flatten().take(FILES_MAX);
    let key = |entry: io::Result<fs::DirEntry>| ObjectKey::from_file_name(entry.ok()?.file_name().to_str()?);
    entries.filter_map(key).collect()
}

/// One outcome per key of a store that LMCache calls a success. Which keys of a partly new task are the new ones is only
/// known of files; else the last ones are taken for them.
pub fn stored(rule: StoreRule, items: &[Item], bytes: u64, existing: &HashSet<ObjectKey>) -> Vec<Outcome> {
    let keys = items.len();
    let new = match rule {
        StoreRule::WritesAll => keys,
        StoreRule::KeepsFiles => {
            let outcome = |item: &Item| {
                if existing.contains(&item.key) {
                    Outcome::AlreadyThere
                } else {
                    Outcome::Stored
                }
            };
            return items.iter().map(outcome).collect();
        }
        StoreRule::CountsNew { unit_bytes } => {
            usize::try_from(bytes.div_ceil(unit_bytes.max(1))).map_or(keys, |new| new.min(keys))
        }
    };
    let outcome = |index| {
        if index < keys - new {
            Outcome::AlreadyThere
        } else {
            Outcome::Stored
        }
    };
    (0..keys).map(outcome).collect()
}

/// One outcome per key of a lookup or load: LMCache has one bit, so an object that is too short or could not be read is
/// missing too.
pub fn from_bits(keys: usize, bits: &[u8], set: &Outcome) -> Vec<Outcome> {
    let outcome = |index: usize| {
        let is_set = bits.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1);
        if is_set { set.clone() } else { Outcome::Missing }
    };
    (0..keys).map(outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2::keys::bench_key;
    use serde_json::json;

    fn count(outcomes: &[Outcome], outcome: &Outcome) -> usize {
        outcomes.iter().filter(|one| *one == outcome).count()
    }

    #[test]
    fn bytes_tell_how_many_objects_are_new() {
        let fs = StoreRule::of(&json!({"type": "fs"}), 4096);
        let dax = StoreRule::of(&json!({"type": "dax", "slot_bytes": 8192}), 4096);
        let wrapped = StoreRule::of(&json!({"type": "fault_inject", "inner": {"type": "mock"}}), 4096);
        let items: Vec<Item> = (0..3).map(|index| Item::new(bench_key(index), None)).collect();
        let none = HashSet::new();
        let cases = [
            (fs, 0, 0),
            (fs, 4096, 1),
            (fs, 3 * 4096, 3),
            (dax, 8192, 1),
            (wrapped, 4096, 1),
            (fs, u64::MAX, 3),
        ];
        for (rule, bytes, new) in cases {
            let outcomes = stored(rule, &items, bytes, &none);
            assert_eq!(count(&outcomes, &Outcome::Stored), new, "{rule:?} {bytes}");
            assert_eq!(count(&outcomes, &Outcome::AlreadyThere), 3 - new);
        }
        let resp = StoreRule::of(&json!({"type": "resp"}), 4096);
        assert_eq!(count(&stored(resp, &items, 0, &none), &Outcome::Stored), 3);
        let native = StoreRule::of(&json!({"type": "fs_native"}), 4096);
        let outcomes = stored(native, &items, 3 * 4096, &HashSet::from([bench_key(1)]));
        assert_eq!(outcomes, [Outcome::Stored, Outcome::AlreadyThere, Outcome::Stored]);
    }

    #[test]
    fn bits_are_read_lowest_first() {
        let outcomes = from_bits(10, &[0b1000_0001, 0b10], &Outcome::Loaded);
        let set: Vec<usize> = (0..10).filter(|index| outcomes[*index] == Outcome::Loaded).collect();
        assert_eq!(set, [0, 7, 9]);
        assert_eq!(count(&from_bits(9, &[255], &Outcome::Found), &Outcome::Missing), 1);
    }
}
