//! Facts about the file system and the block device behind a path, for the record of a run.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// What is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// `ext4`, `overlay`, `tmpfs`; nothing for a block device itself.
    pub file_system: Option<String>,
    /// The kernel's name of the device, as `nvme0n1p2`.
    pub device: Option<String>,
    /// The drive's own name.
    pub model: Option<String>,
}

impl Storage {
    pub fn behind(path: &Path) -> Storage {
        let Ok(found) = fs::metadata(path) else {
            return Storage::default();
        };
        if found.file_type().is_block_device() {
            return Storage::of_device(found.rdev(), None);
        }
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let Some((file_system, source)) = mount(&table, found.dev()) else {
            return Storage::of_device(found.dev(), None);
        };
        let of_source = fs::metadata(&source)
            .ok()
            .filter(|source| source.file_type().is_block_device());
        Storage::of_device(of_source.map_or(found.dev(), |source| source.rdev()), Some(file_system))
    }

    fn of_device(number: u64, file_system: Option<String>) -> Storage {
        let (major, minor) = (libc::major(number), libc::minor(number));
        let folder = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok();
        let name = folder.as_ref().and_then(|folder| folder.file_name());
        // A partition's drive is the folder above it.
        let models = folder.iter().flat_map(|folder| folder.ancestors().take(2));
        let model = models
            .filter_map(|folder| fs::read_to_string(folder.join("device/model")).ok())
            .next();
        Storage {
            file_system,
            device: name.map(|name| name.to_string_lossy().into_owned()),
            model: model.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
        }
    }
}

/// Type and source of the file system with this device number: `24 1 8:2 / / rw - ext4 /dev/sda2 rw`.
pub(super) fn mount(table: &str, number: u64) -> Option<(String, String)> {
    let wanted = format!("{}:{}", libc::major(number), libc::minor(number));
    let line = table
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(wanted.as_str()))?;
    let mut after = line.split_once(" - ")?.1.split(' ');
    Some((after.next()?.to_owned(), after.next()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_device_number() {
        let table = "24 1 0:22 / / rw shared:1 - btrfs /dev/sda2 rw\n25 24 0:23 / /proc rw - proc proc rw\n";
        let found = mount(table, libc::makedev(0, 22));
        assert_eq!(found, Some(("btrfs".into(), "/dev/sda2".into())));
        assert_eq!(mount(table, libc::makedev(8, 1)), None);
    }

    #[test]
    fn proc_is_known_everywhere_and_a_missing_path_is_nothing() {
        assert_eq!(Storage::behind(Path::new("/proc")).file_system.as_deref(), Some("proc"));
        assert_eq!(Storage::behind(Path::new("/no/such/path")), Storage::default());
    }
}
