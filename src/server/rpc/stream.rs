//! The two kinds of stream that carry ZMTP. Every call blocks for a bounded time; what the bytes mean is not known here.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long one system call may block, so that deadlines and signals are noticed.
const SLICE: Duration = Duration::from_millis(50);
/// How long a read asks again before it sleeps: waking a sleeping thread on an idle machine can take longer than the answer.
const SPIN: Duration = Duration::from_micros(100);

/// A connected stream.
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Sets timeouts, and has small messages sent at once.
    pub fn prepare(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(SLICE))?;
                stream.set_write_timeout(Some(SLICE))
            }
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(SLICE))?;
                stream.set_write_timeout(Some(SLICE))
            }
        }
    }

    fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_nonblocking(on),
            Stream::Unix(stream) => stream.set_nonblocking(on),
        }
    }

    /// Reads what comes within `SPIN`, without sleeping; nothing when nothing does.
    pub fn read_soon(&mut self, to: &mut [u8]) -> Option<io::Result<usize>> {
        self.set_nonblocking(true).ok()?;
        let until = Instant::now() + SPIN;
        let read = loop {
            match self.read(to) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => {
                    std::hint::spin_loop();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break None,
                read => break Some(read),
            }
        };
        match self.set_nonblocking(false) {
            Ok(()) => read,
            Err(error) => Some(Err(error)),
        }
    }

    pub fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(to),
            Stream::Unix(stream) => stream.read(to),
        }
    }

    pub fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(from),
            Stream::Unix(stream) => stream.write(from),
        }
    }
}
