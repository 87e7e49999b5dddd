//! tokenizer.json: it loads and encodes, or it is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::{bounded_by, surviving};

/// Memory of the library's structures: a vocabulary entry of a dozen bytes takes some hundred in three tables, and a regular
/// expression of a few bytes up to the library's limit of 10 MiB.
const TOKENIZER_FACTOR: usize = 100;
const TOKENIZER_ROOM: usize = 64 << 20;

fuzz_target!(|data: &[u8]| {
    surviving(|| {
        bounded_by(TOKENIZER_FACTOR, TOKENIZER_ROOM, data, |data| {
            fuzzing::tokenizer(data, "Hello, w\u{f6}rld! 12\u{3000}\n")
        });
    });
});
