//! Whole buffers moved through a ring with nothing around them: what the probes of block adapters measure.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::l2::adapter::Item;
use crate::l2::warning::Warning;
use crate::sys::arena::Arena;
use crate::sys::counters;
use crate::sys::uring::{Direction, Ring, Transfer, refusal};

/// The sentence for objects whose ring the kernel does not serve any more.
pub fn broken_ring(error: &io::Error) -> String {
    let advice = refusal::advice(error);
    format!("the kernel refuses the io_uring ({error}): {advice}; or use --io-engine threads")
}

/// Registers the run's buffers with a ring, which works without too: then a warning says why and what it costs.
pub fn register(ring: &mut Ring, arena: &Arc<Arena>, object_bytes: usize) -> Option<Warning> {
    let error = ring.register(arena, object_bytes).err()?;
    let needed_bytes = arena.raw_parts().1 as u64;
    Some(Warning::RegisteredBuffersRefused {
        reason: error.to_string(),
        needed_bytes,
        advice: refusal::register_advice(&error, needed_bytes, counters::locked_memory_limit_bytes()),
    })
}

/// What a probe moves through the ring: whole slots against given places of given files.
pub fn move_raw(
    ring: &mut Ring,
    depth: usize,
    direction: Direction,
    items: &mut [Item],
    place: impl Fn(usize) -> (Arc<File>, u64),
) -> Result<(), String> {
    let mut next = 0;
    let mut done = 0;
    let mut failure = None;
    while done < items.len() && !(failure.is_some() && ring.in_flight() == 0) {
        while failure.is_none() && next < items.len() && ring.in_flight() < depth {
            let slot = items[next]
                .slot
                .take()
                .ok_or("a probe needs a buffer for every object")?;
            let (file, file_offset) = place(next);
            let pushed = ring.push(Transfer {
                file,
                file_offset,
                slot,
                direction,
                token: next,
            });
            assert!(pushed.is_ok(), "the ring has room for its depth");
            next += 1;
        }
        ring.wait(Duration::from_secs(1))
            .map_err(|error| format!("the probe's ring failed: {}", refusal::with_advice(&error)))?;
        while let Some(finished) = ring.next_finished() {
            done += 1;
            if let Err(error) = finished.outcome {
                failure = Some(format!("the probe could not move an object: {error}"));
            } else if finished.moved_bytes < finished.transfer.slot.len() {
                failure = Some("the probe met a short object".to_owned());
            }
            items[finished.transfer.token].slot = Some(finished.transfer.slot);
        }
    }
    failure.map_or(Ok(()), Err)
}
