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

    /// As [`Piece::write`], for bytes that will not be read soon: they leave the processor's caches alone.
    pub fn write_past_caches(&mut self, from: &[u8]) {
        assert!(from.len() <= self.bytes, "a piece of {} bytes", self.bytes);
        // SAFETY: as in `write`.
        unsafe { copy_past_caches(from, self.address()) };
    }

    /// Copies the start of the piece to `to`.
    pub fn read(&self, to: &mut [u8]) {
        assert!(to.len() <= self.bytes, "a piece of {} bytes", self.bytes);
        // SAFETY: as in `write`; `&self` excludes a write by this process meanwhile.
        unsafe { ptr::copy_nonoverlapping(self.address(), to.as_mut_ptr(), to.len()) };
    }
}

/// Copies with stores that go straight to memory: a plain copy would first fetch the lines that it is going to overwrite.
///
/// # Safety
/// `to` must be writable for `from.len()` bytes, which nothing else accesses meanwhile and `from` does not overlap.
#[cfg(target_arch = "x86_64")]
unsafe fn copy_past_caches(from: &[u8], to: *mut u8) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    const LINE_BYTES: usize = 64;
    // Whole lines of the destination; what lies before and behind them is copied plainly.
    let head = to.align_offset(LINE_BYTES).min(from.len());
    let (head, rest) = from.split_at(head);
    let lines = rest.chunks_exact(LINE_BYTES);
    let tail = lines.remainder();
    // SAFETY: all of the destination is writable (the caller's promise), and these are its first bytes.
    unsafe { ptr::copy_nonoverlapping(head.as_ptr(), to, head.len()) };
    let mut at = to.wrapping_add(head.len());
    for line in lines {
        let source = line.as_ptr().cast::<__m128i>();
        let target = at.cast::<__m128i>();
        // SAFETY: `line` has the 64 bytes that are loaded, unaligned; `at` is the start of a line that lies whole inside the
        // destination. Every x86-64 processor has these instructions.
        unsafe {
            let parts = [0, 1, 2, 3].map(|part| _mm_loadu_si128(source.wrapping_add(part)));
            for (part, bytes) in parts.into_iter().enumerate() {
                _mm_stream_si128(target.wrapping_add(part), bytes);
            }
        }
        at = at.wrapping_add(LINE_BYTES);
    }
    // SAFETY: `at` is the rest of the destination, which is as long as `tail`; the fence orders the streamed lines before
    // whatever hands the piece to another thread.
    unsafe {
        ptr::copy_nonoverlapping(tail.as_ptr(), at, tail.len());
        _mm_sfence();
    }
}

/// As above, where there are no such stores.
///
/// # Safety
/// As above.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn copy_past_caches(from: &[u8], to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
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

    #[test]
    fn a_copy_past_the_caches_writes_its_range_and_no_byte_more() {
        let source: Vec<u8> = (0..400_u32).map(|index| (index % 251) as u8 + 1).collect();
        for start in [0, 1, 15, 63, 64] {
            for len in [0, 1, 16, 63, 64, 65, 127, 128, 300] {
                let mut target = vec![0_u8; 512];
                // Off the source's own alignment too.
                let from = &source[start % 7..][..len];
                // SAFETY: start + len is less than the vector's length, and nothing else uses it.
                unsafe { copy_past_caches(from, target.as_mut_ptr().wrapping_add(start)) };
                assert_eq!(&target[start..start + len], from, "{len} bytes at {start}");
                let around = target[..start].iter().chain(&target[start + len..]);
                assert!(around.copied().all(|byte| byte == 0), "{len} bytes at {start}");
            }
        }
    }
}
