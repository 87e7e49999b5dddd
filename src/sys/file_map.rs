//! A file or memory device mapped shared, cut into pieces that are moved, never shared for writing. Bytes are copied in and out:
//! no reference to them is ever made, because other processes may change them. A file that is truncated while it is mapped ends
//! the process (SIGBUS), as with every mapping.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

const PAGE_BYTES: usize = 4096;

/// The whole mapping, unmapped when the last piece is gone.
struct Map {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the map itself gives no access to the bytes; a piece does, and each byte belongs to at most one piece.
unsafe impl Send for Map {}
// SAFETY: as above; base and bytes are never written after construction.
unsafe impl Sync for Map {}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: base and bytes are those of the mmap in `FileMap::new`, and no piece is left (each holds an Arc).
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// What has not been cut off yet lies between `front` and `back`.
pub struct FileMap {
    map: Arc<Map>,
    front: usize,
    back: usize,
}

impl FileMap {
    /// Maps the first `bytes` of `file` for reading and writing.
    pub fn new(file: &File, bytes: usize) -> io::Result<FileMap> {
        // SAFETY: a fresh mapping at an address the kernel chooses touches no existing memory.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(FileMap {
            map: Arc::new(Map { base, bytes }),
            front: 0,
            back: bytes,
        })
    }

    /// Makes the kernel map this range for writing now, as far as it lies inside, so that no later write meets a page fault.
    pub fn populate(&self, range: Range<usize>) -> io::Result<()> {
        // A page that is cut in half belongs to the range.
        let start = range.start.min(self.map.bytes) / PAGE_BYTES * PAGE_BYTES;
        let bytes = range.end.min(self.map.bytes).saturating_sub(start);
        let address = self.map.base.as_ptr().wrapping_add(start);
        // SAFETY: advice over a part of the mapping, which `map` keeps alive; mappings start at a page.
        match unsafe { libc::madvise(address.cast(), bytes, libc::MADV_POPULATE_WRITE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// What has not been cut off yet.
    pub fn rest(&self) -> Range<usize> {
        self.front..self.back
    }

    /// The next piece, in order of address; none when less is left.
    pub fn cut(&mut self, bytes: usize) -> Option<Piece> {
        if bytes > self.back - self.front {
            return None;
        }
        self.front += bytes;
        Some(self.piece(self.front - bytes, bytes))
    }

    /// A piece from the end.
    pub fn cut_last(&mut self, bytes: usize) -> Option<Piece> {
        if bytes > self.back - self.front {
            return None;
        }
        self.back -= bytes;
        Some(self.piece(self.back, bytes))
    }

    fn piece(&self, offset: usize, bytes: usize) -> Piece {
        Piece {
            map: Arc::clone(&self.map),
            offset,
            bytes,
        }
    }
}

/// The only way to some bytes of a mapping.
pub struct Piece {
    map: Arc<Map>,
    offset: usize,
    bytes: usize,
}

impl Piece {
    pub fn len(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn address(&self) -> *mut u8 {
        self.map.base.as_ptr().wrapping_add(self.offset)
    }

    /// Copies `from` to the start of the piece.
    pub fn write(&mut self, from: &[u8]) {
        assert!(from.len() <= self.bytes, "a piece of {} bytes", self.bytes);
        // SAFETY: offset + bytes lies inside the mapping (`cut`, `cut_last`), `&mut self` makes this the only access of this
        // process to these bytes, and `from` cannot overlap them, because no reference to a mapping exists.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.address(), from.len()) };
    }

    /// Copies the start of the piece to `to`.
    pub fn read(&self, to: &mut [u8]) {
        assert!(to.len() <= self.bytes, "a piece of {} bytes", self.bytes);
        // SAFETY: as in `write`; `&self` excludes a write by this process meanwhile.
        unsafe { ptr::copy_nonoverlapping(self.address(), to.as_mut_ptr(), to.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn pieces_are_disjoint_and_reach_the_file() {
        let path = std::env::temp_dir().join(format!("lmcache-bench-mapping-{}", std::process::id()));
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.set_len(10_000).unwrap();
        let mut mapping = FileMap::new(&file, 10_000).unwrap();
        // Refused by kernels before 5.14; nothing depends on it.
        let _ = mapping.populate(5000..usize::MAX);
        let mut pieces: Vec<Piece> = std::iter::from_fn(|| mapping.cut(3000)).collect();
        let mut last = mapping.cut_last(1000).unwrap();
        assert!(pieces.len() == 3 && mapping.cut(1).is_none() && mapping.cut_last(1).is_none());
        for (number, piece) in pieces.iter_mut().enumerate() {
            piece.write(&vec![u8::try_from(number).unwrap() + 1; 3000]);
        }
        last.write(&[9; 1000]);
        drop(mapping);
        let mut held = vec![0; 10_000];
        file.read_exact_at(&mut held, 0).unwrap();
        assert_eq!(
            (held[0], held[2999], held[3000], held[8999], held[9000]),
            (1, 1, 2, 3, 9)
        );
        let mut back = [0; 2];
        pieces[1].read(&mut back);
        assert_eq!(back, [2, 2]);
    }
}
