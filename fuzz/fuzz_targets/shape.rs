//! Specs of KV shapes: what parses round-trips, and no size overflows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::server::shape::Shape;
use lmcache_bench_fuzz::{ROOM, TYPED_FACTOR, bounded_by};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = bounded_by(TYPED_FACTOR, ROOM, text.as_bytes(), |data| {
        Shape::parse(std::str::from_utf8(data).unwrap_or_default())
    });
    if let Ok(shape) = parsed {
        let layers: usize = shape.layers().map(|group| group.layer_bytes()).sum();
        assert_eq!(layers, shape.bytes());
        assert!(shape.chunk_bytes(shape.block_tokens()) <= shape.bytes());
        let again = Shape::parse(&shape.to_string());
        assert_eq!(again.expect("a spec of ours"), shape);
    }
});
