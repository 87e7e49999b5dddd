//! Payloads of requests to the mock server.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench::server::rpc::Generation;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    let [kind, generation, payload @ ..] = data else { return };
    let generation = Generation::ALL[usize::from(*generation) % Generation::ALL.len()];
    bounded(payload, |payload| fuzzing::server_request(*kind, generation, payload));
});
