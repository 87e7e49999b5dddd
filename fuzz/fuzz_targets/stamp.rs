//! Stamped blocks of objects: a written stamp verifies, and a changed byte is detected.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::l2::stamp::{BLOCK_BYTES, Block, Stamp, fill, read_block};
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    bounded(data, |data| read_block(data) == Block::Zero);
    let Some((head, rest)) = data.split_first_chunk::<32>() else {
        return;
    };
    let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let stamp = Stamp {
        seed: number(0),
        key: head[8..24].try_into().expect("16 bytes"),
        round: number(24),
    };
    // Objects are whole KiB.
    let mut object = vec![0; (1 + rest.len()).next_multiple_of(1024).min(8192)];
    fill(&mut object, stamp);
    let object_bytes = object.len() as u64;
    let first = object.len().min(BLOCK_BYTES);
    let intact = Block::Intact {
        stamp,
        offset: 0,
        object_bytes,
    };
    assert_eq!(read_block(&object[..first]), intact);
    let at = rest.first().map_or(0, |byte| usize::from(*byte) * 31) % first;
    object[at] ^= 1;
    assert_ne!(read_block(&object[..first]), intact);
});
