//! Paths of the objects of the `fs` adapter, temporary paths, and what the file system supports. The names are LMCache's,
//! byte for byte (docs/formats.md).

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::config::{FsConfig, Names, Temporary};
use super::recycled::Recycled;
use crate::l2::keys::ObjectKey;
use crate::l2::warning::Warning;
use crate::sys::arena::Arena;
use crate::sys::{files, limits};
use crate::url::literal_path_advice;

/// From this size on, reserving a file's space in one piece costs less than ext4's delayed allocation, which books every
/// 4 KiB block of a buffered write on its own (docs/results/kernel-floor.md).
const RESERVE_BYTES_MIN: usize = 256 << 10;

/// Everything a worker needs to turn a key into paths and flags.
#[derive(Debug)]
pub struct Layout {
    base: PathBuf,
    /// With a trailing slash, ready for a name to be appended.
    base_text: String,
    tmp_text: Option<String>,
    names: Names,
    /// Makes the temporary names of this process unique.
    tmp_base: u64,
    tmp_next: AtomicU64,
    /// Bytes that may still be stored.
    room_bytes: Option<AtomicU64>,
    pub read_ahead_bytes: Option<usize>,
    /// O_DIRECT for objects of this run, after probing.
    pub direct: bool,
    pub fdatasync: bool,
    /// Whether new objects get their space in one piece before they are written.
    pub reserves_space: bool,
    /// Set before the first store of a run with `--recycle`.
    pub recycled: OnceLock<Recycled>,
}

fn refused(what: &str, path: &Path, error: &io::Error, advice: &str) -> String {
    let literal = literal_path_advice(path);
    let advice = limits::advice(error).or(literal.as_deref()).unwrap_or(advice);
    format!("could not {what} {}: {error}; {advice}", path.display())
}

impl Layout {
    /// Creates the directories and probes whether O_DIRECT works.
    pub fn open(
        config: &FsConfig,
        object_bytes: usize,
        fdatasync: bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<Layout, String> {
        let base = config.base_path.clone();
        fs::create_dir_all(&base)
            .map_err(|error| refused("create base_path", &base, &error, "name a directory you may write to"))?;
        let tmp = match &config.temporary {
            Temporary::Beside => None,
            Temporary::Inside(relative) => Some(make_tmp_dir(&base, relative)?),
            Temporary::Below(relative) => Some(make_tmp_dirs(&base, relative)?),
        };
        let text = |path: &Path| {
            let text = path
                .to_str()
                .ok_or_else(|| format!("base_path {} is not UTF-8; rename it", path.display()))?;
            Ok::<String, String>(format!("{}/", text.trim_end_matches('/')))
        };
        let mut layout = Layout {
            base_text: text(&base)?,
            tmp_text: tmp.as_deref().map(text).transpose()?,
            base,
            names: config.names,
            tmp_base: RandomState::new().hash_one(std::process::id()),
            tmp_next: AtomicU64::new(0),
            room_bytes: config.capacity_bytes.map(AtomicU64::new),
            read_ahead_bytes: config.read_ahead_size.and_then(|bytes| usize::try_from(bytes).ok()),
            direct: false,
            fdatasync,
            reserves_space: false,
            recycled: OnceLock::new(),
        };
        if config.use_odirect {
            layout.direct = layout.probe_direct(object_bytes, warnings)?;
        }
        let on_ext4 = files::is_ext4(&layout.base).unwrap_or(false);
        layout.reserves_space = on_ext4 && !layout.direct && object_bytes >= RESERVE_BYTES_MIN;
        Ok(layout)
    }

    /// LMCache asks only that the length is a multiple of the file system's block size. Whether the flag really works
    /// shows in a write and a read: some file systems accept it at open and refuse later.
    fn probe_direct(&self, object_bytes: usize, warnings: &mut Vec<Warning>) -> Result<bool, String> {
        let block = files::block_bytes(&self.base)
            .map_err(|error| refused("ask for the block size of", &self.base, &error, "check base_path"))?;
        if !(object_bytes as u64).is_multiple_of(block.max(1)) {
            warnings.push(Warning::ODirectLengthUnaligned {
                size: object_bytes as u64,
                block,
            });
            return Ok(false);
        }
        match self.try_direct(block) {
            Ok(()) => Ok(true),
            Err(error) if limits::advice(&error).is_some() => Err(refused("try O_DIRECT in", &self.base, &error, "")),
            Err(error) => {
                let path = self.base.display().to_string();
                warnings.push(Warning::ODirectRefused {
                    path,
                    reason: error.to_string(),
                });
                Ok(false)
            }
        }
    }

    fn try_direct(&self, block: u64) -> io::Result<()> {
        let bytes = usize::try_from(block).map_err(io::Error::other)?.max(4096);
        let (_arena, mut slots) = Arena::new(bytes, bytes, false)?.into_slots(bytes);
        let mut slot = slots.pop().ok_or_else(|| io::Error::other("no probe buffer"))?;
        // A file without a name leaves nothing behind.
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(files::O_DIRECT | files::O_TMPFILE)
            .mode(0o600)
            .open(&self.base)
            .or_else(|_| self.open_named_probe())?;
        file.write_all_at(slot.bytes(), 0)?;
        file.read_exact_at(slot.bytes_mut(), 0)
    }

    fn open_named_probe(&self) -> io::Result<File> {
        let path = self.base.join(format!(".lmcache-bench-probe-{}", std::process::id()));
        let mut options = File::options();
        options
            .read(true)
            .write(true)
            .create_new(true)
            .custom_flags(files::O_DIRECT)
            .mode(0o600);
        let file = options.open(&path);
        // The directory entry exists even when the flag was refused.
        let _ = fs::remove_file(&path);
        file
    }

    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Writes the files that stores will reuse, unless they exist already.
    pub fn write_recycled(&self, object_bytes: usize, count: usize) -> Result<(), String> {
        if count == 0 || self.recycled.get().is_some() {
            return Ok(());
        }
        let made = Recycled::write(&self.base_text, object_bytes, count, self.direct)?;
        self.recycled
            .set(made)
            .map_err(|_| "--recycle: the files were written twice".to_owned())
    }

    /// The final path of a key, written into a reused buffer.
    pub fn final_path(&self, key: &ObjectKey, path: &mut String) {
        path.clear();
        path.push_str(&self.base_text);
        match self.names {
            Names::Data => key.push_file_name(path),
            Names::Nixl { sharded } => {
                if sharded {
                    key.push_shard_directories(path);
                }
                key.push_nixl_name(path);
            }
        }
    }

    /// The path a store writes to first: the unchanged name in the temporary directory, else one beside the final path.
    pub fn tmp_path(&self, key: &ObjectKey, path: &mut String) {
        match (&self.tmp_text, self.names) {
            (Some(tmp), _) => {
                path.clear();
                path.push_str(tmp);
                key.push_file_name(path);
            }
            (None, Names::Data) => {
                self.final_path(key, path);
                path.truncate(path.len() - ".data".len());
                path.push_str(".tmp");
            }
            (None, Names::Nixl { .. }) => {
                self.final_path(key, path);
                let number = self.tmp_next.fetch_add(1, Ordering::Relaxed);
                path.push_str(&format!(".tmp.{:016x}{number:016x}", self.tmp_base));
            }
        }
    }

    /// Whether a store replaces an object that is there. NIXL's index knows only what its own process stored.
    pub fn replaces(&self) -> bool {
        matches!(self.names, Names::Nixl { .. })
    }

    /// Whether objects lie in directories that are created when needed.
    pub fn is_sharded(&self) -> bool {
        self.names == Names::Nixl { sharded: true }
    }

    /// Reserves capacity for one object, if there is a limit.
    pub fn reserve(&self, bytes: u64) -> Result<(), String> {
        let Some(room) = &self.room_bytes else { return Ok(()) };
        let take = |left: u64| left.checked_sub(bytes);
        match room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(_) => Err("the store is full: max_capacity_gb allows no more; raise it or store less".to_owned()),
        }
    }
}

fn make_tmp_dirs(base: &Path, relative: &str) -> Result<PathBuf, String> {
    let path = base.join(relative);
    fs::create_dir_all(&path).map_err(|error| {
        refused(
            "create relative_tmp_dir",
            &path,
            &error,
            "name a directory you may write to",
        )
    })?;
    Ok(path)
}

fn make_tmp_dir(base: &Path, relative: &str) -> Result<PathBuf, String> {
    let escapes = Path::new(relative)
        .components()
        .any(|part| matches!(part, Component::ParentDir));
    if Path::new(relative).is_absolute() || escapes {
        return Err(format!(
            "Invalid relative_tmp_dir: {relative} (it must stay inside base_path: give a relative path without '..')"
        ));
    }
    let path = base.join(relative);
    match fs::create_dir(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            let advice = "only its last component is created; make its parents first";
            Err(refused("create relative_tmp_dir", &path, &error, advice))
        }
        _ if !path.is_dir() => Err(format!(
            "relative_tmp_dir {} is not a directory; remove it or name another",
            path.display()
        )),
        _ => Ok(path),
    }
}
