//! The bytes of a ZeroMQ peer, mostly after a valid greeting: the same frames however they are split.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::{bounded, hash};

fn greeting() -> Vec<u8> {
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    greeting.extend_from_slice(b"NULL");
    greeting.resize(64, 0);
    greeting.extend_from_slice(b"\x04\x06\x05READY");
    greeting
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let socket_type = if kind % 2 == 0 { "DEALER" } else { "ROUTER" };
    let greeted;
    let received = if kind % 16 < 2 {
        rest
    } else {
        greeted = [greeting(), rest.to_vec()].concat();
        &greeted
    };
    let read = |piece| {
        let frames = RefCell::new(Vec::<(bool, Vec<u8>)>::new());
        let begin = |more| frames.borrow_mut().push((more, Vec::new()));
        let add = |piece: &[u8]| {
            frames
                .borrow_mut()
                .last_mut()
                .expect("a frame")
                .1
                .extend_from_slice(piece)
        };
        let read = fuzzing::zmtp_frames(received, piece, socket_type, begin, add);
        (read, frames.into_inner())
    };
    bounded(received, |received| {
        fuzzing::zmtp_frames(received, usize::MAX, socket_type, |_| {}, |_| {}).is_ok()
    });
    assert_eq!(read(1 + hash(data) as usize % 9), read(usize::MAX));
});
