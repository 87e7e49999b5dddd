//! Result files: what parses round-trips.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::result::file;
use lmcache_bench_fuzz::{ROOM, bounded_by};

/// The cells of tables take a multiple of their text: 72 times is allowed (docs/formats.md, Bounds), and the text itself.
const RESULT_FACTOR: usize = 73;

fuzz_target!(|data: &[u8]| {
    let read = bounded_by(RESULT_FACTOR, ROOM, data, |data| file::parse(data, None));
    if let Ok(result) = read {
        let text = file::text(&result);
        let again = file::parse(text.as_bytes(), Some(&result.command)).expect("a file of ours");
        assert_eq!(file::text(&again), text);
    }
});
