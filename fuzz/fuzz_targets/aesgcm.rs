//! Encrypted objects: data that was not encrypted here is refused, and so is a changed byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing::Cipher;
use lmcache_bench_fuzz::{bounded, hash};

/// Bytes of a frame beyond its plaintext.
const OVERHEAD: usize = 29;

thread_local! {
    static CIPHER: Cipher = Cipher::new(32);
}

fuzz_target!(|data: &[u8]| {
    CIPHER.with(|cipher| {
        let opened = bounded(data, |data| {
            let mut frame = data.to_vec();
            let mut plain = vec![0; data.len().saturating_sub(OVERHEAD)];
            cipher.open(&mut frame, &mut plain).is_ok()
        });
        assert!(!opened, "nobody knows the key");
        let mut frame = vec![0; data.len() + OVERHEAD];
        cipher.seal(data, &mut frame).expect("a buffer of the right size");
        let mut plain = vec![0; data.len()];
        cipher.open(&mut frame.clone(), &mut plain).expect("a frame of ours");
        assert_eq!(plain, data);
        let at = hash(data) as usize % frame.len();
        frame[at] ^= 1 << (hash(data) >> 61);
        assert!(cipher.open(&mut frame, &mut plain).is_err(), "byte {at} was changed");
    });
});
