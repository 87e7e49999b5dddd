//! Datasets of rag-qa-quality. A record of many short passages or answers costs its values, and a text of its own for each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::{ROOM, bounded_by};

/// Values cost at most nine times the text; a text of its own costs up to 56 bytes for 2 typed ones, an answer twice that.
const FACTOR: usize = 9 + 2 * 28;

fuzz_target!(|data: &[u8]| {
    let read = |lines| bounded_by(FACTOR, ROOM, data, |data| fuzzing::rag_dataset(data, lines));
    for (records, usable) in [read(true), read(false)].into_iter().flatten() {
        assert!(usable <= records, "{usable} of {records}");
    }
});
