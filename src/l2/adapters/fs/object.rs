//! One object from start to end on one thread: the plain system calls that LMCache's fs adapter makes, each step timed. No
//! temporary file is left behind, and none that is incomplete gets a final name.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

use super::layout::Layout;
use crate::l2::adapter::{Item, Operation, Outcome};
use crate::l2::adapters::step_timer::StepTimer;
use crate::sys::{files, limits};

/// Reused path buffers of one thread.
#[derive(Default)]
pub struct Paths {
    pub target: String,
    pub tmp: String,
}

/// Runs one key of a task that was submitted at `created`.
pub fn run(layout: &Layout, operation: Operation, item: &mut Item, created: Instant, paths: &mut Paths) {
    let mut timer = StepTimer::start(created);
    layout.final_path(&item.key, &mut paths.target);
    item.outcome = match operation {
        Operation::Store => store(layout, item, &mut timer, paths),
        Operation::Load => load(layout, item, &mut timer, paths),
        Operation::Lookup => lookup(&mut timer, paths),
    };
    item.times = timer.until_last_step();
}

fn lookup(timer: &mut StepTimer, paths: &Paths) -> Outcome {
    let outcome = match fs::metadata(&paths.target) {
        Ok(_) => Outcome::Found,
        Err(error) if error.kind() == ErrorKind::NotFound => Outcome::Missing,
        Err(error) => failed("look up", &paths.target, &error),
    };
    timer.times.open_ns = timer.step_ns();
    outcome
}

fn store(layout: &Layout, item: &Item, timer: &mut StepTimer, paths: &mut Paths) -> Outcome {
    let file = match create(layout, item, paths) {
        Ok(Some(file)) => file,
        Ok(None) => {
            timer.times.open_ns = timer.step_ns();
            return Outcome::AlreadyThere;
        }
        Err(outcome) => {
            timer.times.open_ns = timer.step_ns();
            return outcome;
        }
    };
    timer.times.open_ns = timer.step_ns();
    let bytes = item.slot.as_ref().map(|slot| slot.bytes()).unwrap_or_default();
    let written = file.write_all_at(bytes, 0);
    timer.times.transfer_ns = timer.step_ns();
    let outcome = publish(layout, file, written, paths);
    timer.times.publish_ns = timer.step_ns();
    outcome
}

/// Opens the temporary file of a store; `None` when the object exists already.
pub fn create(layout: &Layout, item: &Item, paths: &mut Paths) -> Result<Option<File>, Outcome> {
    if !layout.replaces() {
        match fs::metadata(&paths.target) {
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed("look for", &paths.target, &error)),
        }
    }
    let bytes = item.slot.as_ref().map_or(0, |slot| slot.len() as u64);
    layout.reserve(bytes).map_err(Outcome::Failed)?;
    layout.tmp_path(&item.key, &mut paths.tmp);
    open_tmp(layout, paths, bytes)
        .map(Some)
        .map_err(|error| failed("create", &paths.tmp, &error))
}

/// O_NONBLOCK: a pipe with the name of an object fails its key instead of blocking the thread.
fn open_flags(layout: &Layout) -> i32 {
    let direct = if layout.direct { files::O_DIRECT } else { 0 };
    direct | files::O_NONBLOCK
}

/// A new file, or one of `--recycle`, renamed.
fn open_tmp(layout: &Layout, paths: &Paths, bytes: u64) -> io::Result<File> {
    if layout.is_sharded() {
        fs::create_dir_all(Path::new(&paths.tmp).parent().unwrap_or(layout.base()))?;
    }
    let recycled = match layout.recycled.get() {
        Some(recycled) => recycled.take(&paths.tmp)?,
        None => false,
    };
    let mut options = File::options();
    // A recycled file has the right size already; truncating it would free its space.
    options.write(true).create(!recycled).truncate(!recycled);
    options.custom_flags(open_flags(layout));
    if layout.direct {
        options.mode(0o644);
    }
    let file = options.open(&paths.tmp)?;
    if layout.reserves_space && !recycled {
        // Where this is refused, the write fails with the reason or works without.
        let _ = files::allocate(&file, bytes);
    }
    Ok(file)
}

/// Gives a written temporary file its final name, or removes it.
pub fn publish(layout: &Layout, file: File, written: io::Result<()>, paths: &Paths) -> Outcome {
    let flushed = written
        .map_err(|error| failed("write", &paths.tmp, &error))
        .and_then(|()| {
            let sync = if layout.fdatasync { file.sync_data() } else { Ok(()) };
            sync.map_err(|error| failed("flush", &paths.tmp, &error))
        });
    drop(file);
    let renamed = flushed.and_then(|()| {
        fs::rename(&paths.tmp, &paths.target).map_err(|error| failed("rename to its final name", &paths.tmp, &error))
    });
    match renamed {
        Ok(()) => Outcome::Stored,
        Err(outcome) => {
            // The first error is the one to report. The next run finds a temporary file that cannot be removed.
            let _ = fs::remove_file(&paths.tmp);
            outcome
        }
    }
}

fn load(layout: &Layout, item: &mut Item, timer: &mut StepTimer, paths: &Paths) -> Outcome {
    let file = open_for_load(layout, paths);
    timer.times.open_ns = timer.step_ns();
    let file = match file {
        Ok(file) => file,
        Err(outcome) => return outcome,
    };
    let bytes = item.slot.as_mut().map(|slot| slot.bytes_mut()).unwrap_or_default();
    let wanted = bytes.len();
    let read = read_object(&file, bytes, layout.read_ahead_bytes.filter(|_| !layout.direct));
    timer.times.transfer_ns = timer.step_ns();
    drop(file);
    timer.times.publish_ns = timer.step_ns();
    load_outcome(read, wanted, &paths.target)
}

pub fn open_for_load(layout: &Layout, paths: &Paths) -> Result<File, Outcome> {
    let mut options = File::options();
    options.read(true).custom_flags(open_flags(layout));
    options.open(&paths.target).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Outcome::Missing,
        _ => failed("open", &paths.target, &error),
    })
}

/// A load counts only when every byte arrived.
pub fn load_outcome(read: io::Result<usize>, wanted: usize, path: &str) -> Outcome {
    match read {
        Ok(got) if got == wanted => Outcome::Loaded,
        Ok(got) => Outcome::Short { held_bytes: got as u64 },
        Err(error) => failed("read", path, &error),
    }
}

/// Reads up to `bytes.len()` bytes from the start of the file. A small first read lets the kernel start its read-ahead.
fn read_object(file: &File, bytes: &mut [u8], read_ahead: Option<usize>) -> io::Result<usize> {
    let first = read_ahead.map_or(0, |ahead| ahead.min(bytes.len()));
    let (head, tail) = bytes.split_at_mut(first);
    let mut got = read_fully(file, head, 0)?;
    if got == first {
        got += read_fully(file, tail, first)?;
    }
    Ok(got)
}

fn read_fully(file: &File, bytes: &mut [u8], start: usize) -> io::Result<usize> {
    let mut got = 0;
    while got < bytes.len() {
        match file.read_at(&mut bytes[got..], (start + got) as u64) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // With O_DIRECT the kernel refuses to read behind an end that is not on a block boundary: this is the end.
            Err(error) if error.kind() == ErrorKind::InvalidInput && got > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// The failure of a key, with advice.
pub fn failed(action: &str, path: &str, error: &io::Error) -> Outcome {
    let advice = limits::advice(error).unwrap_or_else(|| match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free space or name another base_path",
        ErrorKind::PermissionDenied => "check the permissions of base_path",
        ErrorKind::ReadOnlyFilesystem => "mount it writable or name another base_path",
        ErrorKind::CrossesDevices => "relative_tmp_dir must be on the same file system as base_path",
        ErrorKind::FileTooLarge => "raise `ulimit -f`, or lower --data-size-kb",
        ErrorKind::NotFound | ErrorKind::NotADirectory => "base_path was removed or replaced while the run used it",
        ErrorKind::InvalidFilename => "the file system takes no name of this length",
        _ => "look at the file system of base_path and at the kernel's log",
    });
    Outcome::Failed(format!("could not {action} {path}: {error}; {advice}"))
}
