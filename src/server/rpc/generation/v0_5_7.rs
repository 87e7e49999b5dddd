//! 0.5.7: tokens as bytes, no pickle at all, lists of ranges and of skipped chunks. Seen in 0.5.7rc2.

use std::sync::Arc;

use super::{Facts, Generation, Inline, Operation, Proof, Tokens, v0_5_6};
use crate::server::rpc::messages::{self, Request};
use crate::server::rpc::records::Key;

pub const FACTS: Facts = Facts {
    label: "0.5.7",
    patches: 7..=7,
    proof: Some(Proof {
        question: "FREE_LOOKUP_LOCKS with three parameters",
        request: free_no_locks,
    }),
    experimental: &[],
    asking_fixes_chunk_size: true,
    tokens: Tokens::Bytes,
    lookup_honours_start: true,
    frees_extra_ranges: true,
    groups_engine_layouts: true,
    prepares_with_skipped_chunks: true,
    inline: Inline::Envelope,
    ..v0_5_6::FACTS
};

/// Frees the locks of no tokens. This generation answers before it looks at anything; earlier ones refuse the number of
/// parameters, which their log shows as one error.
fn free_no_locks(generation: Generation) -> Request {
    let key = Key {
        model_name: "test-model".into(),
        world_size: 1,
        worker_id: None,
        token_ids: Arc::from([]),
        start: 0,
        end: 0,
        request_id: "probe".into(),
        cache_salt: String::new(),
        num_kv_readers: 1,
    };
    messages::lookup_request(Operation::FreeLookupLocks, generation, &key, 1)
}
