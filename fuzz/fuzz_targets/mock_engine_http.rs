//! HTTP requests to the mock engine: headers and bodies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    let head = bounded(data, fuzzing::engine_head);
    if let Ok(Some((head_bytes, _))) = head {
        assert!(head_bytes <= data.len());
        // Headers parse the same with any bytes after them.
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
