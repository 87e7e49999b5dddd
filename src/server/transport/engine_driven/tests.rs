//! Gather and scatter against the definition of the chunk object, and slots that cannot be right.

use super::*;
use crate::server::memory::Source;
use crate::server::rpc::Dtype;

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
    tensors.fill(Blocks { first: 0, count: 8 }, source).unwrap();
    tensors
}

fn byte(tensors: &KvTensors, offset: usize) -> u8 {
    let mut byte = [0];
    tensors.mapping().read(offset, &mut byte);
    byte[0]
}

/// chunk[p][l][j*BS + r][h*HS + d] = layer_l[p][block_ids[j]][r][h][d], byte by byte.
#[test]
fn gather_follows_the_definition() {
    for (spec, planes, layers) in [("(2,8,4,3,5):uint8:2", 2, 2), ("(1,8,4,3,5):uint8:3", 1, 3)] {
        let tensors = filled(spec, 0);
        let (block_tokens, hidden, chunk_blocks) = (4, 15, 2);
        let bytes = planes * layers * chunk_blocks * block_tokens * hidden;
        let mut pool = Segment::create(&name(&format!("gather-{planes}")), bytes + 64).unwrap();
        gather(&tensors, Blocks { first: 3, count: 2 }, &mut pool, 64);
        let mut object = vec![0; bytes];
        pool.mapping().read(64, &mut object);
        let mut place = 0;
        for p in 0..planes {
            for l in 0..layers {
                for token in 0..chunk_blocks * block_tokens {
                    let (block, row) = (3 + token / block_tokens, token % block_tokens);
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
fn scatter_undoes_gather_and_touches_nothing_else() {
    use crate::server::checksum::Kind;
    let spec = "(2,8,4,3,5):float32:2";
    let (from, mut to) = (filled(spec, 0), filled(spec, 1));
    let all = Blocks { first: 0, count: 8 };
    let (source, before) = (
        from.digests(all, 1, Kind::Fast, false),
        to.digests(all, 1, Kind::Fast, false),
    );
    let mut pool = Segment::create(&name("scatter"), 2 * 2 * 2 * 4 * 15 * 4).unwrap();
    gather(&from, Blocks { first: 2, count: 2 }, &mut pool, 0);
    scatter(&mut to, Blocks { first: 5, count: 2 }, &pool, 0);
    let after = to.digests(all, 1, Kind::Fast, false);
    assert_eq!(after[5..7], source[2..4]);
    assert_eq!((&after[..5], &after[7..]), (&before[..5], &before[7..]));
}

#[test]
fn slots_that_cannot_be_right_are_refused() {
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
    assert_eq!(checked_slot(&slot(4096, 4096), &layout, &pool), Ok(4096));
    for (bad, want) in [
        (slot(4097, 4096), "outside the pool"),
        (slot(u64::MAX, 4096), "outside the pool"),
        (slot(0, 4095), "a slot of 4095 bytes where a chunk has 4096"),
    ] {
        let text = checked_slot(&bad, &layout, &pool).unwrap_err();
        assert!(text.contains(want), "{text}");
    }
}

#[test]
fn chunks_have_the_shape_of_the_protocol() {
    let layout = |spec| EngineDriven::new(&Shape::parse(spec).unwrap(), None).chunk_layout(8, 2);
    let kv = layout("(2,16,4,1,4):float16:2");
    assert_eq!((kv.shape.as_slice(), kv.chunk_bytes()), (&[2, 2, 8, 4][..], 256));
    assert_eq!(layout("(1,16,4,1,4):float16:2").shape, [2, 8, 4]);
}

/// Not a test of truth but of speed, for scripts/server-copy-speed.sh: gather and scatter of the default request against one
/// plain copy of the same bytes between the same two mappings, in turn.
#[test]
#[ignore = "a measurement"]
fn copy_speed() {
    let shape = Shape::parse("(2,64,16,8,128):float16:32").unwrap();
    let mut tensors = KvTensors::private(Layout::new(&shape)).unwrap();
    let (chunk_bytes, chunks) = (shape.chunk_bytes(256), 2);
    let bytes = chunk_bytes * chunks;
    let mut pool = Segment::create(&name("speed"), bytes).unwrap();
    let all = Blocks { first: 0, count: 64 };
    let source = Source {
        seed: 1,
        rank: 0,
        sequence: 0,
    };
    tensors.fill(all, source).unwrap();
    pool.mapping_mut().fill(0, bytes, 1);
    let blocks = |chunk| Blocks {
        first: 16 * chunk,
        count: 16,
    };
    let time = |work: &mut dyn FnMut()| {
        let begun = Instant::now();
        work();
        begun.elapsed().as_secs_f64()
    };
    let mut ratios: [Vec<f64>; 2] = Default::default();
    let mut speeds: [Vec<f64>; 3] = Default::default();
    for _ in 0..21 {
        let plain = time(&mut || pool.mapping_mut().copy_from(0, tensors.mapping(), 0, bytes));
        let gathered = time(&mut || (0..chunks).for_each(|c| gather(&tensors, blocks(c), &mut pool, c * chunk_bytes)));
        let back = time(&mut || tensors.mapping_mut().copy_from(0, pool.mapping(), 0, bytes));
        let scattered =
            time(&mut || (0..chunks).for_each(|c| scatter(&mut tensors, blocks(c), &pool, c * chunk_bytes)));
        ratios[0].push(plain / gathered);
        ratios[1].push(back / scattered);
        for (speeds, seconds) in speeds.iter_mut().zip([plain, gathered, scattered]) {
            speeds.push(bytes as f64 / seconds / (1u64 << 30) as f64);
        }
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let [plain, gathered, scattered] = speeds.each_mut().map(median);
    let [gather_ratio, scatter_ratio] = ratios.each_mut().map(median);
    println!(
        "copy_speed plain_gib_s={plain:.2} gather_gib_s={gathered:.2} scatter_gib_s={scattered:.2} \
         gather_ratio={gather_ratio:.3} scatter_ratio={scatter_ratio:.3}"
    );
}
