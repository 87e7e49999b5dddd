//! Fields that a type takes and that change nothing in this program, with the reason. Checked like all others.

use serde_json::{Map, Value};

use crate::l2::warning::{SpecDoubt, Warning};

/// (type, field, why).
const IDLE: [(&str, &str, &str); 11] = [
    (
        "dax",
        "hotplug_enabled",
        "devices come and go only over LMCache's HTTP API",
    ),
    ("dax", "num_lookup_workers", LOOKUP),
    (
        "fs_native",
        "max_capacity_gb",
        "it only counts what is stored, and no eviction controller acts on it",
    ),
    (
        "raw_block",
        "enable_zero_copy",
        "aligned buffers always go to the device without a copy",
    ),
    ("raw_block", "fdp_data_placement_policy", PASSTHROUGH),
    ("raw_block", "fdp_placement_ids", PASSTHROUGH),
    ("raw_block", "fdp_slot_reuse_policy", PASSTHROUGH),
    ("raw_block", "max_data_transfer_size", PASSTHROUGH),
    ("raw_block", "num_lookup_workers", LOOKUP),
    ("raw_block", "use_iouring", LEGACY),
    ("raw_block", "use_uring", LEGACY),
];
const LOOKUP: &str = "a lookup reads a table in memory, on the caller's thread";
const PASSTHROUGH: &str = "it is about NVMe passthrough (use_uring_cmd)";
const LEGACY: &str = "it is an old name and io_engine says the same";

pub fn warnings(type_name: &str, fields: &Map<String, Value>) -> Vec<Warning> {
    // The old names do have an effect where io_engine is silent.
    let speaks = |field: &str| {
        fields
            .get(field)
            .is_some_and(|value| !matches!(value.as_str(), Some("")) && !value.is_null())
    };
    let given = IDLE
        .iter()
        .filter(|(owner, field, why)| *owner == type_name && speaks(field) && (*why != LEGACY || speaks("io_engine")));
    given
        .map(|(_, field, why)| {
            Warning::Spec(SpecDoubt::FieldWithoutEffect {
                field: (*field).to_owned(),
                why: (*why).to_owned(),
            })
        })
        .collect()
}
