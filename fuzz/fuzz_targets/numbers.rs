//! Numbers on a command line, read as Python does: the parsers for big and small numbers agree, and numbers round-trip.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::python::big_int::BigInt;
use lmcache_bench::python::number::{float, int};
use lmcache_bench::python::quote::quoted;
use lmcache_bench_fuzz::{ROOM, TYPED_FACTOR, bounded_by};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let big = bounded_by(TYPED_FACTOR, ROOM, text.as_bytes(), |data| {
        let text = std::str::from_utf8(data).unwrap_or_default();
        let _ = (float(text), quoted(text));
        BigInt::parse(text)
    });
    let small = int(text);
    if let Ok(small) = small {
        // Leading zeros count as digits of a large number.
        if let Ok(big) = &big {
            assert_eq!(*big, BigInt::from(small));
        }
        assert_eq!(int(&small.to_string()), Ok(small));
    }
    if let Ok(big) = big {
        let shown = big.to_string();
        assert_eq!(BigInt::parse(&shown), Ok(big.clone()));
        if let Ok(value) = shown.parse::<i128>() {
            assert_eq!(
                big.plus(u64::MAX).to_string(),
                (value + i128::from(u64::MAX)).to_string()
            );
        }
    }
    assert!(!quoted(text).contains(char::is_control));
});
