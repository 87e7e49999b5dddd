//! What the device reaches without files to create, rename or find: the same bytes, O_DIRECT, through a ring. The ratio to
//! it shows how much of the device a store or load uses. Nothing is deleted before the run is over: recently freed space
//! would slow down the creates that are measured.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::layout::Layout;
use crate::l2::adapter::{Item, ProbeSlice};
use crate::l2::adapters::raw_probe::move_raw;
use crate::sys::uring::{Direction, Ring};
use crate::sys::{files, limits};

/// Files of the size of one round: one that was written before, and one for every probe of fresh space.
pub struct Probe {
    written: Arc<File>,
    paths: Vec<PathBuf>,
}

fn item_bytes(items: &[Item]) -> u64 {
    let slot = items.first().and_then(|item| item.slot.as_ref());
    slot.map_or(0, |slot| slot.len() as u64)
}

impl Probe {
    /// Writes one round to written space and one to fresh space. The first call creates the written file, untimed.
    pub fn store(
        probe: &mut Option<Probe>,
        layout: &Layout,
        ring: &mut Ring,
        depth: usize,
        items: &mut [Item],
    ) -> Result<ProbeSlice, String> {
        let object_bytes = item_bytes(items);
        let bytes = object_bytes * items.len() as u64;
        let mut write = |file: &Arc<File>| {
            let begin = Instant::now();
            let place = |index| (Arc::clone(file), index as u64 * object_bytes);
            move_raw(ring, depth, Direction::Write, items, place).map(|()| begin.elapsed())
        };
        if probe.is_none() {
            let (path, file) = create(layout, bytes, 0)?;
            let made = probe.insert(Probe {
                written: file,
                paths: vec![path],
            });
            write(&made.written)?;
        }
        let probe = probe.as_mut().ok_or("the probe file was just made")?;
        let written = write(&probe.written)?;
        let (path, file) = create(layout, bytes, probe.paths.len())?;
        probe.paths.push(path);
        let fresh = Some(write(&file)?);
        Ok(ProbeSlice { written, fresh })
    }

    pub fn remove(self) -> Result<(), String> {
        for path in &self.paths {
            std::fs::remove_file(path).map_err(|error| {
                let path = path.display();
                format!("could not remove the probe file {path}: {error}; remove it by hand")
            })?;
        }
        Ok(())
    }
}

/// A new file with its space reserved, so that writing it neither allocates nor grows it.
fn create(layout: &Layout, bytes: u64, number: usize) -> Result<(PathBuf, Arc<File>), String> {
    let name = format!(".lmcache-bench-probe-{}-{number}.tmp", std::process::id());
    let path = layout.base().join(name);
    let refused = |error: std::io::Error| {
        let advice = limits::advice(&error).unwrap_or("free space for it, or leave --probe out");
        format!("could not make the probe file {}: {error}; {advice}", path.display())
    };
    let mut options = File::options();
    options
        .write(true)
        .create_new(true)
        .custom_flags(files::O_DIRECT)
        .mode(0o600);
    let file = options.open(&path).map_err(refused)?;
    if let Err(error) = files::allocate(&file, bytes) {
        // The lack of space is reported, not a failure to remove the empty file.
        let _ = std::fs::remove_file(&path);
        return Err(refused(error));
    }
    Ok((path, Arc::new(file)))
}

/// Reads the objects that a load will read; they are opened untimed.
pub fn load(layout: &Layout, ring: &mut Ring, depth: usize, items: &mut [Item]) -> Result<ProbeSlice, String> {
    /// Descriptors at a time: half of the usual soft limit of 1024.
    const OPEN_FILES_MAX: usize = 512;
    let mut written = Duration::ZERO;
    let mut path = String::new();
    for batch in items.chunks_mut(OPEN_FILES_MAX) {
        let mut open = Vec::with_capacity(batch.len());
        for item in batch.iter() {
            layout.final_path(&item.key, &mut path);
            let file = File::options().read(true).custom_flags(files::O_DIRECT).open(&path);
            open.push(Arc::new(file.map_err(|error| {
                format!("the probe could not open {path}: {}", limits::with_advice(&error))
            })?));
        }
        let begin = Instant::now();
        move_raw(ring, depth, Direction::Read, batch, |index| {
            (Arc::clone(&open[index]), 0)
        })?;
        written += begin.elapsed();
    }
    Ok(ProbeSlice { written, fresh: None })
}
