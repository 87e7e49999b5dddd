//! The message in the body of an error: one line, bounded, without control characters.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::http::error_body::{MESSAGE_CHARS_MAX, error_message};
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    if let Some(text) = bounded(data, error_message) {
        assert!(!text.is_empty());
        assert!(text.chars().count() <= MESSAGE_CHARS_MAX, "{text:?}");
        assert!(!text.contains(char::is_control), "{text:?}");
    }
});
