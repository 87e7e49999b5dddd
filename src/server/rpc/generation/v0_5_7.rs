//! 0.5.7: tokens as bytes, no pickle at all, lists of ranges and of skipped chunks. Seen in 0.5.7rc2.

use super::{Facts, Inline, Proof, Tokens, v0_5_6};
use crate::server::rpc::messages;

pub const FACTS: Facts = Facts {
    label: "0.5.7",
    patches: 7..=7,
    // It answers before it looks at anything; earlier releases refuse the number of parameters.
    proof: Some(Proof {
        question: "FREE_LOOKUP_LOCKS with three parameters",
        request: messages::free_no_locks,
    }),
    experimental: &[],
    asking_fixes_chunk_size: true,
    pass_rate_label: "Checksum pass rate (%)",
    tokens: Tokens::Bytes,
    lookup_honours_start: true,
    frees_extra_ranges: true,
    groups_engine_layouts: true,
    prepares_with_skipped_chunks: true,
    inline: Inline::Envelope,
    ..v0_5_6::FACTS
};
