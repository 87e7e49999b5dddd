//! How fast the server's shared memory is filled and read: gather and scatter of the default request against one plain copy
//! of the same bytes between the same two mappings, in turn. `scripts/measure/server-side-by-side` runs it.

#![allow(clippy::unwrap_used)]

use std::time::Instant;

use lmcache_bench::server::memory::{KvTensors, Layout, Source};
use lmcache_bench::server::shape::Shape;
use lmcache_bench::server::transport::engine_driven::pool::{gather, scatter};
use lmcache_bench::sys::shm::Segment;

fn main() {
    let shape = Shape::parse("(2,64,16,8,128):float16:32").unwrap();
    let mut tensors = KvTensors::private(Layout::new(&shape)).unwrap();
    let (chunk_bytes, chunks) = (shape.chunk_bytes(256), 2);
    let bytes = chunk_bytes * chunks;
    let mut pool = Segment::create(&format!("lmcache-bench-test-{}-speed", std::process::id()), bytes).unwrap();
    let all: Vec<u64> = (0..64).collect();
    let source = Source {
        seed: 1,
        rank: 0,
        sequence: 0,
    };
    tensors.fill(&all, source).unwrap();
    pool.mapping_mut().fill(0, bytes, 1);
    let blocks = |chunk: usize| &all[16 * chunk..][..16];
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
