//! The device or pre-sized file under raw_block: opened, never created, locked against a second process, and read and written
//! in whole blocks. It must never touch a device that something else uses.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::geometry::Geometry;
use crate::l2::spec::RawBlockConfig;
use crate::sys::arena::{Arena, Slot};
use crate::sys::files;

const PATIENCE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Device {
    pub file: Arc<File>,
    pub bytes: u64,
}

impl Device {
    pub fn open(config: &RawBlockConfig) -> Result<Device, String> {
        let path = &config.device_path;
        let refused = |what: &str, error: io::Error| {
            let advice = match error.kind() {
                ErrorKind::NotFound => {
                    "; it is never created: name a block device, or make a file with `truncate -s 8G`"
                }
                ErrorKind::PermissionDenied => "; you must be allowed to read and write it",
                ErrorKind::ResourceBusy => "; it is mounted or in use: name a device that nothing else uses",
                ErrorKind::InvalidInput if config.use_odirect => {
                    "; it may not take O_DIRECT: set \"use_odirect\": false"
                }
                _ => "",
            };
            format!("could not {what} device_path {path}: {error}{advice}")
        };
        let kind = fs::metadata(path).map_err(|error| refused("open", error))?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(format!(
                "device_path {path} is neither a block device nor a plain file; name one of those"
            ));
        }
        let mut flags = if config.use_odirect { files::O_DIRECT } else { 0 };
        if kind.is_block_device() {
            // Without O_CREAT this means: refuse if the kernel or another exclusive opener has it.
            flags |= files::O_EXCL;
        }
        let mut options = File::options();
        options.read(true).write(true).custom_flags(flags);
        let opened = with_patience(ErrorKind::ResourceBusy, || options.open(path));
        let mut file = opened.map_err(|error| refused("open", error))?;
        match with_patience(ErrorKind::WouldBlock, || files::lock_exclusive(&file)) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(format!(
                    "device_path {path} is locked by another process that uses it for raw_block, and two would overwrite \
                     each other's slots; wait for it or name another device"
                ));
            }
            // A file system without locks: LMCache takes none either.
            _ => {}
        }
        let bytes = file
            .seek(SeekFrom::End(0))
            .map_err(|error| refused("find the size of", error))?;
        Ok(Device {
            file: Arc::new(file),
            bytes,
        })
    }

    /// Reads so many bytes; `geometry` says in which units.
    pub fn read(&self, geometry: &Geometry, offset: u64, bytes: u64) -> io::Result<Slot> {
        let mut buffer = buffer(geometry.transfer_bytes(bytes), geometry.block_align)?;
        self.file.read_exact_at(buffer.bytes_mut(), offset)?;
        Ok(buffer)
    }

    /// Writes these bytes, and zeros up to the next block where O_DIRECT wants whole ones.
    pub fn write(&self, geometry: &Geometry, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut buffer = buffer(geometry.transfer_bytes(bytes.len() as u64), geometry.block_align)?;
        buffer.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        self.file.write_all_at(buffer.bytes(), offset)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // A ring that had the file registered keeps it, and the lock with it, for a moment after it is closed.
        let _ = files::unlock(&self.file);
    }
}

/// A process that ended keeps its device until the kernel has taken its ring apart, so one refusal is not believed.
fn with_patience<T>(refusal: ErrorKind, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(error) if error.kind() == refusal && Instant::now() < end => thread::sleep(POLL),
            other => return other,
        }
    }
}

/// Zeroed memory that O_DIRECT takes.
pub fn buffer(bytes: u64, align: u64) -> io::Result<Slot> {
    let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
    let align = usize::try_from(align).map_err(io::Error::other)?;
    let (_arena, mut slots) = Arena::new(bytes, align, false)?.into_slots(bytes);
    slots
        .pop()
        .ok_or_else(|| io::Error::other("an empty buffer was asked for"))
}
