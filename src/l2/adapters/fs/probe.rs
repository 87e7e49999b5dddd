//! What the device gives without files to create, name or find: the same bytes, O_DIRECT, through the same ring, against
//! space that was written before. A ratio to it says how much of the device a store or load reaches.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::layout::Layout;
use super::ring::move_raw;
use crate::l2::adapter::Item;
use crate::sys::files;
use crate::sys::uring::{Direction, Ring};

/// A file of one round's size, written once: unwritten space is a different device.
pub struct Probe {
    path: PathBuf,
    file: Arc<File>,
}

fn item_bytes(items: &[Item]) -> u64 {
    items
        .first()
        .and_then(|item| item.slot.as_ref())
        .map_or(0, |slot| slot.len() as u64)
}

impl Probe {
    /// One slice of writing. The first call makes the file and writes it once outside the clock.
    pub fn store(
        probe: &mut Option<Probe>,
        layout: &Layout,
        ring: &mut Ring,
        depth: usize,
        items: &mut [Item],
    ) -> Result<Duration, String> {
        let object_bytes = item_bytes(items);
        let fresh = probe.is_none();
        if fresh {
            *probe = Some(Probe::create(layout, object_bytes * items.len() as u64)?);
        }
        let file = Arc::clone(&probe.as_ref().expect("made above").file);
        let mut slice = || {
            let begin = Instant::now();
            move_raw(ring, depth, Direction::Write, items, |index| {
                (Arc::clone(&file), index as u64 * object_bytes)
            })
            .map(|()| begin.elapsed())
        };
        if fresh {
            slice()?;
        }
        slice()
    }

    fn create(layout: &Layout, bytes: u64) -> Result<Probe, String> {
        let path = layout
            .base()
            .join(format!(".lmcache-bench-probe-{}.tmp", std::process::id()));
        let refused = |error: std::io::Error| format!("could not make the probe file {}: {error}", path.display());
        let mut options = File::options();
        options
            .write(true)
            .create_new(true)
            .custom_flags(files::O_DIRECT)
            .mode(0o600);
        let file = options.open(&path).map_err(refused)?;
        let probe = Probe {
            file: Arc::new(file),
            path: path.clone(),
        };
        match files::allocate(&probe.file, bytes) {
            Ok(()) => Ok(probe),
            Err(error) => {
                let message = refused(error);
                probe.remove()?;
                Err(message)
            }
        }
    }

    pub fn remove(self) -> Result<(), String> {
        std::fs::remove_file(&self.path).map_err(|error| {
            format!(
                "could not remove the probe file {}: {error}; remove it by hand",
                self.path.display()
            )
        })
    }
}

/// One slice of reading the very objects that a load will read, opened outside the clock.
pub fn load(layout: &Layout, ring: &mut Ring, depth: usize, items: &mut [Item]) -> Result<Duration, String> {
    /// Descriptors at a time: half of the usual soft limit of 1024.
    const OPEN_FILES_MAX: usize = 512;
    let mut total = Duration::ZERO;
    let mut path = String::new();
    for batch in items.chunks_mut(OPEN_FILES_MAX) {
        let mut open = Vec::with_capacity(batch.len());
        for item in batch.iter() {
            layout.final_path(&item.key, &mut path);
            let file = File::options().read(true).custom_flags(files::O_DIRECT).open(&path);
            open.push(Arc::new(
                file.map_err(|error| format!("the probe could not open {path}: {error}"))?,
            ));
        }
        let begin = Instant::now();
        move_raw(ring, depth, Direction::Read, batch, |index| {
            (Arc::clone(&open[index]), 0)
        })?;
        total += begin.elapsed();
    }
    Ok(total)
}
