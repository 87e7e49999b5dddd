//! What a server said, for people: one line, bounded, without control characters.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::http::said::{SAID_CHARS_MAX, said};
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    if let Some(text) = bounded(data, said) {
        assert!(!text.is_empty());
        assert!(text.chars().count() <= SAID_CHARS_MAX, "{text:?}");
        assert!(!text.contains(char::is_control), "{text:?}");
    }
});
