//! HTTP responses of an S3 server, headers and bodies: the same however they are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::{bounded, hash};

const PLACE_BYTES: usize = 512;

fuzz_target!(|data: &[u8]| {
    let [kind, place, received @ ..] = data else { return };
    let method = if kind % 8 == 0 { "HEAD" } else { "GET" };
    let place = usize::from(*place) * 2;
    let answers = |received: &[u8], piece| fuzzing::s3_answers(received, piece, method, &mut [0; PLACE_BYTES][..place]);
    let whole = bounded(received, |received| answers(received, usize::MAX));
    assert_eq!(answers(received, 1 + hash(data) as usize % 9), whole);
});
