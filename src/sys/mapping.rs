//! A mapping of memory whose bytes are copied in and out. There are no references to shared bytes, because another process (a
//! cache server, a client) may write them at any time, which Rust's references rule out.
#![allow(unsafe_code)]

use std::io;
use std::num::NonZero;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Size of the copies that `visit` makes of shared memory: small enough for the L1 or L2 cache.
const VISIT_BYTES: usize = 32 << 10;
/// What one thread populates at a time. It takes about 0.3 ms, ten times as long as starting a thread.
const POPULATE_BYTES: usize = 1 << 20;
/// More threads do not get memory from the kernel any faster.
const POPULATE_THREADS_MAX: usize = 8;

/// Unmapped when dropped. A range outside the mapping panics, as with a slice; check untrusted offsets and lengths with
/// `contains` first.
pub struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
    /// Whether other processes may hold the same pages.
    shared: bool,
}

// SAFETY: a mapping is plain memory that any thread may use. It is not `Sync`, so only one does at a time.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Private zeroed memory. The kernel allocates pages when they are first accessed.
    pub fn anonymous(bytes: usize) -> io::Result<Mapping> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        map(bytes, flags, -1)
    }

    /// The first `bytes` of a shared-memory object, for reading and writing.
    pub fn shared(object: BorrowedFd<'_>, bytes: usize) -> io::Result<Mapping> {
        let mut mapping = map(bytes, libc::MAP_SHARED, object.as_raw_fd())?;
        mapping.shared = true;
        Ok(mapping)
    }

    pub fn len(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether the range of `bytes` bytes at `offset` is inside the mapping.
    pub fn contains(&self, offset: usize, bytes: usize) -> bool {
        offset.checked_add(bytes).is_some_and(|end| end <= self.bytes)
    }

    /// Copies `from` to `offset`.
    pub fn write(&mut self, offset: usize, from: &[u8]) {
        let to = self.at(offset, from.len());
        // SAFETY: `at` checked that the range is inside the mapping. `from` cannot overlap it, because there are no references
        // to writable mappings. If another process writes the bytes at the same time, they are still plain bytes.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
    }

    /// Copies the bytes at `offset` into `to`.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        let from = self.at(offset, to.len());
        // SAFETY: as in `write`, with the roles exchanged.
        unsafe { ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
    }

    /// Copies directly from another mapping.
    pub fn copy_from(&mut self, offset: usize, source: &Mapping, source_offset: usize, bytes: usize) {
        let to = self.at(offset, bytes);
        let from = source.at(source_offset, bytes);
        // SAFETY: `at` checked both ranges. `&mut self` and `&source` are different mappings at different addresses. Even if
        // both map the same object, `copy` allows an overlap.
        unsafe { ptr::copy(from, to, bytes) };
    }

    /// Sets `bytes` bytes at `offset` to `value`.
    pub fn fill(&mut self, offset: usize, bytes: usize, value: u8) {
        let to = self.at(offset, bytes);
        // SAFETY: `at` checked the range.
        unsafe { ptr::write_bytes(to, value, bytes) };
    }

    /// Passes the bytes of a range to `visitor` in order: private memory in one piece, shared memory as copies of up to 32 KiB.
    pub fn visit(&self, offset: usize, bytes: usize, visitor: &mut dyn FnMut(&[u8])) {
        let from = self.at(offset, bytes);
        if !self.shared {
            // SAFETY: `at` checked the range. Private memory is written only through `&mut self`, which `&self` excludes while
            // the visitor runs. The kernel zeroes new pages, so all bytes are initialised.
            visitor(unsafe { std::slice::from_raw_parts(from, bytes) });
            return;
        }
        let mut piece = [0u8; VISIT_BYTES];
        let mut done = 0;
        while done < bytes {
            let step = VISIT_BYTES.min(bytes - done);
            self.read(offset + done, &mut piece[..step]);
            visitor(&piece[..step]);
            done += step;
        }
    }

    /// Populates the pages of ranges, given as (offset, bytes), with several threads if they are large, so that later copies
    /// cause no page faults. Kernels before 5.14 do not support this; then the copies cause them.
    pub fn populate(&mut self, ranges: &[(usize, usize)]) {
        let pieces: Vec<(usize, usize)> = ranges
            .iter()
            .flat_map(|(offset, bytes)| self.pages_of(*offset, *bytes))
            .collect();
        let total: usize = pieces.iter().map(|(_, bytes)| bytes).sum();
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = (total / POPULATE_BYTES).clamp(1, cores.min(POPULATE_THREADS_MAX));
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some((address, bytes)) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                let address = ptr::with_exposed_provenance_mut::<libc::c_void>(*address);
                // SAFETY: the range is inside the mapping, which `&mut self` keeps alive until all threads have ended. The
                // advice changes no bytes.
                unsafe { libc::madvise(address, *bytes, libc::MADV_POPULATE_WRITE) };
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                // If it cannot be started, the other threads do its share.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
    }

    /// The pages that contain a range, as (address, bytes) of pieces of at most `POPULATE_BYTES`.
    fn pages_of(&self, offset: usize, bytes: usize) -> Vec<(usize, usize)> {
        let page = 4096;
        let first = offset / page * page;
        let end = (offset + bytes).next_multiple_of(page).min(self.bytes);
        let start = self.at(first, end - first).expose_provenance();
        let pieces = (0..end - first).step_by(POPULATE_BYTES);
        pieces
            .map(|done| (start + done, POPULATE_BYTES.min(end - first - done)))
            .collect()
    }

    /// The address of a range, for system calls and drivers; panics if it is not inside.
    pub fn at(&self, offset: usize, bytes: usize) -> *mut u8 {
        assert!(
            self.contains(offset, bytes),
            "{bytes} bytes from {offset} are not inside {} bytes",
            self.bytes
        );
        self.base.as_ptr().wrapping_add(offset)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and bytes are those of the mmap in `map`, and nothing borrows the memory any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

fn map(bytes: usize, flags: i32, object: i32) -> io::Result<Mapping> {
    // SAFETY: a new mapping at an address that the kernel chooses touches no existing memory.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            object,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let base = NonNull::new(address.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
    Ok(Mapping {
        base,
        bytes,
        shared: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_in_and_out() {
        let mut one = Mapping::anonymous(3 * VISIT_BYTES).unwrap();
        let mut two = Mapping::anonymous(64).unwrap();
        two.write(8, b"abcdefgh");
        one.copy_from(VISIT_BYTES - 4, &two, 8, 8);
        let mut out = [0; 10];
        one.read(VISIT_BYTES - 5, &mut out);
        assert_eq!(&out, b"\0abcdefgh\0");
        one.fill(VISIT_BYTES - 4, 2, b'x');
        let mut seen = Vec::new();
        one.visit(VISIT_BYTES - 4, 8, &mut |piece| seen.extend_from_slice(piece));
        assert_eq!(seen, b"xxcdefgh");
    }

    #[test]
    fn populating_changes_no_bytes() {
        let bytes = 5 * POPULATE_BYTES + 4096;
        let mut mapping = Mapping::anonymous(bytes).unwrap();
        mapping.write(POPULATE_BYTES - 2, b"abcd");
        mapping.populate(&[
            (1, 2 * POPULATE_BYTES),
            (3 * POPULATE_BYTES, 2 * POPULATE_BYTES + 4096),
            (7, 0),
        ]);
        let mut out = [0; 6];
        mapping.read(POPULATE_BYTES - 3, &mut out);
        assert_eq!(&out, b"\0abcd\0");
        let whole = mapping.pages_of(1, 2 * POPULATE_BYTES);
        let lengths: Vec<usize> = whole.iter().map(|(_, bytes)| *bytes).collect();
        assert_eq!(
            lengths,
            [POPULATE_BYTES, POPULATE_BYTES, 4096],
            "the page that contains the end is included"
        );
    }

    #[test]
    fn ranges_are_checked_without_overflow() {
        let mapping = Mapping::anonymous(64).unwrap();
        assert!(mapping.contains(0, 64) && mapping.contains(64, 0));
        assert!(!mapping.contains(1, 64) && !mapping.contains(usize::MAX, 2));
    }

    #[test]
    #[should_panic(expected = "not inside 64 bytes")]
    fn a_range_outside_panics() {
        Mapping::anonymous(64).unwrap().read(60, &mut [0; 5]);
    }

    #[test]
    fn no_bytes_cannot_be_mapped() {
        assert!(Mapping::anonymous(0).is_err());
    }
}
