//! An anonymous mapping that is split into slots of equal size. A slot is the only access to its bytes, and no two slots
//! overlap. So safe code can hand a slot to the kernel or to a helper process, and nothing else touches the bytes meanwhile.
#![allow(unsafe_code)]

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// Smallest alignment of the first slot, so that O_DIRECT accepts its address.
const PAGE_BYTES: usize = 4096;
const HUGE_PAGE_BYTES: usize = 2 << 20;
const PRIVATE: libc::c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// A mapping that is unmapped when the last slot is dropped. It is private to this process, or backed by an unnamed file that
/// can be passed to a helper process.
pub struct Arena {
    base: NonNull<u8>,
    file: Option<File>,
    mapped_bytes: usize,
    /// Offset of the first used byte: more than 0 where the requested alignment is larger than that of the mapping.
    start: usize,
    used_bytes: usize,
}

// SAFETY: the arena itself gives no access to the bytes. Slots do, and each byte belongs to exactly one slot.
unsafe impl Send for Arena {}
// SAFETY: as above; the fields are never written after construction.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps `bytes` bytes and aligns the first one to `align`, at least to a page. With `huge_pages` the memory comes from the
    /// preallocated pool of 2 MiB pages, or the call fails; without, the kernel is asked for transparent huge pages.
    pub fn new(bytes: usize, align: usize, huge_pages: bool) -> io::Result<Arena> {
        Arena::map(bytes, align, huge_pages, false)
    }

    /// As [`Arena::new`], on memory that a helper process can map too: an unnamed file that only this user may open, with a
    /// sealed size, so that a helper cannot truncate it (which would end this process with SIGBUS).
    pub fn shared(bytes: usize, align: usize, huge_pages: bool) -> io::Result<Arena> {
        Arena::map(bytes, align, huge_pages, true)
    }

    fn map(bytes: usize, align: usize, huge_pages: bool, shared: bool) -> io::Result<Arena> {
        let align = align.max(PAGE_BYTES);
        let slack = if align > PAGE_BYTES { align - 1 } else { 0 };
        let granule = if huge_pages { HUGE_PAGE_BYTES } else { PAGE_BYTES };
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let mapped_bytes = bytes
            .max(1)
            .checked_add(slack)
            .and_then(|total| total.checked_next_multiple_of(granule))
            .ok_or_else(too_large)?;
        let file = shared.then(|| sealed_file(mapped_bytes, huge_pages)).transpose()?;
        let (descriptor, flags) = match &file {
            Some(file) => (file.as_raw_fd(), libc::MAP_SHARED),
            None if huge_pages => (-1, PRIVATE | libc::MAP_HUGETLB | libc::MAP_HUGE_2MB),
            None => (-1, PRIVATE),
        };
        // SAFETY: a new mapping at an address that the kernel chooses touches no existing memory.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapped_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                descriptor,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(address.cast::<u8>()).ok_or_else(too_large)?;
        if !huge_pages {
            // SAFETY: advice for exactly the mapping made above. A kernel without transparent huge pages refuses it; then
            // the memory has small pages, which is only slower.
            unsafe { libc::madvise(address, mapped_bytes, libc::MADV_HUGEPAGE) };
        }
        let start = (base.as_ptr() as usize).next_multiple_of(align) - base.as_ptr() as usize;
        Ok(Arena {
            base,
            file,
            mapped_bytes,
            start,
            used_bytes: bytes,
        })
    }

    /// What a helper process needs to map the same bytes; `None` for a private arena.
    pub fn shared_parts(&self) -> Option<SharedParts<'_>> {
        Some(SharedParts {
            file: self.file.as_ref()?.as_fd(),
            mapped_bytes: self.mapped_bytes,
            start: self.start,
            used_bytes: self.used_bytes,
        })
    }

    /// Splits the whole arena into slots. It takes the arena by value, so that this can happen only once.
    pub fn into_slots(self, slot_bytes: usize) -> (Arc<Arena>, Vec<Slot>) {
        let count = self.used_bytes.checked_div(slot_bytes).unwrap_or(0);
        let arena = Arc::new(self);
        let slots = (0..count)
            .map(|index| Slot {
                arena: Arc::clone(&arena),
                offset: index * slot_bytes,
                len: slot_bytes,
            })
            .collect();
        (arena, slots)
    }

    /// Address and length of the used bytes, to register them with the kernel.
    pub fn raw_parts(&self) -> (*mut u8, usize) {
        (self.base.as_ptr().wrapping_add(self.start), self.used_bytes)
    }
}

/// What a helper process needs to map a shared arena.
pub struct SharedParts<'a> {
    pub file: BorrowedFd<'a>,
    pub mapped_bytes: usize,
    /// Offset of the used bytes in the file.
    pub start: usize,
    pub used_bytes: usize,
}

/// A memory file without a name and with a sealed size.
fn sealed_file(bytes: usize, huge_pages: bool) -> io::Result<File> {
    let huge_flags = if huge_pages {
        libc::MFD_HUGETLB | libc::MFD_HUGE_2MB
    } else {
        0
    };
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | huge_flags;
    // SAFETY: the name is a C string that lives as long as the call.
    let descriptor = unsafe { libc::memfd_create(c"lmcache-bench-l1".as_ptr(), flags) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nothing else owns.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.set_len(bytes as u64)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: F_ADD_SEALS takes an int and touches no memory of this process.
    match unsafe { libc::fcntl(descriptor, libc::F_ADD_SEALS, seals) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: base and mapped_bytes are those of the mmap in `map`, and no slot is left, since each holds an Arc.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.mapped_bytes) };
    }
}

/// Exclusive access to one part of an arena: owning the slot is the right to its bytes.
pub struct Slot {
    arena: Arc<Arena>,
    offset: usize,
    len: usize,
}

impl Slot {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Offset in the arena's used bytes.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The arena this slot was cut from.
    pub fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    pub fn as_ptr(&self) -> *mut u8 {
        self.arena.raw_parts().0.wrapping_add(self.offset)
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `into_slots` keeps offset + len inside the mapping. The kernel zeroes anonymous pages and those of a new
        // file, so the bytes are initialised. No other slot covers them, and a helper process writes to them only while its
        // adapter owns the slot.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_disjoint_and_aligned() {
        let arena = Arena::new(8 * 4096, 65_536, false).unwrap();
        let (_arena, mut slots) = arena.into_slots(4096);
        assert_eq!(slots.len(), 8);
        assert_eq!(slots[0].as_ptr() as usize % 65_536, 0);
        for (index, slot) in slots.iter_mut().enumerate() {
            slot.bytes_mut().fill(u8::try_from(index).unwrap());
        }
        for (index, slot) in slots.iter().enumerate() {
            assert!(slot.bytes().iter().all(|&byte| usize::from(byte) == index));
        }
    }

    #[test]
    fn a_slot_outlives_the_arena_handle() {
        let (arena, mut slots) = Arena::new(4096, 1, false).unwrap().into_slots(1024);
        drop(arena);
        let mut slot = slots.remove(3);
        drop(slots);
        slot.bytes_mut()[0] = 7;
        assert_eq!(slot.bytes()[0], 7);
    }

    #[test]
    fn a_shared_arena_is_one_private_sealed_file() {
        use std::os::unix::fs::{FileExt, MetadataExt};
        let (arena, mut slots) = Arena::shared(3 * 4096, 8192, false).unwrap().into_slots(4096);
        slots[1].bytes_mut().fill(7);
        let parts = arena.shared_parts().unwrap();
        let file = File::from(parts.file.try_clone_to_owned().unwrap());
        let mut seen = [0; 2];
        let at = parts.start + slots[1].offset();
        file.read_exact_at(&mut seen, at as u64 - 1).unwrap();
        assert_eq!(seen, [0, 7]);
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        assert!(file.set_len(0).is_err() && file.set_len(1 << 30).is_err());
        assert!(Arena::new(4096, 1, false).unwrap().shared_parts().is_none());
    }

    #[test]
    fn an_impossible_size_is_an_error() {
        assert!(Arena::new(usize::MAX - 4096, 1, false).is_err());
    }
}
