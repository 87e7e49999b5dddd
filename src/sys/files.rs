//! File-system calls that std does not have: block size, page-cache residency, dropping pages, whole-file-system sync,
//! advisory locks, waiting for input with a time limit.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Flags for opening, so that other modules do not need libc.
pub const O_DIRECT: i32 = libc::O_DIRECT;
pub const O_TMPFILE: i32 = libc::O_TMPFILE;
pub const O_EXCL: i32 = libc::O_EXCL;
/// Has no effect on plain files. Without it, opening a pipe waits for a writer.
pub const O_NONBLOCK: i32 = libc::O_NONBLOCK;

/// Waits at most `patience` until a read would not block: there are bytes, the end of the file or an error. False after that
/// time, and when a signal interrupts the wait.
pub fn wait_readable(file: BorrowedFd<'_>, patience: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let timeout_ms = libc::c_int::try_from(patience.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the count is 1, `poll` is one initialised entry that outlives the call, and `file` keeps the descriptor open.
    match unsafe { libc::poll(&mut poll, 1, timeout_ms) } {
        count if count >= 0 => Ok(count > 0),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        },
    }
}

fn checked(status: libc::c_int) -> io::Result<()> {
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `statvfs(path).f_bsize`, which LMCache's fs adapter requires O_DIRECT lengths to be a multiple of.
pub fn block_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: an all-zero statvfs is a valid value to fill in.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is NUL-terminated and `stat` is writable for the whole call.
    checked(unsafe { libc::statvfs(path.as_ptr(), &mut stat) })?;
    Ok(stat.f_bsize)
}

/// The alignment in bytes that O_DIRECT needs for offsets and lengths in `file`; `None` where the kernel (before 6.1) or the
/// file system does not report it.
pub fn direct_align_bytes(file: &File) -> Option<u64> {
    // SAFETY: all-zero bytes are a valid statx.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    let (fd, flags) = (file.as_raw_fd(), libc::AT_EMPTY_PATH);
    // SAFETY: the path is NUL-terminated, `stat` is writable for the whole call, and the descriptor is open as long as `file`.
    checked(unsafe { libc::statx(fd, c"".as_ptr(), flags, libc::STATX_DIOALIGN, &mut stat) }).ok()?;
    let is_reported = stat.stx_mask & libc::STATX_DIOALIGN != 0 && stat.stx_dio_offset_align > 0;
    is_reported.then_some(u64::from(stat.stx_dio_offset_align))
}

/// Whether `path` is on ext4, or on ext2 or ext3, which have the same driver and the same magic number.
pub fn is_ext4(path: &Path) -> io::Result<bool> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all-zero bytes are a valid statfs.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is NUL-terminated and `stat` is writable for the whole call.
    checked(unsafe { libc::statfs(path.as_ptr(), &mut stat) })?;
    Ok(stat.f_type == libc::EXT4_SUPER_MAGIC)
}

/// Bytes that an unprivileged user may still write to the file system of `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: an all-zero statvfs is a valid value to fill in.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is NUL-terminated and `stat` is writable for the whole call.
    checked(unsafe { libc::statvfs(path.as_ptr(), &mut stat) })?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Takes an exclusive advisory lock without waiting; `WouldBlock` when another open file holds it.
pub fn lock_exclusive(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` lives.
    checked(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })
}

/// Releases the lock, even while other references keep the file open, such as an io_uring.
pub fn unlock(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` lives.
    checked(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) })
}

/// Writes all dirty pages of the file system of `file` to its device.
pub fn sync_file_system(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` lives.
    checked(unsafe { libc::syncfs(file.as_raw_fd()) })
}

/// Asks the kernel to drop the clean pages of `file` from the page cache.
pub fn drop_pages(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` lives; offset 0 and length 0 mean the whole file.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// How many pages of the first `bytes` of `file` are in the page cache.
pub fn resident_pages(file: &File, bytes: u64) -> io::Result<u64> {
    let len = usize::try_from(bytes).map_err(io::Error::other)?;
    if len == 0 {
        return Ok(0);
    }
    // SAFETY: a new read-only mapping at an address that the kernel chooses; it is never dereferenced.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let mut states = vec![0_u8; len.div_ceil(4096)];
    // SAFETY: `states` has one byte per page of the mapping made above.
    let outcome = checked(unsafe { libc::mincore(address, len, states.as_mut_ptr()) });
    // SAFETY: exactly the mapping made above, which nothing else uses.
    unsafe { libc::munmap(address, len) };
    outcome?;
    Ok(states.iter().filter(|state| *state & 1 == 1).count() as u64)
}

/// Allocates `bytes` on the device for `file`.
pub fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as `file` lives.
    checked(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) })
}
