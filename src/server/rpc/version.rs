//! What differs between the releases of the cache server: operation ids, key fields, descriptors, behaviour.

/// Releases with the same protocol. Later ones compare as greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Generation {
    /// 0.5.0, 0.5.1, 0.5.2: the first numbering of operations.
    V0_5_0,
    /// 0.5.3, 0.5.4: the second numbering.
    V0_5_3,
    /// 0.5.5: the key has the number of readers.
    V0_5_5,
    /// 0.5.6: descriptors in MessagePack instead of pickle; operations also by name.
    V0_5_6,
}

/// The operations that this program uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    RegisterKvCache,
    UnregisterKvCache,
    Store,
    Retrieve,
    Lookup,
    QueryPrefetchStatus,
    WaitPrefetchStatus,
    FreeLookupLocks,
    EndSession,
    RegisterEngineContext,
    UnregisterEngineContext,
    PrepareStore,
    CommitStore,
    PrepareRetrieve,
    CommitRetrieve,
    Clear,
    GetChunkSize,
    Ping,
    Noop,
    GetExperimental,
    /// Removed in 0.5.6; used only to detect that release.
    QueryPrefetchLookupHits,
}

/// Operation, its name in the protocol, its id in 0.5.0 to 0.5.2, its id since 0.5.3. An id of 0 means that there is none.
const OPERATIONS: [(Operation, &str, u8, u8); 21] = [
    (Operation::RegisterKvCache, "REGISTER_KV_CACHE", 1, 1),
    (Operation::UnregisterKvCache, "UNREGISTER_KV_CACHE", 2, 2),
    (Operation::Store, "STORE", 3, 6),
    (Operation::Retrieve, "RETRIEVE", 4, 7),
    (Operation::Lookup, "LOOKUP", 5, 8),
    (Operation::QueryPrefetchStatus, "QUERY_PREFETCH_STATUS", 6, 9),
    (Operation::WaitPrefetchStatus, "WAIT_PREFETCH_STATUS", 7, 10),
    (Operation::QueryPrefetchLookupHits, "QUERY_PREFETCH_LOOKUP_HITS", 8, 11),
    (Operation::FreeLookupLocks, "FREE_LOOKUP_LOCKS", 9, 12),
    (Operation::EndSession, "END_SESSION", 10, 13),
    (
        Operation::RegisterEngineContext,
        "REGISTER_KV_CACHE_ENGINE_DRIVEN_CONTEXT",
        11,
        14,
    ),
    (
        Operation::UnregisterEngineContext,
        "UNREGISTER_KV_CACHE_ENGINE_DRIVEN_CONTEXT",
        12,
        15,
    ),
    (Operation::PrepareStore, "PREPARE_STORE", 13, 16),
    (Operation::CommitStore, "COMMIT_STORE", 14, 17),
    (Operation::PrepareRetrieve, "PREPARE_RETRIEVE", 15, 18),
    (Operation::CommitRetrieve, "COMMIT_RETRIEVE", 16, 19),
    (Operation::Clear, "CLEAR", 17, 20),
    (Operation::GetChunkSize, "GET_CHUNK_SIZE", 18, 21),
    (Operation::Ping, "PING", 19, 22),
    (Operation::Noop, "NOOP", 21, 24),
    (Operation::GetExperimental, "GET_EXPERIMENTAL", 0, 32),
];

impl Operation {
    pub fn name(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> &'static (Operation, &'static str, u8, u8) {
        let row = OPERATIONS.iter().find(|row| row.0 == self);
        row.expect("every operation has a row")
    }
}

impl Generation {
    pub const ALL: [Generation; 4] = [
        Generation::V0_5_0,
        Generation::V0_5_3,
        Generation::V0_5_5,
        Generation::V0_5_6,
    ];

    /// The releases, for reports.
    pub fn label(self) -> &'static str {
        match self {
            Generation::V0_5_0 => "0.5.0-0.5.2",
            Generation::V0_5_3 => "0.5.3-0.5.4",
            Generation::V0_5_5 => "0.5.5",
            Generation::V0_5_6 => "0.5.6",
        }
    }

    /// The generation of a release such as `0.5.4`, also with a suffix as in `0.5.6-g3e11e108`.
    pub fn of_release(release: &str) -> Option<Generation> {
        let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
        match digits(release.strip_prefix("0.5.")?).parse() {
            Ok(0..=2) => Some(Generation::V0_5_0),
            Ok(3..=4) => Some(Generation::V0_5_3),
            Ok(5) => Some(Generation::V0_5_5),
            Ok(6) => Some(Generation::V0_5_6),
            Ok(7..=u32::MAX) | Err(_) => None,
        }
    }

    /// The operation's id, or `None` if the generation does not have it. The id of `GET_EXPERIMENTAL` changed in 0.5.5.
    pub fn id(self, operation: Operation) -> Option<u8> {
        let (_, _, first, second) = *operation.row();
        let id = match self {
            Generation::V0_5_0 => first,
            Generation::V0_5_3 if operation == Operation::GetExperimental => 40,
            Generation::V0_5_6 if operation == Operation::QueryPrefetchLookupHits => 0,
            _ => second,
        };
        (id != 0).then_some(id)
    }

    /// The operation with this id.
    pub fn operation(self, id: u64) -> Option<Operation> {
        let mut operations = OPERATIONS.iter().map(|row| row.0);
        operations.find(|operation| self.id(*operation).map(u64::from) == Some(id))
    }

    /// The largest id in the server's table. Before 0.5.6 a larger one ends its request thread.
    pub fn id_max(self) -> u64 {
        match self {
            Generation::V0_5_0 => 36,
            Generation::V0_5_3 => 40,
            Generation::V0_5_5 | Generation::V0_5_6 => 33,
        }
    }

    /// Whether a key has the number of readers. Earlier servers use `tp_size`.
    pub fn key_counts_readers(self) -> bool {
        self >= Generation::V0_5_5
    }

    /// Whether descriptors of KV memory are pickled objects.
    pub fn pickles_descriptors(self) -> bool {
        self < Generation::V0_5_6
    }

    /// Whether `LOOKUP` stops at the key's `end`. Earlier servers look up all tokens of the key.
    pub fn lookup_honours_end(self) -> bool {
        self >= Generation::V0_5_6
    }

    /// Whether a server without an accelerator takes the third dimension of a KV tensor for heads and the fourth for tokens,
    /// whatever the layout hint says.
    pub fn reads_kv_heads_first(self) -> bool {
        self < Generation::V0_5_5
    }

    /// Whether `STORE` leaves out a chunk all of whose blocks are block 0. 0.5.3 does not, but a client cannot distinguish it
    /// from 0.5.4.
    pub fn skips_null_blocks(self) -> bool {
        self >= Generation::V0_5_3
    }

    /// Whether the server answers a transfer for an instance that is not registered.
    pub fn answers_unknown_instances(self) -> bool {
        self >= Generation::V0_5_5
    }

    /// Whether an operation that the server cannot decode ends its request thread.
    pub fn dies_of_bad_operations(self) -> bool {
        self < Generation::V0_5_6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_map_to_operations_and_back() {
        for generation in Generation::ALL {
            for row in OPERATIONS {
                let Some(id) = generation.id(row.0) else { continue };
                assert_eq!(generation.operation(u64::from(id)), Some(row.0), "{generation:?} {id}");
                assert!(u64::from(id) <= generation.id_max());
                assert!(!row.0.name().is_empty());
            }
        }
        assert_eq!(Generation::V0_5_0.id(Operation::Store), Some(3));
        assert_eq!(Generation::V0_5_6.id(Operation::Store), Some(6));
        assert_eq!(Generation::V0_5_0.id(Operation::GetExperimental), None);
        assert_eq!(Generation::V0_5_3.id(Operation::GetExperimental), Some(40));
        assert_eq!(Generation::V0_5_6.id(Operation::QueryPrefetchLookupHits), None);
    }

    #[test]
    fn releases_map_to_generations() {
        assert_eq!(Generation::of_release("0.5.2"), Some(Generation::V0_5_0));
        assert_eq!(Generation::of_release("0.5.6-g3e11e108"), Some(Generation::V0_5_6));
        for other in ["0.5.7", "0.4.9", "0.5.", "", "0.6.0"] {
            assert_eq!(Generation::of_release(other), None, "{other}");
        }
    }
}
