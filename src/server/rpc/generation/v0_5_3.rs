//! 0.5.3, 0.5.4: the second numbering of operations.

use super::{Facts, Operation, v0_5_0};

pub const FACTS: Facts = Facts {
    label: "0.5.3-0.5.4",
    patches: 3..=4,
    numbers: &[
        (Operation::RegisterKvCache, 1),
        (Operation::UnregisterKvCache, 2),
        (Operation::Store, 6),
        (Operation::Retrieve, 7),
        (Operation::Lookup, 8),
        (Operation::QueryPrefetchStatus, 9),
        (Operation::WaitPrefetchStatus, 10),
        (Operation::QueryPrefetchLookupHits, 11),
        (Operation::FreeLookupLocks, 12),
        (Operation::EndSession, 13),
        (Operation::RegisterEngineContext, 14),
        (Operation::UnregisterEngineContext, 15),
        (Operation::PrepareStore, 16),
        (Operation::CommitStore, 17),
        (Operation::PrepareRetrieve, 18),
        (Operation::CommitRetrieve, 19),
        (Operation::Clear, 20),
        (Operation::GetChunkSize, 21),
        (Operation::Ping, 22),
        (Operation::Noop, 24),
        (Operation::GetExperimental, 40),
    ],
    number_max: 40,
    skips_null_blocks: true,
    ..v0_5_0::FACTS
};
