//! Drops the cached pages of object files, so that loads come from the device. For adapters that keep one file per object.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::l2::adapter::Residency;
use crate::l2::keys::ObjectKey;
use crate::sys::{files, limits, signal};

/// Syncs the file system of `base`, then drops and counts the pages of the keys' files, whose paths `path_of` writes.
pub fn drop_pages(
    base: &Path,
    keys: &mut dyn Iterator<Item = ObjectKey>,
    path_of: impl Fn(&ObjectKey, &mut String),
) -> Result<Residency, String> {
    let refused = |error: io::Error| {
        let reason = limits::with_advice(&error);
        format!(
            "--cold: could not sync {}: {reason}; without --cold nothing is synced",
            base.display()
        )
    };
    files::sync_file_system(&File::open(base).map_err(refused)?).map_err(refused)?;
    let mut residency = Residency::default();
    let mut path = String::new();
    for key in keys {
        if signal::received().is_some() {
            break;
        }
        path_of(&key, &mut path);
        // A missing key has no pages; the load will report it.
        let opened = File::options().read(true).custom_flags(files::O_NONBLOCK).open(&path);
        let Ok(file) = opened else {
            continue;
        };
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let refused = |error: io::Error| format!("--cold: could not drop the cached pages of {path}: {error}");
        residency.objects += 1;
        residency.resident_pages_before += files::resident_pages(&file, bytes).map_err(refused)?;
        files::drop_pages(&file).map_err(refused)?;
        residency.resident_pages_after += files::resident_pages(&file, bytes).map_err(refused)?;
    }
    Ok(residency)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::l2::keys::bench_key;

    #[test]
    fn a_pipe_under_an_objects_name_is_refused_and_not_waited_for() {
        let folder = crate::testing::temporary_path("cold");
        std::fs::create_dir_all(&folder).unwrap();
        let pipe = folder.join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let dropped = drop_pages(&folder, &mut [bench_key(0)].into_iter(), |_, path| {
            *path = pipe.display().to_string();
        });
        std::fs::remove_dir_all(&folder).unwrap();
        let text = dropped.err().unwrap();
        assert!(
            text.starts_with("--cold: could not drop the cached pages of "),
            "{text}"
        );
    }
}
