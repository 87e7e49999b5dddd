//! How fast one ring moves objects between a file and buffers of different total size, as fio does it and as a round does it.
//! `scripts/measure/raw-block` runs it. Arguments: file, first byte, object bytes, depth, MiB per pass, passes, then MiB of buffers.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lmcache_bench::sys::arena::{Arena, Slot};
use lmcache_bench::sys::files::O_DIRECT;
use lmcache_bench::sys::uring::{Direction, Ring, Transfer};

struct Pass<'a> {
    file: &'a Arc<File>,
    first: u64,
    stride: u64,
    objects: u64,
    direction: Direction,
    depth: usize,
}

/// Moves every object once, always into the buffer that was given back longest ago.
fn pass(ring: &mut Ring, free: &mut VecDeque<Slot>, plan: &Pass) -> Duration {
    let begin = Instant::now();
    let (mut started, mut done) = (0, 0);
    while done < plan.objects {
        while started < plan.objects && ring.in_flight() < plan.depth {
            let transfer = Transfer {
                file: Arc::clone(plan.file),
                file_offset: plan.first + started * plan.stride,
                slot: free.pop_front().unwrap(),
                direction: plan.direction,
                token: 0,
            };
            assert!(ring.push(transfer).is_ok());
            started += 1;
        }
        ring.wait(Duration::from_secs(10)).unwrap();
        while let Some(finished) = ring.next_finished() {
            finished.outcome.unwrap();
            assert_eq!(finished.moved_bytes, finished.transfer.slot.len());
            free.push_back(finished.transfer.slot);
            done += 1;
        }
    }
    begin.elapsed()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| arguments[index].parse::<u64>().unwrap();
    let mut options = File::options();
    options.read(true).write(true).custom_flags(O_DIRECT);
    let file = Arc::new(options.open(&arguments[0]).unwrap());
    let (first, object_bytes, depth, passes) = (number(1), number(2), number(3) as usize, number(5));
    let footprints = &arguments[6..];
    for direction in [Direction::Write, Direction::Read] {
        let mut speeds = vec![Vec::new(); footprints.len()];
        for _ in 0..passes {
            for (footprint, speeds) in footprints.iter().zip(&mut speeds) {
                let bytes = footprint.parse::<usize>().unwrap() << 20;
                let (arena, slots) = Arena::new(bytes, 2 << 20, false)
                    .unwrap()
                    .into_slots(object_bytes as usize);
                let mut ring = Ring::new(depth).unwrap();
                ring.register(&arena, object_bytes as usize).unwrap();
                ring.register_file(&file).unwrap();
                let mut free = VecDeque::from(slots);
                for slot in &mut free {
                    slot.bytes_mut().fill(0x5A);
                }
                let plan = Pass {
                    file: &file,
                    first,
                    stride: object_bytes,
                    objects: (number(4) << 20) / object_bytes,
                    direction,
                    depth,
                };
                pass(&mut ring, &mut free, &plan);
                let took = pass(&mut ring, &mut free, &plan);
                speeds.push((plan.objects * object_bytes) as f64 / took.as_secs_f64() / f64::from(1 << 20));
            }
        }
        for (footprint, mut speeds) in footprints.iter().zip(speeds) {
            speeds.sort_by(f64::total_cmp);
            let middle = speeds[speeds.len() / 2];
            let (least, most) = (speeds[0], speeds[speeds.len() - 1]);
            println!("ring_speed {direction:?} {footprint} {middle:.0} {least:.0} {most:.0}");
        }
    }
}
