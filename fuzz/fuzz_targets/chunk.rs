//! JSON events of a streamed response, one per line: the fast parser and the full parser agree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::engine::stream::chunk;
use lmcache_bench::engine::stream::repeat::ChunkReader;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    bounded(data, |data| {
        let mut reader = ChunkReader::default();
        for event in data.split(|byte| *byte == b'\n') {
            assert_eq!(
                reader.read(event),
                chunk::parse(event),
                "{:?}",
                String::from_utf8_lossy(event)
            );
        }
    });
});
