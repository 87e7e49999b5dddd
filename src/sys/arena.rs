//! One mapping, cut into equal slots that are moved, never shared. It must never hand out two slots over the same bytes: that
//! is what lets safe code give a slot to the kernel, or to a helper process, and be sure that nobody reads it meanwhile.
#![allow(unsafe_code)]

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// Slots start at a page border whatever alignment is asked for, so O_DIRECT never meets a misaligned address.
const PAGE_BYTES: usize = 4096;
const HUGE_PAGE_BYTES: usize = 2 << 20;
const PRIVATE: libc::c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// A mapping that is unmapped when the last slot is gone. Private to this process, or backed by a nameless file that a
/// helper process can be given.
pub struct Arena {
    base: NonNull<u8>,
    file: Option<File>,
    mapped_bytes: usize,
    /// First byte that is used: the alignment asked for may be larger than the mapping's own.
    start: usize,
    used_bytes: usize,
}

// SAFETY: the arena itself gives no access to the bytes; a slot does, and each byte belongs to exactly one slot.
unsafe impl Send for Arena {}
// SAFETY: as above; the shared part (base, lengths) is never written after construction.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps `bytes` and aligns the first one to `align` (at least a page). With `huge_pages` the memory comes from the
    /// preallocated 2 MiB pool or the call fails; without, the kernel is asked for transparent huge pages.
    pub fn new(bytes: usize, align: usize, huge_pages: bool) -> io::Result<Arena> {
        Arena::map(bytes, align, huge_pages, false)
    }

    /// As [`Arena::new`], on memory that a helper process can map too. It has no name, only this user may open it, and its
    /// size is sealed: a helper cannot take pages away from under this process.
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
        // SAFETY: a fresh mapping at an address the kernel chooses touches no existing memory.
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
            // SAFETY: advice over exactly the mapping made above. It may be refused (no such kernel option): then the
            // memory is made of small pages, which is only slower.
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

    /// Cuts the whole arena into slots. It takes the arena by value, so it can happen only once.
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

    /// Address and length of the used bytes, for registering them with the kernel.
    pub fn raw_parts(&self) -> (*mut u8, usize) {
        (self.base.as_ptr().wrapping_add(self.start), self.used_bytes)
    }
}

/// A shared arena as seen from outside.
pub struct SharedParts<'a> {
    pub file: BorrowedFd<'a>,
    pub mapped_bytes: usize,
    /// Where the used bytes begin in the file.
    pub start: usize,
    pub used_bytes: usize,
}

/// A file in memory that nobody can open by name, shrink or grow.
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
    // SAFETY: the kernel has just made this descriptor and nothing else owns it.
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
        // SAFETY: base and mapped_bytes are those of the mmap in `map`, and no slot is left (each holds an Arc).
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.mapped_bytes) };
    }
}

/// Exclusive access to one piece of an arena. Moving it moves the right to touch the bytes.
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

    /// Byte position inside the arena's used part.
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
        // SAFETY: offset + len lies inside the mapping (into_slots), the bytes are initialised (the kernel zeroes anonymous
        // pages and those of a new file) and no other slot covers them. A helper process writes to them only while the slot
        // is away with its adapter.
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
