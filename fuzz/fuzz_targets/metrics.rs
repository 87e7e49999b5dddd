//! Pages of metrics: counts are finite and not negative.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    let counters = bounded(data, |data| fuzzing::counters(&String::from_utf8_lossy(data)));
    for (name, value) in counters {
        assert!(value.is_finite(), "{name} is {value}");
    }
});
