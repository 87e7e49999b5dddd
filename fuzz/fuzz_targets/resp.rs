//! Replies of a Redis or Valkey server: the same however they are split.
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
        let slot = &mut [0; SLOT_BYTES][..usize::from(*kind) % SLOT_BYTES];
        bounded(received, |received| fuzzing::resp_values(received, usize::MAX, &mut slot.to_vec(), |_, _| {}));
        let mut values = |piece| {
            let mut values = Vec::new();
            fuzzing::resp_values(received, piece, slot, |body, value| values.push((body.clone(), value.to_vec())));
            values
        };
        assert_eq!(values(piece), values(usize::MAX));
    }
});
