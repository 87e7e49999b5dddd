//! Reads whole files: settings, tokenizers, keys, certificates. The size is limited and a signal ends the read, whatever the
//! path names: also a pipe without a writer, a terminal or an endless device.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::sys::files::{self, O_NONBLOCK};
use crate::sys::signal;

/// How long a wait may last before a signal that arrived just before it is noticed.
const TICK: Duration = Duration::from_millis(50);
const PIECE_BYTES: usize = 64 * 1024;

/// Reads all bytes of a file. `FileTooLarge` if there are more than `bytes_max`, `Interrupted` after a termination signal.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_until(path, bytes_max, &|| signal::received().is_some())
}

fn read_until(path: &Path, bytes_max: u64, is_cancelled: &dyn Fn() -> bool) -> io::Result<Vec<u8>> {
    let mut pieces = Pieces::open(path, bytes_max)?;
    let mut bytes = Vec::new();
    // Allocated once, so that a large file is not copied while the buffer grows.
    bytes.try_reserve_exact(usize::try_from(pieces.length).unwrap_or(0).saturating_add(1))?;
    while let Some(piece) = pieces.next_until(is_cancelled)? {
        bytes.extend_from_slice(piece);
    }
    Ok(bytes)
}

/// A file piece by piece, for readers that need not hold all of it. Limits and errors are those of [`read`].
pub struct Pieces {
    file: File,
    /// Bytes of a regular file, else 0.
    length: u64,
    bytes_max: u64,
    bytes_read: u64,
    piece: Vec<u8>,
}

impl Pieces {
    pub fn open(path: &Path, bytes_max: u64) -> io::Result<Pieces> {
        // Without O_NONBLOCK, opening a pipe waits for a writer, and std repeats an open that a signal interrupts.
        let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
        let found = file.metadata()?;
        let length = if found.is_file() { found.len() } else { 0 };
        if length > bytes_max {
            return Err(too_large(bytes_max));
        }
        Ok(Pieces {
            file,
            length,
            bytes_max,
            bytes_read: 0,
            piece: vec![0; PIECE_BYTES],
        })
    }

    /// The next bytes; `None` at the end.
    pub fn next_piece(&mut self) -> io::Result<Option<&[u8]>> {
        self.next_until(&|| signal::received().is_some())
    }

    fn next_until(&mut self, is_cancelled: &dyn Fn() -> bool) -> io::Result<Option<&[u8]>> {
        let count = loop {
            if is_cancelled() {
                return Err(io::Error::new(ErrorKind::Interrupted, "a signal asked for the end"));
            }
            // A read from a pipe returns 0 both before the first writer opens it and after the last one closes it. Only poll
            // tells the two apart.
            if !files::wait_readable(self.file.as_fd(), TICK)? {
                continue;
            }
            match self.file.read(&mut self.piece) {
                Ok(count) => break count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        };
        self.bytes_read += count as u64;
        if self.bytes_read > self.bytes_max {
            return Err(too_large(self.bytes_max));
        }
        Ok((count > 0).then_some(&self.piece[..count]))
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
    use std::fs;
    use std::io::Write;
    use std::path::PathBuf;
    use std::process::Command;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// A named pipe, removed on drop.
    struct Pipe(PathBuf);

    impl Pipe {
        fn new(name: &str) -> Pipe {
            let path = crate::testing::temporary_path(name);
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
            // Opens the pipe only after the reader has polled it twice without a writer.
            begins.recv().unwrap();
            let mut file = File::options().write(true).open(&path).unwrap();
            file.write_all(&[b'a'; 100_000]).unwrap();
            file.write_all(b"end").unwrap();
        });
        let looks = Cell::new(0);
        let read = read_until(&pipe.0, 1 << 20, &|| {
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
        let read = read_until(&pipe.0, 10, &|| {
            looks.set(looks.get() + 1);
            looks.get() == 3
        });
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Interrupted);
    }

    #[test]
    fn large_and_endless_files_and_folders_are_refused() {
        let read = |path: &str, bytes_max| read_until(Path::new(path), bytes_max, &|| false);
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let text = fs::read(own).unwrap();
        assert_eq!(read(own, text.len() as u64).unwrap(), text);
        for (path, bytes_max, text) in [
            (own, text.len() as u64 - 1, "bytes"),
            ("/dev/zero", 2 << 20, "it is larger than 2 MiB"),
            ("/", 10, "directory"),
            ("/nowhere", 10, "No such file"),
        ] {
            let error = read(path, bytes_max).unwrap_err().to_string();
            assert!(error.contains(text), "{path}: {error}");
        }
        // Files in /proc have length 0.
        assert!(read("/proc/self/status", 1 << 20).unwrap().len() > 100);
        assert!(read("/dev/null", 0).unwrap().is_empty());
    }
}
