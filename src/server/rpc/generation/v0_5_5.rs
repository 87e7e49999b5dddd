//! 0.5.5: the key has the number of readers.

use super::{Facts, Operation, v0_5_3};

pub const FACTS: Facts = Facts {
    label: "0.5.5",
    patches: 5..=5,
    changed_numbers: &[(Operation::GetExperimental, Some(32))],
    number_max: 33,
    key_counts_readers: true,
    locks_partial_chunks: false,
    pickles_device_offsets: true,
    tags_layer_groups: true,
    reads_kv_heads_first: false,
    answers_unknown_instances: true,
    counts_physical_slots: true,
    ..v0_5_3::FACTS
};
