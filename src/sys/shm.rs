//! POSIX shared memory: creating, opening and removing objects by name, and removing the objects of processes that were killed.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::mapping::Mapping;

/// Where Linux keeps the objects.
const FOLDER: &str = "/dev/shm";
/// How old an empty object must be to count as abandoned: a younger one may belong to a process that is still creating it.
const CREATION_TIME_MAX: Duration = Duration::from_secs(60);
/// Most names that `remove_abandoned` looks at.
const NAMES_MAX: usize = 100_000;

/// A mapped object. If this process created it, it is locked until it is dropped, which also removes its name.
pub struct Segment {
    mapping: Mapping,
    object: File,
    /// With its leading slash.
    name: String,
    /// Whether this process created the name and has not removed it.
    owns_name: bool,
}

impl Segment {
    /// Creates an object that only this user can open. Its memory is not allocated yet; `reserve` does that.
    pub fn create(name: &str, bytes: usize) -> io::Result<Segment> {
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_CLOEXEC;
        let name = with_slash(name);
        let object = shm_open(&name, flags, 0o600)?;
        let made = lock(&object).and_then(|()| {
            object.set_len(bytes as u64)?;
            Mapping::shared(object.as_fd(), bytes)
        });
        match made {
            Ok(mapping) => Ok(Segment {
                mapping,
                object,
                name,
                owns_name: true,
            }),
            Err(error) => {
                let _ = shm_unlink(&name);
                Err(error)
            }
        }
    }

    /// Maps the first `bytes` bytes of an object that another process created.
    pub fn open(name: &str, bytes: usize) -> io::Result<Segment> {
        let name = with_slash(name);
        let object = shm_open(&name, libc::O_RDWR | libc::O_CLOEXEC, 0)?;
        let there = object.metadata()?.len();
        if there < bytes as u64 {
            let text = format!("it has {there} bytes, not {bytes}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        let mapping = Mapping::shared(object.as_fd(), bytes)?;
        Ok(Segment {
            mapping,
            object,
            name,
            owns_name: false,
        })
    }

    /// The name with its leading slash, as in protocol messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    pub fn mapping_mut(&mut self) -> &mut Mapping {
        &mut self.mapping
    }

    /// Allocates the memory of a range. Without that, an access when /dev/shm is full ends the process (SIGBUS).
    pub fn reserve(&self, offset: usize, bytes: usize) -> io::Result<()> {
        let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let offset = libc::off_t::try_from(offset).map_err(too_large)?;
        let bytes = libc::off_t::try_from(bytes).map_err(too_large)?;
        loop {
            // SAFETY: the call takes no pointers, and `self` keeps the descriptor open.
            match unsafe { libc::posix_fallocate(self.object.as_raw_fd(), offset, bytes) } {
                0 => return Ok(()),
                libc::EINTR => {}
                code => return Err(io::Error::from_raw_os_error(code)),
            }
        }
    }

    /// Removes the name, if this process created it. Processes that have the object open keep it.
    pub fn unlink(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.owns_name) {
            return Ok(());
        }
        shm_unlink(&self.name)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let _ = self.unlink();
    }
}

/// Removes the objects of this user whose names begin with `prefix` and whose creators have ended. Returns their names, sorted.
pub fn remove_abandoned(prefix: &str) -> io::Result<Vec<String>> {
    // SAFETY: geteuid has no arguments and cannot fail.
    let user = unsafe { libc::geteuid() };
    let mut removed = Vec::new();
    for entry in fs::read_dir(FOLDER)?.take(NAMES_MAX) {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        if name.starts_with(prefix) && is_abandoned(&name, user) && shm_unlink(&with_slash(&name)).is_ok() {
            removed.push(name);
        }
    }
    removed.sort();
    Ok(removed)
}

/// Bytes that are free in /dev/shm.
pub fn free_bytes() -> io::Result<u64> {
    super::files::free_bytes(Path::new(FOLDER))
}

fn is_abandoned(name: &str, user: u32) -> bool {
    let Ok(object) = shm_open(&with_slash(name), libc::O_RDWR | libc::O_CLOEXEC, 0) else {
        return false;
    };
    let Ok(found) = object.metadata() else { return false };
    let age = found
        .modified()
        .ok()
        .and_then(|then| SystemTime::now().duration_since(then).ok());
    let may_be_new = found.len() == 0 && age.is_none_or(|age| age < CREATION_TIME_MAX);
    found.uid() == user && !may_be_new && lock(&object).is_ok()
}

/// Fails at once if another process holds the lock, as creators do while they live.
fn lock(object: &File) -> io::Result<()> {
    super::files::lock_exclusive(object)
}

fn with_slash(name: &str) -> String {
    format!("/{}", name.trim_start_matches('/'))
}

fn shm_open(name: &str, flags: i32, mode: libc::mode_t) -> io::Result<File> {
    let name = CString::new(name)?;
    // SAFETY: `name` is NUL-terminated and outlives the call.
    let descriptor = unsafe { libc::shm_open(name.as_ptr(), flags, mode) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nothing else owns.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(descriptor) }))
}

fn shm_unlink(name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: `name` is NUL-terminated and outlives the call.
    match unsafe { libc::shm_unlink(name.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(what: &str) -> String {
        format!("lmcache-bench-test-{}-{what}", std::process::id())
    }

    #[test]
    fn two_mappings_of_an_object_share_their_bytes() {
        let mut ours = Segment::create(&name("same"), 8192).unwrap();
        ours.reserve(0, 8192).unwrap();
        let mut theirs = Segment::open(ours.name(), 8192).unwrap();
        ours.mapping_mut().write(5000, b"hello");
        let mut out = [0; 5];
        theirs.mapping().read(5000, &mut out);
        assert_eq!(&out, b"hello");
        theirs.mapping_mut().write(0, b"back");
        let mut seen = Vec::new();
        ours.mapping().visit(0, 4, &mut |piece| seen.extend_from_slice(piece));
        assert_eq!(seen, b"back");
        let mode = fs::metadata(format!("{FOLDER}{}", ours.name())).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn only_the_creator_removes_the_name() {
        let ours = Segment::create(&name("drop"), 4096).unwrap();
        let full = ours.name().to_owned();
        drop(Segment::open(&full, 4096).unwrap());
        assert!(Segment::open(&full, 4096).is_ok());
        assert!(Segment::create(&full, 4096).is_err());
        drop(ours);
        assert_eq!(
            Segment::open(&full, 4096).err().unwrap().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn a_shorter_object_is_refused() {
        let ours = Segment::create(&name("short"), 4096).unwrap();
        let error = Segment::open(ours.name(), 4097).err().unwrap();
        assert!(error.to_string().contains("4096 bytes, not 4097"), "{error}");
    }

    #[test]
    fn only_abandoned_objects_are_removed() {
        let prefix = name("stale");
        let alive = Segment::create(&format!("{prefix}-alive"), 4096).unwrap();
        let dead = format!("{prefix}-dead");
        fs::write(Path::new(FOLDER).join(&dead), b"left by a killed run").unwrap();
        fs::write(Path::new(FOLDER).join(format!("{prefix}-young")), b"").unwrap();
        assert_eq!(remove_abandoned(&prefix).unwrap(), [dead]);
        assert!(Segment::open(alive.name(), 4096).is_ok());
        fs::remove_file(Path::new(FOLDER).join(format!("{prefix}-young"))).unwrap();
    }
}
