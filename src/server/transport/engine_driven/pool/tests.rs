//! Gather and scatter against the definition of the chunk object, and invalid slots.

use super::*;
use crate::server::memory::{Layout, Source};
use crate::server::rpc::Dtype;
use crate::server::shape::Shape;

/// All blocks of the shapes below.
const ALL: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

fn name(what: &str) -> String {
    format!("lmcache-bench-test-{}-{what}", std::process::id())
}

fn filled(spec: &str, rank: u64) -> KvTensors {
    let mut tensors = KvTensors::private(Layout::new(&Shape::parse(spec).unwrap())).unwrap();
    let source = Source {
        seed: 7,
        rank,
        sequence: 1,
    };
    tensors.fill(&ALL, source).unwrap();
    tensors
}

fn byte(tensors: &KvTensors, offset: usize) -> u8 {
    let mut byte = [0];
    tensors.mapping().read(offset, &mut byte);
    byte[0]
}

/// chunk[p][l][j*BS + r][h*HS + d] = layer_l[p][block_ids[j]][r][h][d], byte by byte.
#[test]
fn gather_writes_the_chunk_object() {
    for (spec, planes, layers) in [("(2,8,4,3,5):uint8:2", 2, 2), ("(1,8,4,3,5):uint8:3", 1, 3)] {
        let tensors = filled(spec, 0);
        let (block_tokens, hidden, chunk_blocks) = (4, 15, 2);
        let bytes = planes * layers * chunk_blocks * block_tokens * hidden;
        let mut pool = Segment::create(&name(&format!("gather-{planes}")), bytes + 64).unwrap();
        // One chunk in one piece, one in two.
        let blocks = if planes == 2 { [3, 4] } else { [6, 1] };
        gather(&tensors, &blocks, &mut pool, 64);
        let mut object = vec![0; bytes];
        pool.mapping().read(64, &mut object);
        let mut place = 0;
        for p in 0..planes {
            for l in 0..layers {
                for token in 0..chunk_blocks * block_tokens {
                    let (block, row) = (blocks[token / block_tokens] as usize, token % block_tokens);
                    for element in 0..hidden {
                        let in_layer = ((p * 8 + block) * block_tokens + row) * hidden + element;
                        let want = byte(&tensors, tensors.layout.layers[l].offset + in_layer);
                        assert_eq!(object[place], want, "{spec} {p} {l} {token} {element}");
                        place += 1;
                    }
                }
            }
        }
        assert_eq!(place, bytes);
    }
}

#[test]
fn scatter_reverses_gather_and_changes_nothing_else() {
    use crate::server::checksum::Kind;
    let spec = "(2,8,4,3,5):float32:2";
    let (from, mut to) = (filled(spec, 0), filled(spec, 1));
    let (source, before) = (
        from.digests(&ALL, 1, Kind::Fast, false),
        to.digests(&ALL, 1, Kind::Fast, false),
    );
    let mut pool = Segment::create(&name("scatter"), 2 * 2 * 2 * 4 * 15 * 4).unwrap();
    gather(&from, &[2, 3], &mut pool, 0);
    scatter(&mut to, &[6, 5], &pool, 0);
    let after = to.digests(&ALL, 1, Kind::Fast, false);
    assert_eq!([after[6], after[5]], source[2..4]);
    assert_eq!((&after[..5], &after[7..]), (&before[..5], &before[7..]));
}

#[test]
fn slots_of_wrong_size_or_outside_the_pool_are_refused() {
    let pool = Segment::create(&name("slots"), 8192).unwrap();
    let layout = ChunkLayout {
        dtype: Dtype::Uint8,
        shape: vec![1, 64, 64],
        chunks: 1,
    };
    let slot = |offset, length| Slot {
        offset,
        length,
        shape: vec![1, 64, 64],
        dtype: "uint8".into(),
    };
    assert_eq!(
        checked_slot(&slot(4096, 4096), &layout, &pool),
        Ok(Run {
            offset: 4096,
            bytes: 4096
        })
    );
    for (bad, want) in [
        (slot(4097, 4096), "outside the pool"),
        (slot(u64::MAX, 4096), "outside the pool"),
        (slot(0, 4095), "a slot of 4095 bytes where a chunk has 4096"),
    ] {
        let text = checked_slot(&bad, &layout, &pool).unwrap_err();
        assert!(text.contains(want), "{text}");
    }
}
