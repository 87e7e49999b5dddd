//! Release names that a server reports.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::server::rpc::Generation;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    bounded(text.as_bytes(), |data| {
        Generation::of_release(std::str::from_utf8(data).unwrap_or_default())
    });
});
