//! Files written before the measured time, for stores to reuse (`--recycle`): rename, overwrite, rename. A full store does
//! the same with the objects it evicts, and no store then waits for space that was never written. All of them are removed
//! at the end.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sys::arena::Arena;
use crate::sys::{files, limits, signal};
use crate::units::bytes_text;

/// The first content of the files: not zeros, which some devices do not write.
const FILLER: u8 = 0xA5;
/// Alignment for O_DIRECT on every device that LMCache runs on.
const ALIGN_BYTES: usize = 4096;

#[derive(Debug)]
pub struct Recycled {
    /// Of every file's path; its number and `.tmp` follow.
    prefix: String,
    count: usize,
    next: AtomicUsize,
}

impl Recycled {
    /// Writes `count` files of `object_bytes` below `base_text` (which ends with a slash). A signal ends it early, and then
    /// fewer files are there.
    pub fn write(base_text: &str, object_bytes: usize, count: usize, direct: bool) -> Result<Recycled, String> {
        let prefix = format!("{base_text}.lmcache-bench-spare-{}-", std::process::id());
        let mut recycled = Recycled {
            prefix,
            count: 0,
            next: AtomicUsize::new(0),
        };
        let refused = |error: io::Error| {
            let bytes = bytes_text(object_bytes as u64 * count as u64);
            let advice = limits::advice(&error).unwrap_or("free space, or lower --rounds");
            format!("--recycle: could not write {count} files ({bytes}) into {base_text}: {error}; {advice}")
        };
        let arena = Arena::new(object_bytes, ALIGN_BYTES, false).map_err(refused)?;
        let (_arena, mut slots) = arena.into_slots(object_bytes);
        let mut slot = slots.pop().ok_or_else(|| refused(io::ErrorKind::InvalidInput.into()))?;
        slot.bytes_mut().fill(FILLER);
        while recycled.count < count && signal::received().is_none() {
            let path = recycled.path(recycled.count);
            // Counted before it is written, so that a half-written one is removed as well.
            recycled.count += 1;
            write_one(&path, slot.bytes(), direct).map_err(refused)?;
        }
        if let Ok(base) = File::open(base_text) {
            files::sync_file_system(&base).map_err(refused)?;
        }
        Ok(recycled)
    }

    fn path(&self, number: usize) -> String {
        format!("{}{number}.tmp", self.prefix)
    }

    /// Renames the next file to `tmp`; false when none is left.
    pub fn take(&self, tmp: &str) -> io::Result<bool> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.count {
            return Ok(false);
        }
        fs::rename(self.path(number), tmp).map(|()| true)
    }
}

fn write_one(path: &str, bytes: &[u8], direct: bool) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o644);
    if direct {
        options.custom_flags(files::O_DIRECT);
    }
    options.open(Path::new(path))?.write_all_at(bytes, 0)
}

impl Drop for Recycled {
    fn drop(&mut self) {
        for number in self.next.load(Ordering::Relaxed)..self.count {
            // The run is over; the name of a file that cannot be removed says what it is.
            let _ = fs::remove_file(self.path(number));
        }
    }
}
