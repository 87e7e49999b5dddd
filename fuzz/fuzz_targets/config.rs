//! Config files: what parses round-trips.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::{Scratch, bounded};

fuzz_target!(|data: &[u8]| {
    let read = bounded(data, |data| Scratch::with(data, fuzzing::config_file));
    if let Ok((args, _)) = read {
        let text = fuzzing::rendered(&args);
        let (again, notes) = Scratch::with(text.as_bytes(), fuzzing::config_file).expect("a file of ours");
        assert_eq!(notes, 0, "{text}");
        assert_eq!(fuzzing::rendered(&again), text);
    }
});
