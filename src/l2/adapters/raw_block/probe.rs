//! What the device reaches without headers and index: the same bytes through a ring, to slots that no object uses, or from the
//! objects that a load will read.

use std::sync::Arc;
use std::time::Instant;

use super::shared::Shared;
use crate::l2::adapter::{Item, Operation, ProbeSlice};
use crate::l2::adapters::raw_probe::move_raw;
use crate::sys::uring::{Direction, Ring};

#[derive(Default)]
pub struct Probe {
    /// Whether the probe's slots were written before, so that it does not measure fresh space.
    is_written: bool,
}

impl Probe {
    pub fn slice(
        &mut self,
        shared: &Shared,
        ring: &mut Ring,
        depth: usize,
        operation: Operation,
        items: &mut [Item],
    ) -> Result<ProbeSlice, String> {
        let (direction, offsets) = match operation {
            Operation::Store => (Direction::Write, unused(shared, items.len() as u64)?),
            Operation::Load => (Direction::Read, objects(shared, items)?),
            Operation::Lookup => return Err("a lookup moves no bytes".to_owned()),
        };
        let mut run = || {
            let place = |index: usize| (Arc::clone(&shared.device.file), offsets[index]);
            move_raw(ring, depth, direction, items, place)
        };
        if operation == Operation::Store && !self.is_written {
            run()?;
            self.is_written = true;
        }
        let begin = Instant::now();
        run()?;
        Ok(ProbeSlice {
            written: begin.elapsed(),
            fresh: None,
        })
    }
}

/// The object parts of the device's last slots, which a run does not reach if it fits twice.
fn unused(shared: &Shared, count: u64) -> Result<Vec<u64>, String> {
    let geometry = &shared.geometry;
    let first = geometry.max_slots.checked_sub(count);
    let first = first.filter(|first| *first >= shared.state().index.next_slot());
    let first = first.ok_or("the device has no unused slots left for the probe; name a larger one")?;
    Ok((first..geometry.max_slots)
        .map(|slot| geometry.slot_offset(slot) + geometry.header_bytes)
        .collect())
}

fn objects(shared: &Shared, items: &[Item]) -> Result<Vec<u64>, String> {
    let state = shared.state();
    let geometry = &shared.geometry;
    let mut name = String::new();
    items
        .iter()
        .map(|item| {
            name.clear();
            item.key.push_raw_name(&mut name);
            let entry = state.index.get(&name).ok_or("the probe found no object to read")?;
            Ok(geometry.slot_offset(entry.slot) + geometry.header_bytes)
        })
        .collect()
}
