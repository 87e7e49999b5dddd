//! Checkpoints of a raw_block device: what parses round-trips.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    if let Some((written, _)) = bounded(data, fuzzing::checkpoint) {
        let (again, impossible) = fuzzing::checkpoint(&written).expect("a checkpoint of ours");
        assert_eq!(
            (again == written, impossible),
            (true, 0),
            "{}",
            String::from_utf8_lossy(&written)
        );
    }
});
