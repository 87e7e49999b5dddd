//! A shared mapping of a file or memory device, split into pieces. Each piece is the only access to its bytes. Bytes are copied
//! in and out without making references to them, because other processes may change them. As with every mapping, a file that
//! is truncated while it is mapped ends the process (SIGBUS).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

const PAGE_BYTES: usize = 4096;

/// The whole mapping, unmapped when the last piece is dropped.
struct Map {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the map itself gives no access to the bytes. Pieces do, and each byte belongs to at most one piece.
unsafe impl Send for Map {}
// SAFETY: as above; the fields are never written after construction.
unsafe impl Sync for Map {}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: base and bytes are those of the mmap in `FileMap::new`, and no piece is left, since each holds an Arc.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// A mapping that pieces are cut from, at its start and at its end. The rest lies between `front` and `back`.
pub struct FileMap {
    map: Arc<Map>,
    front: usize,
    back: usize,
}

impl FileMap {
    /// Maps the first `bytes` of `file` for reading and writing.
    pub fn new(file: &File, bytes: usize) -> io::Result<FileMap> {
        // SAFETY: a new mapping at an address that the kernel chooses touches no existing memory.
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

    /// Populates the page tables of a range for writing, so that later writes cause no page faults. What lies outside the
    /// mapping is ignored.
    pub fn populate(&self, range: Range<usize>) -> io::Result<()> {
        // madvise wants the start of a page.
        let start = range.start.min(self.map.bytes) / PAGE_BYTES * PAGE_BYTES;
        let bytes = range.end.min(self.map.bytes).saturating_sub(start);
        let address = self.map.base.as_ptr().wrapping_add(start);
        // SAFETY: advice for a part of the mapping, which `map` keeps alive.
        match unsafe { libc::madvise(address.cast(), bytes, libc::MADV_POPULATE_WRITE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The range that has not been cut off.
    pub fn rest(&self) -> Range<usize> {
        self.front..self.back
    }

    /// Cuts a piece off the start of the rest; `None` if the rest is smaller.
    pub fn cut(&mut self, bytes: usize) -> Option<Piece> {
        if bytes > self.back - self.front {
            return None;
        }
        self.front += bytes;
        Some(self.piece(self.front - bytes, bytes))
    }

    /// Cuts a piece off the end of the rest; `None` if the rest is smaller.
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

/// Exclusive access, within this process, to some bytes of a mapping.
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
        // SAFETY: `cut` and `cut_last` keep offset + bytes inside the mapping. `&mut self` makes this the only access of this
        // process to these bytes. `from` cannot overlap them, because no references to the mapping exist.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.address(), from.len()) };
    }

    /// As [`Piece::write`], with non-temporal stores, which bypass the caches: for bytes that will not be read soon.
    pub fn write_nontemporal(&mut self, from: &[u8]) {
        assert!(from.len() <= self.bytes, "a piece of {} bytes", self.bytes);
        // SAFETY: as in `write`.
        unsafe { copy_nontemporal(from, self.address()) };
    }

    /// Copies the start of the piece to `to`.
    pub fn read(&self, to: &mut [u8]) {
        assert!(to.len() <= self.bytes, "a piece of {} bytes", self.bytes);
        // SAFETY: as in `write`; `&self` excludes writes by this process.
        unsafe { ptr::copy_nonoverlapping(self.address(), to.as_mut_ptr(), to.len()) };
    }
}

/// Copies with non-temporal stores. A plain copy would first load the cache lines that it overwrites.
///
/// # Safety
/// `to` must be writable for `from.len()` bytes, must not overlap `from`, and nothing else may access it during the call.
#[cfg(target_arch = "x86_64")]
unsafe fn copy_nontemporal(from: &[u8], to: *mut u8) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    const LINE_BYTES: usize = 64;
    // Non-temporal stores need aligned addresses: only whole cache lines of the destination are written with them.
    let head = to.align_offset(LINE_BYTES).min(from.len());
    let (head, rest) = from.split_at(head);
    let lines = rest.chunks_exact(LINE_BYTES);
    let tail = lines.remainder();
    // SAFETY: the caller guarantees that the destination is writable, and these are its first bytes.
    unsafe { ptr::copy_nonoverlapping(head.as_ptr(), to, head.len()) };
    let mut at = to.wrapping_add(head.len());
    for line in lines {
        let source = line.as_ptr().cast::<__m128i>();
        let target = at.cast::<__m128i>();
        // SAFETY: the loads may be unaligned and read the 64 bytes of `line`. `at` is the start of a whole cache line inside
        // the destination. SSE2 is part of x86-64.
        unsafe {
            let parts = [0, 1, 2, 3].map(|part| _mm_loadu_si128(source.wrapping_add(part)));
            for (part, bytes) in parts.into_iter().enumerate() {
                _mm_stream_si128(target.wrapping_add(part), bytes);
            }
        }
        at = at.wrapping_add(LINE_BYTES);
    }
    // SAFETY: the rest of the destination begins at `at` and is as long as `tail`. The fence orders the non-temporal stores
    // before a later store that hands the piece to another thread.
    unsafe {
        ptr::copy_nonoverlapping(tail.as_ptr(), at, tail.len());
        _mm_sfence();
    }
}

/// A plain copy, for processors where no non-temporal stores are implemented here.
///
/// # Safety
/// As above.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn copy_nontemporal(from: &[u8], to: *mut u8) {
    // SAFETY: the caller guarantees it.
    unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn pieces_are_disjoint_and_reach_the_file() {
        let path = crate::testing::temporary_path("mapping");
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.set_len(10_000).unwrap();
        let mut mapping = FileMap::new(&file, 10_000).unwrap();
        // Kernels before 5.14 refuse it, which changes nothing below.
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
    fn a_nontemporal_copy_writes_exactly_its_range() {
        let source: Vec<u8> = (0..400_u32).map(|index| (index % 251) as u8 + 1).collect();
        for start in [0, 1, 15, 63, 64] {
            for len in [0, 1, 16, 63, 64, 65, 127, 128, 300] {
                let mut target = vec![0_u8; 512];
                // The source is unaligned as well.
                let from = &source[start % 7..][..len];
                // SAFETY: start + len is less than the vector's length, and nothing else uses it.
                unsafe { copy_nontemporal(from, target.as_mut_ptr().wrapping_add(start)) };
                assert_eq!(&target[start..start + len], from, "{len} bytes at {start}");
                let around = target[..start].iter().chain(&target[start + len..]);
                assert!(around.copied().all(|byte| byte == 0), "{len} bytes at {start}");
            }
        }
    }
}
