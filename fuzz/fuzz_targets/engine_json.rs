//! JSON responses to lookups: lists of models, a cache server's status, token counts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench::python::json;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    bounded(data, |data| {
        if let Ok(answer) = json::loads(data) {
            fuzzing::discovered(&answer, "m");
        }
    });
});
