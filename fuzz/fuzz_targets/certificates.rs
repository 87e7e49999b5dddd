//! PEM files of certificate authorities.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::{Scratch, bounded};

fuzz_target!(|data: &[u8]| {
    bounded(data, |data| Scratch::with(data, fuzzing::authorities));
});
