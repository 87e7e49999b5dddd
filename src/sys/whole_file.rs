//! Files that are read whole: settings, tokenizers, keys, certificates. Whatever the path names (a pipe that nobody writes
//! to yet, a terminal, a device without an end), a read has a bound and a signal ends it.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::sys::files::{self, O_NONBLOCK};
use crate::sys::signal;

/// How soon a signal is seen that came just before a wait.
const TICK: Duration = Duration::from_millis(50);
const PIECE_BYTES: usize = 64 * 1024;

/// Every byte of what `path` names. An error of kind `FileTooLarge` says that it has more than `bytes_max` of them, one of
/// kind `Interrupted` that a signal asked for the end meanwhile.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_unless(path, bytes_max, &|| signal::received().is_some())
}

fn read_unless(path: &Path, bytes_max: u64, is_over: &dyn Fn() -> bool) -> io::Result<Vec<u8>> {
    // Opening a pipe would else wait for its writer, out of reach of any signal: std opens again after one.
    let mut file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
    let found = file.metadata()?;
    let length = if found.is_file() { found.len() } else { 0 };
    if length > bytes_max {
        return Err(too_large(bytes_max));
    }
    let mut bytes = Vec::new();
    // One more than there are, so that the end shows without growing.
    bytes.try_reserve_exact(usize::try_from(length).unwrap_or(0).saturating_add(1))?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        if is_over() {
            return Err(io::Error::new(ErrorKind::Interrupted, "a signal asked for the end"));
        }
        // A pipe without a writer so far has no end yet: only the wait tells that from one whose writers are gone.
        if !files::wait_readable(file.as_fd(), TICK)? {
            continue;
        }
        match file.read(&mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(count) if (bytes.len() + count) as u64 > bytes_max => return Err(too_large(bytes_max)),
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

fn too_large(bytes_max: u64) -> io::Error {
    let most = match bytes_max >> 20 {
        0 => format!("{bytes_max} bytes"),
        mib => format!("{mib} MiB"),
    };
    io::Error::new(ErrorKind::FileTooLarge, format!("it is larger than {most}"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::PathBuf;
    use std::process::Command;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// A pipe with a name, which goes with this value.
    struct Pipe(PathBuf);

    impl Pipe {
        fn new(name: &str) -> Pipe {
            let path = std::env::temp_dir().join(format!("lmcache-bench-{name}-{}", std::process::id()));
            let _ = fs::remove_file(&path);
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            Pipe(path)
        }
    }

    impl Drop for Pipe {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_pipe_is_read_from_its_first_writer_to_its_last() {
        let pipe = Pipe::new("late-writer");
        let (waited, begins) = mpsc::channel();
        let path = pipe.0.clone();
        let writer = thread::spawn(move || {
            // Not before the reader has found nobody there twice.
            begins.recv().unwrap();
            let mut file = File::options().write(true).open(&path).unwrap();
            file.write_all(&[b'a'; 100_000]).unwrap();
            file.write_all(b"end").unwrap();
        });
        let looks = Cell::new(0);
        let read = read_unless(&pipe.0, 1 << 20, &|| {
            looks.set(looks.get() + 1);
            if looks.get() == 3 {
                waited.send(()).unwrap();
            }
            false
        });
        writer.join().unwrap();
        let read = read.unwrap();
        assert_eq!((read.len(), &read[99_998..]), (100_003, &b"aaend"[..]));
    }

    #[test]
    fn a_signal_ends_the_wait_for_a_writer() {
        let pipe = Pipe::new("no-writer");
        let looks = Cell::new(0);
        let read = read_unless(&pipe.0, 10, &|| {
            looks.set(looks.get() + 1);
            looks.get() == 3
        });
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Interrupted);
    }

    #[test]
    fn what_is_too_large_has_no_end_or_is_a_folder_is_refused() {
        let read = |path: &str, bytes_max| read_unless(Path::new(path), bytes_max, &|| false);
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let text = fs::read(own).unwrap();
        assert_eq!(read(own, text.len() as u64).unwrap(), text);
        for (path, bytes_max, said) in [
            (own, text.len() as u64 - 1, "bytes"),
            ("/dev/zero", 2 << 20, "it is larger than 2 MiB"),
            ("/", 10, "directory"),
            ("/nowhere", 10, "No such file"),
        ] {
            let error = read(path, bytes_max).unwrap_err().to_string();
            assert!(error.contains(said), "{path}: {error}");
        }
        // Files of the kernel claim no length.
        assert!(read("/proc/self/status", 1 << 20).unwrap().len() > 100);
        assert!(read("/dev/null", 0).unwrap().is_empty());
    }
}
