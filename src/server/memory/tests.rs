//! Layouts, patterns, overwriting and digests.

use md5::{Digest as _, Md5};

use super::*;

const SOURCE: Source = Source {
    seed: 1,
    rank: 0,
    sequence: 3,
};

fn tensors(spec: &str) -> KvTensors {
    KvTensors::private(Layout::new(&Shape::parse(spec).unwrap())).unwrap()
}

fn bytes(tensors: &KvTensors, run: Run) -> Vec<u8> {
    let mut bytes = vec![0; run.bytes];
    tensors.mapping().read(run.offset, &mut bytes);
    bytes
}

#[test]
fn layers_begin_at_page_boundaries() {
    let layout = Layout::new(&Shape::parse("(2,8,4,1,100):float16:2;(1,8,4,1,4):uint8:1").unwrap());
    let places: Vec<_> = layout
        .layers
        .iter()
        .map(|layer| (layer.offset, layer.planes, layer.block_bytes))
        .collect();
    // A layer of the first group has 2 * 8 * 4 * 100 * 2 = 12800 bytes.
    assert_eq!(places, [(0, 2, 800), (16384, 2, 800), (32768, 1, 16)]);
    assert_eq!(layout.bytes, 36864);
    let run = layout.run(&layout.layers[1], 1, Span { first: 3, count: 2 });
    assert_eq!(
        run,
        Run {
            offset: 16384 + (8 + 3) * 800,
            bytes: 1600
        }
    );
}

#[test]
fn a_chunk_object_is_ordered_by_plane_then_layer() {
    let layout = Layout::new(&Shape::parse("(2,8,4,1,4):uint8:2").unwrap());
    let offsets: Vec<_> = layout.object_runs(&[1, 2]).map(|run| (run.offset, run.bytes)).collect();
    assert_eq!(
        offsets,
        [(16, 32), (4096 + 16, 32), (8 * 16 + 16, 32), (4096 + 8 * 16 + 16, 32)]
    );
}

#[test]
fn the_pattern_depends_on_every_field_of_the_source_and_nothing_else() {
    // Blocks of 36 bytes: the pattern has words of 8.
    let mut tensors = tensors("(2,8,4,1,9):uint8:2");
    let mut digests = |source, blocks: [u64; 4]| {
        tensors.fill(&blocks, source).unwrap();
        tensors.digests(&blocks, 2, Kind::Fast, false)
    };
    let base = digests(SOURCE, [2, 3, 4, 5]);
    for elsewhere in [[3, 4, 5, 6], [7, 0, 3, 4]] {
        let at = digests(SOURCE, elsewhere);
        assert_eq!(at, base, "the position in memory does not matter: {elsewhere:?}");
    }
    assert_ne!(base[0], base[1]);
    for other in [
        Source { seed: 2, ..SOURCE },
        Source { rank: 1, ..SOURCE },
        Source { sequence: 4, ..SOURCE },
    ] {
        assert_ne!(digests(other, [2, 3, 4, 5]), base, "{other:?}");
    }
}

#[test]
fn each_layer_and_plane_has_its_own_pattern_of_finite_floats() {
    let blocks: Vec<u64> = (0..8).collect();
    let mut tensors = tensors("(2,8,4,1,8):float16:2");
    tensors.fill(&blocks, SOURCE).unwrap();
    let runs: Vec<Vec<u8>> = tensors
        .layout
        .object_runs(&blocks)
        .map(|run| bytes(&tensors, run))
        .collect();
    for (index, run) in runs.iter().enumerate() {
        assert!(runs[..index].iter().all(|other| other != run), "run {index}");
        assert!(run.chunks(2).all(|value| value[1] & 0x40 == 0));
    }
}

#[test]
fn fill_and_poison_change_only_their_blocks() {
    let mut tensors = tensors("(2,8,4,1,100):float32:1");
    let (others, changed) = ([0, 2, 5, 6, 7], [4, 1, 3]);
    tensors.fill(&others, SOURCE).unwrap();
    let kept = tensors.digests(&others, 1, Kind::Md5, false);
    tensors.fill(&changed, SOURCE).unwrap();
    tensors.poison(&changed);
    assert_eq!(tensors.digests(&others, 1, Kind::Md5, false), kept);
    let runs: Vec<Run> = tensors.layout.object_runs(&changed).collect();
    assert_eq!(runs.len(), 6);
    for run in runs {
        assert!(bytes(&tensors, run).iter().all(|byte| *byte == POISON));
    }
}

/// MD5 over the chunk's blocks by layer, then plane, with bfloat16 widened or not.
#[test]
fn digests_are_ordered_by_layer_then_plane() {
    let mut tensors = tensors("(2,8,4,1,8):bfloat16:2;(1,8,4,1,8):uint8:1");
    tensors.fill(&[0, 1, 2, 3, 4, 5, 6, 7], SOURCE).unwrap();
    for widen in [false, true] {
        let mut md5 = Md5::new();
        for layer in &tensors.layout.layers {
            for plane in 0..layer.planes {
                for first in [6, 4] {
                    let run = tensors.layout.run(layer, plane, Span { first, count: 1 });
                    for value in bytes(&tensors, run).chunks(2) {
                        if widen && layer.dtype == Dtype::Bfloat16 {
                            md5.update([0, 0]);
                        }
                        md5.update(value);
                    }
                }
            }
        }
        let want: [u8; 16] = md5.finalize().into();
        let got = tensors.digests(&[2, 3, 6, 4, 5, 7], 2, Kind::Md5, widen);
        assert_eq!(got[1].0, want, "widen {widen}");
    }
}

#[test]
fn shared_memory_gives_the_same_digests_as_private_memory() {
    let layout = Layout::new(&Shape::parse("(1,8,4,1,9):uint8:3").unwrap());
    let name = format!("lmcache-bench-test-{}-kv", std::process::id());
    let mut shared = KvTensors::shared(layout.clone(), &name).unwrap();
    let mut private = KvTensors::private(layout).unwrap();
    let blocks = [1, 2, 3, 6, 5, 4];
    shared.fill(&blocks, SOURCE).unwrap();
    private.fill(&blocks, SOURCE).unwrap();
    assert_eq!(
        shared.digests(&blocks, 3, Kind::Fast, true),
        private.digests(&blocks, 3, Kind::Fast, true)
    );
    assert_eq!(shared.name(), Some(format!("/{name}").as_str()));
    shared.unlink().unwrap();
    assert!(Segment::open(&name, 1).is_err());
}
