//! Replies of a Redis or Valkey server: the same whatever the pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::{bounded, hash};

const SLOT_BYTES: usize = 64;

fuzz_target!(|data: &[u8]| {
    let Some((kind, received)) = data.split_first() else {
        return;
    };
    let piece = 1 + hash(data) as usize % 9;
    if kind % 2 == 0 {
        bounded(received, |received| fuzzing::resp_replies(received, usize::MAX, |_| {}));
        let replies = |piece| {
            let mut replies = Vec::new();
            fuzzing::resp_replies(received, piece, |reply| replies.push(reply));
            replies
        };
        assert_eq!(replies(piece), replies(usize::MAX));
    } else {
        let slot = usize::from(*kind) % SLOT_BYTES;
        let values = |received: &[u8], piece| fuzzing::resp_values(received, piece, &mut [0; SLOT_BYTES][..slot]);
        let whole = bounded(received, |received| values(received, usize::MAX));
        assert_eq!(values(received, piece), whole);
    }
});
