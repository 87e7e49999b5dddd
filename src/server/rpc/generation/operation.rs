//! The operations of the protocol that this program uses, by the names that LMCache gives them.

/// One request of the protocol. What number it has on the wire depends on the generation.
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
    /// Since 0.5.7, and only by name. The client does not send it, because it fixes the chunk size for good.
    NegotiateChunkSize,
}

const NAMES: [(Operation, &str); 22] = [
    (Operation::RegisterKvCache, "REGISTER_KV_CACHE"),
    (Operation::UnregisterKvCache, "UNREGISTER_KV_CACHE"),
    (Operation::Store, "STORE"),
    (Operation::Retrieve, "RETRIEVE"),
    (Operation::Lookup, "LOOKUP"),
    (Operation::QueryPrefetchStatus, "QUERY_PREFETCH_STATUS"),
    (Operation::WaitPrefetchStatus, "WAIT_PREFETCH_STATUS"),
    (Operation::QueryPrefetchLookupHits, "QUERY_PREFETCH_LOOKUP_HITS"),
    (Operation::FreeLookupLocks, "FREE_LOOKUP_LOCKS"),
    (Operation::EndSession, "END_SESSION"),
    (
        Operation::RegisterEngineContext,
        "REGISTER_KV_CACHE_ENGINE_DRIVEN_CONTEXT",
    ),
    (
        Operation::UnregisterEngineContext,
        "UNREGISTER_KV_CACHE_ENGINE_DRIVEN_CONTEXT",
    ),
    (Operation::PrepareStore, "PREPARE_STORE"),
    (Operation::CommitStore, "COMMIT_STORE"),
    (Operation::PrepareRetrieve, "PREPARE_RETRIEVE"),
    (Operation::CommitRetrieve, "COMMIT_RETRIEVE"),
    (Operation::Clear, "CLEAR"),
    (Operation::GetChunkSize, "GET_CHUNK_SIZE"),
    (Operation::Ping, "PING"),
    (Operation::Noop, "NOOP"),
    (Operation::GetExperimental, "GET_EXPERIMENTAL"),
    (Operation::NegotiateChunkSize, "NEGOTIATE_CHUNK_SIZE"),
];

impl Operation {
    pub fn name(self) -> &'static str {
        let row = NAMES.iter().find(|row| row.0 == self);
        row.expect("every operation has a row").1
    }

    /// The operation of a name in upper or lower case.
    pub fn of_name(name: &str) -> Option<Operation> {
        let row = NAMES.iter().find(|row| row.1.eq_ignore_ascii_case(name));
        row.map(|row| row.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_map_to_operations_and_back() {
        for (operation, name) in NAMES {
            assert_eq!(operation.name(), name);
            assert_eq!(Operation::of_name(&name.to_lowercase()), Some(operation));
        }
        assert_eq!(Operation::of_name("lookups"), None);
    }
}
