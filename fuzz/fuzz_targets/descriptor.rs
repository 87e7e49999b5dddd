//! Descriptors of KV memory sent to the mock server: maps, and the pickles of older releases.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench::server::rpc::{Generation, msgpack};
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    let Some((kind, descriptor)) = data.split_first() else {
        return;
    };
    let generation = Generation::ALL[usize::from(*kind) % Generation::ALL.len()];
    let mut payload = Vec::new();
    msgpack::array(&mut payload, 1);
    msgpack::extension_1(&mut payload, descriptor);
    bounded(&payload, |payload| fuzzing::descriptors(payload, generation).is_ok());
    bounded(data, |data| fuzzing::descriptors(data, generation).is_ok());
});
