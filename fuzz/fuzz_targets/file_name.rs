//! File names in a store: a name that parses as a key round-trips.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::l2::keys::ObjectKey;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let key = bounded(text.as_bytes(), |data| {
        ObjectKey::from_file_name(std::str::from_utf8(data).unwrap_or_default())
    });
    if let Some(key) = key {
        assert_eq!(key.file_name(), text);
    }
});
