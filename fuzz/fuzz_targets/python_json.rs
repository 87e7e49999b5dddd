//! JSON as Python reads it: what serde_json accepts gives the same value, and values round-trip.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::python::json;
use lmcache_bench_fuzz::bounded;
use serde_json::Value;

/// Shorter texts are always within the limit.
const NEVER_REFUSED: usize = 8 << 10;

fuzz_target!(|data: &[u8]| {
    let read = bounded(data, |data| json::loads(data).ok());
    if data.len() > NEVER_REFUSED {
        return;
    }
    let strict = serde_json::from_slice::<Value>(data).ok();
    if strict.is_some() {
        assert_eq!(read, strict);
    }
    if let Some(value) = read {
        let again = json::loads(value.to_string().as_bytes());
        assert_eq!(again.expect("JSON of ours"), value);
    }
});
