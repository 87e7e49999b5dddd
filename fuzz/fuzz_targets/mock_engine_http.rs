//! Requests to the mock engine: heads and bodies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    let head = bounded(data, fuzzing::engine_head);
    if let Ok(Some((head_bytes, _))) = head {
        assert!(head_bytes <= data.len());
        // A head says the same however much follows it.
        assert_eq!(fuzzing::engine_head(&data[..head_bytes]), head);
    }
    let body = match head {
        Ok(Some((head_bytes, _))) => &data[head_bytes..],
        _ => data,
    };
    bounded(body, |body| {
        (fuzzing::engine_body(body, true), fuzzing::engine_body(body, false))
    });
});
