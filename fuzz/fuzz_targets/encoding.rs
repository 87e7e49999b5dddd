//! Compressed responses: the same bytes however they are split, and never more than the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::http::encoding::{Encoding, Gunzip, of_header};
use lmcache_bench_fuzz::{FACTOR, bounded_by, pieces};

/// The limit on an unpacked body, in bytes.
const BYTES_MAX: usize = 64 << 10;
/// The constant part of the memory limit. A body is inflated in pieces of 1 KiB, each of which may give 1 MiB in a vector that
/// grows by doubling.
const ROOM: usize = 5 << 20;

fn inflated<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let (mut gunzip, mut out) = (Gunzip::default(), Vec::new());
    for piece in pieces {
        gunzip.feed(piece, &mut out).ok()?;
        if out.len() > BYTES_MAX {
            return None;
        }
    }
    gunzip.end(&mut out).ok()?;
    Some(out)
}

fuzz_target!(|data: &[u8]| {
    let whole = bounded_by(FACTOR, ROOM, data, |data| {
        Encoding::Gzip.decode(data.to_vec(), BYTES_MAX).ok()
    });
    bounded_by(FACTOR, ROOM, data, |data| {
        Encoding::Gzip.decode_opening(data.to_vec()).len()
    });
    let _ = of_header(std::str::from_utf8(data).ok());
    if let Some(whole) = whole {
        assert!(whole.len() <= BYTES_MAX);
        if !data.is_empty() {
            assert_eq!(inflated(pieces(data)), Some(whole));
        }
    }
});
