//! What plain copies reach: the same bytes, the same number of threads, no queue and no index.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use super::device::Devices;
use crate::l2::adapter::{Item, ProbeSlice};
use crate::sys::mapping::Piece;

#[derive(Default)]
pub struct Probe {
    /// Slots that no object gets.
    pieces: Vec<Piece>,
}

impl Probe {
    /// Copies a round into the probe's own slots. The first call touches them, outside the clock.
    pub fn store(&mut self, devices: &mut Devices, workers: usize, items: &mut [Item]) -> Result<ProbeSlice, String> {
        let copy = |(item, piece): (&mut Item, &mut Piece)| {
            if let Some(slot) = &item.slot {
                piece.write(slot.bytes());
            }
        };
        if self.pieces.len() < items.len() {
            let pieces = devices.take_last(items.len());
            self.pieces = pieces.ok_or("the devices have no unused slots left for the probe; raise max_dax_size_gb")?;
            items.iter_mut().zip(&mut self.pieces).for_each(copy);
        }
        let written = timed(items.iter_mut().zip(&mut self.pieces).collect(), workers, copy);
        Ok(ProbeSlice { written, fresh: None })
    }
}

/// Copies the very objects that a load will read.
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

/// How long `workers` threads take for all of `work`, each for a share of it, from when all are there.
fn timed<Work: Send>(mut work: Vec<Work>, workers: usize, copy: impl Fn(Work) + Copy + Send) -> Duration {
    let share = work.len().div_ceil(workers.max(1)).max(1);
    let mut parts = Vec::new();
    while !work.is_empty() {
        parts.push(work.split_off(work.len().saturating_sub(share)));
    }
    let ready = Barrier::new(parts.len() + 1);
    thread::scope(|scope| {
        for part in parts {
            let ready = &ready;
            scope.spawn(move || {
                ready.wait();
                part.into_iter().for_each(copy);
            });
        }
        ready.wait();
        let begin = Instant::now();
        // The scope joins the threads; the clock stops behind it.
        begin
    })
    .elapsed()
}
