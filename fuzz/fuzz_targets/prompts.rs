//! Files of prompts: the same however they are split, and messages stay a JSON list.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::{bounded, hash};

fuzz_target!(|data: &[u8]| {
    let completions = data.len() % 2 == 1;
    let whole = bounded(data, |data| fuzzing::prompts(data, usize::MAX, completions));
    let piece = 1 + hash(data) as usize % 9;
    assert_eq!(fuzzing::prompts(data, piece, completions), whole);
    let messages = whole.iter().flatten();
    for list in messages {
        let read: serde_json::Value = serde_json::from_str(list).expect("messages are JSON");
        assert!(read.as_array().is_some_and(|list| !list.is_empty()), "{list}");
    }
});
