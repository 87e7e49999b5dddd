//! Shared credentials files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    bounded(data, |data| {
        fuzzing::credentials(&String::from_utf8_lossy(data), "default")
    });
});
