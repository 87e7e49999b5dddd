//! The device or pre-sized file under raw_block: opened but not created, locked against a second process, and read and
//! written in whole blocks. A device that something else uses is refused.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::geometry::Geometry;
use crate::l2::adapters::raw_block::config::RawBlockConfig;
use crate::sys::arena::{Arena, Slot};
use crate::sys::{files, limits};
use crate::url::literal_path_advice;

const PATIENCE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Device {
    pub file: Arc<File>,
    pub bytes: u64,
    /// As configured.
    blocks: Blocks,
}

/// The block sizes that decide whether O_DIRECT accepts a transfer.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    direct: bool,
    block_align: u64,
    /// What the kernel requires, if it reports that.
    needed: Option<u64>,
}

impl Blocks {
    /// What to do about a refused transfer, behind a semicolon. A file has the blocks of the disk below it.
    fn advice(self, error: &io::Error) -> String {
        let aligned = self.block_align;
        match (error.kind(), self.needed) {
            (ErrorKind::InvalidInput, Some(needed)) if self.direct && needed > aligned => format!(
                "; block_align is {aligned}, and what lies below takes O_DIRECT in whole blocks of {needed} bytes only: set \
                 \"block_align\": {needed} (slot_bytes, header_bytes and meta_total_bytes are multiples of it), and \
                 --l1-align-bytes {needed}"
            ),
            (ErrorKind::InvalidInput, None) if self.direct => format!(
                "; block_align {aligned} may be smaller than the blocks of the disk below: set \"block_align\": 4096 \
                 (slot_bytes, header_bytes and meta_total_bytes are multiples of it) and --l1-align-bytes 4096, or \
                 \"use_odirect\": false"
            ),
            (ErrorKind::InvalidInput, Some(_)) if self.direct => {
                "; it may not take O_DIRECT: set \"use_odirect\": false".to_owned()
            }
            (ErrorKind::StorageFull | ErrorKind::QuotaExceeded, _) => {
                "; the file is sparse and its file system is full: free space".to_owned()
            }
            (ErrorKind::UnexpectedEof, _) => "; the file is shorter than it was when the run began".to_owned(),
            _ => match limits::advice(error) {
                Some(advice) => format!("; {advice}"),
                None => "; look at the device and at the kernel's log".to_owned(),
            },
        }
    }
}

impl Device {
    pub fn open(config: &RawBlockConfig) -> Result<Device, String> {
        let path = &config.device_path;
        let refused = |what: &str, error: io::Error| {
            let literal = literal_path_advice(Path::new(path));
            let advice = limits::advice(&error).or(literal.as_deref());
            let advice = advice.unwrap_or_else(|| match error.kind() {
                ErrorKind::NotFound => "it is never created: name a block device, or make a file with `truncate -s 8G`",
                ErrorKind::PermissionDenied => "you must be allowed to read and write it",
                ErrorKind::ResourceBusy => "it is mounted or in use: name a device that nothing else uses",
                ErrorKind::ReadOnlyFilesystem => "its file system is mounted read-only: name another one",
                ErrorKind::InvalidInput if config.use_odirect => "it may not take O_DIRECT: set \"use_odirect\": false",
                _ => "name a block device, or a plain file that is large enough",
            });
            format!("could not {what} device_path {path}: {error}; {advice}")
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
        let opened = retry_while_refused(ErrorKind::ResourceBusy, || options.open(path));
        let mut file = opened.map_err(|error| refused("open", error))?;
        match retry_while_refused(ErrorKind::WouldBlock, || files::lock_exclusive(&file)) {
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
        let blocks = Blocks {
            direct: config.use_odirect,
            block_align: config.block_align.unsigned_abs(),
            needed: files::direct_align_bytes(&file),
        };
        Ok(Device {
            file: Arc::new(file),
            bytes,
            blocks,
        })
    }

    /// What to do about a transfer that the kernel refused, behind a semicolon.
    pub fn advice(&self, error: &io::Error) -> String {
        self.blocks.advice(error)
    }

    /// Reads `bytes` bytes, in whole blocks of `geometry`.
    pub fn read(&self, geometry: &Geometry, offset: u64, bytes: u64) -> io::Result<Slot> {
        let mut buffer = buffer(geometry.transfer_bytes(bytes), geometry.block_align)?;
        self.file.read_exact_at(buffer.bytes_mut(), offset)?;
        Ok(buffer)
    }

    /// Writes `bytes`, padded with zeros to whole blocks where O_DIRECT needs that.
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

/// A process that ended keeps its device until the kernel has removed its ring, so a refusal is retried for a moment.
fn retry_while_refused<T>(refusal: ErrorKind, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(error) if error.kind() == refusal && Instant::now() < end => thread::sleep(POLL),
            other => return other,
        }
    }
}

/// Zeroed memory with the alignment of O_DIRECT.
pub fn buffer(bytes: u64, align: u64) -> io::Result<Slot> {
    let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
    let align = usize::try_from(align).map_err(io::Error::other)?;
    let (_arena, mut slots) = Arena::new(bytes, align, false)?.into_slots(bytes);
    slots
        .pop()
        .ok_or_else(|| io::Error::other("an empty buffer was asked for"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_larger_than_block_align_are_named() {
        let invalid = io::Error::from(ErrorKind::InvalidInput);
        let advice = |direct, block_align, needed| {
            let blocks = Blocks {
                direct,
                block_align,
                needed,
            };
            blocks.advice(&invalid)
        };
        let reason = advice(true, 512, Some(4096));
        for part in [
            "block_align is 512",
            "blocks of 4096",
            "\"block_align\": 4096",
            "--l1-align-bytes 4096",
        ] {
            assert!(reason.contains(part), "{reason}");
        }
        assert!(advice(true, 512, None).contains("may be smaller than the blocks"));
        assert!(advice(true, 4096, Some(512)).contains("\"use_odirect\": false"));
        assert!(!advice(false, 512, Some(4096)).contains("block_align"));
        let full = io::Error::from(ErrorKind::StorageFull);
        let blocks = Blocks {
            direct: true,
            block_align: 512,
            needed: Some(4096),
        };
        assert!(blocks.advice(&full).contains("sparse"));
        assert!(blocks.advice(&io::Error::from_raw_os_error(24)).contains("ulimit -n"));
    }
}
