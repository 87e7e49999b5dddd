//! What plain copies reach: the same bytes and number of threads, without queue and index.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::device::Devices;
use crate::l2::adapter::{Item, ProbeSlice};
use crate::sys::file_map::Piece;
use crate::sys::parallel;

#[derive(Default)]
pub struct Probe {
    /// Slots that no object uses: as many as the run writes, if there is room, because memory that was just written lies in the
    /// CPU's caches.
    pieces: Vec<Piece>,
    /// Where the next round begins in them.
    next: usize,
}

impl Probe {
    /// Copies a round into the probe's own slots.
    pub fn store(
        &mut self,
        devices: &mut Devices,
        run_objects: u64,
        workers: usize,
        items: &mut [Item],
    ) -> Result<ProbeSlice, String> {
        if self.pieces.is_empty() {
            let wanted = usize::try_from(run_objects)
                .unwrap_or(usize::MAX)
                .saturating_add(items.len());
            self.pieces = devices.take_last(wanted);
        }
        if self.pieces.len() < items.len() {
            return Err("the devices have no unused slots left for the probe; raise max_dax_size_gb".to_owned());
        }
        if self.next + items.len() > self.pieces.len() {
            self.next = 0;
        }
        let pieces = &mut self.pieces[self.next..self.next + items.len()];
        self.next += items.len();
        let work = items.iter().zip(pieces).collect();
        let written = timed(work, workers, |(item, piece): (&Item, &mut Piece)| {
            if let Some(slot) = &item.slot {
                piece.write(slot.bytes());
            }
        });
        Ok(ProbeSlice { written, fresh: None })
    }
}

/// Copies the objects that a load will read.
pub fn load(sources: Option<Vec<Arc<Piece>>>, workers: usize, items: &mut [Item]) -> Result<ProbeSlice, String> {
    let sources = sources.ok_or("the probe found no object to read")?;
    let copy = |(item, piece): (&mut Item, Arc<Piece>)| {
        if let Some(slot) = &mut item.slot {
            piece.read(slot.bytes_mut());
        }
    };
    let written = timed(items.iter_mut().zip(sources).collect(), workers, copy);
    Ok(ProbeSlice { written, fresh: None })
}

/// How long `workers` threads take for all of `work`, each for a share of it: from the first one's begin to the last one's end.
fn timed<Work: Send>(mut work: Vec<Work>, workers: usize, copy: impl Fn(Work) + Copy + Sync) -> Duration {
    let share = work.len().div_ceil(workers.max(1)).max(1);
    let mut parts = Vec::new();
    while !work.is_empty() {
        parts.push(work.split_off(work.len().saturating_sub(share)));
    }
    let run = |part: Vec<Work>| {
        let begin = Instant::now();
        part.into_iter().for_each(copy);
        (begin, Instant::now())
    };
    let spans: Vec<(Instant, Instant)> = parallel::each(parts, run);
    let begin = spans.iter().map(|(begin, _)| *begin).min();
    let end = spans.iter().map(|(_, end)| *end).max();
    begin
        .zip(end)
        .map_or(Duration::ZERO, |(begin, end)| end.duration_since(begin))
}
