//! Result files: what parses round-trips.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::result::file;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    let read = bounded(data, |data| file::parse(data, None));
    if let Ok(result) = read {
        let text = file::text(&result);
        let again = file::parse(text.as_bytes(), Some(&result.command)).expect("a file of ours");
        assert_eq!(file::text(&again), text);
    }
});
