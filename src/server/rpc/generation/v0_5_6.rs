//! 0.5.6: descriptors in MessagePack instead of pickle; operations also by name.

use super::{Facts, Operation, v0_5_5};

pub const FACTS: Facts = Facts {
    label: "0.5.6",
    patches: 6..=6,
    changed_numbers: &[
        (Operation::GetExperimental, Some(32)),
        (Operation::QueryPrefetchLookupHits, None),
    ],
    takes_names: true,
    dies_of_bad_operations: false,
    experimental: &["kv_event_stream"],
    lookup_honours_end: true,
    clear_takes_force: true,
    pickles_descriptors: false,
    ..v0_5_5::FACTS
};
