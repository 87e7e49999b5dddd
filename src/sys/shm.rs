//! POSIX shared memory: objects made, opened, found and removed by name. It must never leave a name behind that this
//! process made, nor remove one whose maker still lives.
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
/// An object without bytes is one in the making, or the leftover of a process that died while making it this long ago.
const MAKING: Duration = Duration::from_secs(60);
/// A limit on how many names are looked at.
const NAMES_MAX: usize = 100_000;

/// An object, mapped. One that was made here is locked as long as it lives and its name goes with it.
pub struct Segment {
    mapping: Mapping,
    object: File,
    /// With its leading slash.
    name: String,
    /// Whether the name is ours to remove.
    named_by_us: bool,
}

impl Segment {
    /// Makes an object that only this user can open. No memory is set aside yet: `reserve` does that.
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
                named_by_us: true,
            }),
            Err(error) => {
                let _ = shm_unlink(&name);
                Err(error)
            }
        }
    }

    /// Maps the first `bytes` of an object that another process made.
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
            named_by_us: false,
        })
    }

    /// With its leading slash, as messages carry it.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    pub fn mapping_mut(&mut self) -> &mut Mapping {
        &mut self.mapping
    }

    /// Sets memory aside for a range, so that touching it later cannot end the process for want of memory.
    pub fn reserve(&self, offset: usize, bytes: usize) -> io::Result<()> {
        let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let offset = libc::off_t::try_from(offset).map_err(too_large)?;
        let bytes = libc::off_t::try_from(bytes).map_err(too_large)?;
        loop {
            // SAFETY: a plain call on a descriptor that `self` keeps open.
            match unsafe { libc::posix_fallocate(self.object.as_raw_fd(), offset, bytes) } {
                0 => return Ok(()),
                libc::EINTR => {}
                code => return Err(io::Error::from_raw_os_error(code)),
            }
        }
    }

    /// Takes the name away, if it is ours; whoever has the object open keeps it.
    pub fn unlink(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.named_by_us) {
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

/// Removes the objects of this user whose names begin so and whose makers are gone; their names.
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

/// Bytes that new objects can still have.
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
    let in_the_making = found.len() == 0 && age.is_none_or(|age| age < MAKING);
    found.uid() == user && !in_the_making && lock(&object).is_ok()
}

/// Fails at once when another process holds the lock.
fn lock(object: &File) -> io::Result<()> {
    super::files::lock_exclusive(object)
}

fn with_slash(name: &str) -> String {
    format!("/{}", name.trim_start_matches('/'))
}

fn shm_open(name: &str, flags: i32, mode: libc::mode_t) -> io::Result<File> {
    let name = CString::new(name)?;
    // SAFETY: `name` ends with a zero byte and outlives the call.
    let descriptor = unsafe { libc::shm_open(name.as_ptr(), flags, mode) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just opened and belongs to nobody else.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(descriptor) }))
}

fn shm_unlink(name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: `name` ends with a zero byte and outlives the call.
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
    fn two_openings_show_the_same_bytes() {
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
    fn names_go_with_their_maker_only() {
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
