//! Whole buffers moved through a ring with nothing around them: what the probes of fs and raw_block measure.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use crate::l2::adapter::Item;
use crate::sys::uring::{Direction, Ring, Transfer, refusal};

/// Moves the slot of each item between memory and the file and offset that `place` gives for its index, at most `depth` at a
/// time.
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
