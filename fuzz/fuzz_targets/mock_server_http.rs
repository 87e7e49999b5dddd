//! Requests to the mock server's HTTP side, in pieces.
#![no_main]

use std::io::{self, Read};

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::{bounded, hash};

/// A socket that gives a few bytes a time.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let size = self.1.min(to.len());
        self.0.read(&mut to[..size])
    }
}

fuzz_target!(|data: &[u8]| {
    let whole = bounded(data, |data| fuzzing::server_http(data).ok());
    assert_eq!(
        fuzzing::server_http(Pieces(data, 1 + hash(data) as usize % 64)).ok(),
        whole
    );
});
