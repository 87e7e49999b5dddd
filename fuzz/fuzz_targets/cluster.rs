//! Answers to CLUSTER SLOTS, and the errors that redirect.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    bounded(data, fuzzing::cluster_map);
});
