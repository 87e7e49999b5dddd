//! A socket with limits. They are checked before every system call, so that a deadline or a signal ends reads and writes,
//! whether the peer is silent or sends without pause.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::deadline::{Limits, TICK, is_retryable};
use super::socket::{self, Received};
use super::{connect, tcp};

/// How long `read_soon` polls.
const SPIN: Duration = Duration::from_micros(100);
/// Most bytes of one write call, so that the limits are checked even if the peer reads as fast as this process writes.
const WRITE_BYTES_MAX: usize = 8 << 20;
/// A vectored write with fewer parts than this before a long value includes the start of that value.
const SHORTENED_PARTS: usize = 4;

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(fuzzing)]
    Memory(Memory),
}

/// A peer that sent `bytes` and closed. A read returns at most `piece` bytes; writes are discarded.
#[cfg(fuzzing)]
struct Memory {
    bytes: io::Cursor<Vec<u8>>,
    piece: usize,
}

#[cfg(fuzzing)]
impl Read for Memory {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = to.len().min(self.piece);
        self.bytes.read(&mut to[..most])
    }
}

/// A connected socket with limits, which may be replaced between two calls.
pub struct Stream<L> {
    socket: Socket,
    pub limits: L,
}

impl<L: Limits> Stream<L> {
    /// Turns on TCP_NODELAY, so that small messages are sent at once.
    pub fn tcp(stream: TcpStream, limits: L) -> io::Result<Stream<L>> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(TICK))?;
        let socket = Socket::Tcp(stream);
        Ok(Stream { socket, limits })
    }

    pub fn unix(stream: UnixStream, limits: L) -> io::Result<Stream<L>> {
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(TICK))?;
        let socket = Socket::Unix(stream);
        Ok(Stream { socket, limits })
    }

    #[cfg(fuzzing)]
    pub fn memory(received: &[u8], piece: usize, limits: L) -> Stream<L> {
        let bytes = io::Cursor::new(received.to_vec());
        let socket = Socket::Memory(Memory { bytes, piece });
        Stream { socket, limits }
    }

    /// Connects to the first address that accepts. `patience` is divided evenly among the addresses.
    pub fn connect(addresses: &[SocketAddr], patience: Duration, limits: L) -> io::Result<Stream<L>> {
        let stream = connect::tcp(addresses, patience, &limits)?;
        Stream::tcp(stream, limits)
    }

    pub fn connect_unix(path: &Path, limits: L) -> io::Result<Stream<L>> {
        let stream = connect::unix(path, &limits)?;
        Stream::unix(stream, limits)
    }

    /// Repeats a call that reached the socket's own timeout or was interrupted, until the limits end that.
    fn retry<T>(&mut self, mut call: impl FnMut(&mut Socket) -> io::Result<T>) -> io::Result<T> {
        loop {
            self.limits.check()?;
            match call(&mut self.socket) {
                Err(error) if is_retryable(&error) => {}
                done => return done,
            }
        }
    }

    /// Polls for bytes without sleeping; `None` if none arrive within `SPIN`. On an idle machine, waking a sleeping thread can
    /// take longer than the peer's response.
    pub fn read_soon(&mut self, to: &mut [u8]) -> io::Result<Option<usize>> {
        self.limits.check()?;
        let until = Instant::now() + SPIN;
        loop {
            match self.socket.read_available(to) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => {
                    std::hint::spin_loop();
                }
                Err(error) if is_retryable(&error) => return Ok(None),
                read => return read.map(Some),
            }
        }
    }

    /// As `read`, with the kernel's receive timestamp.
    pub fn read_stamped(&mut self, to: &mut [u8]) -> io::Result<Received> {
        self.retry(|socket| match socket {
            Socket::Tcp(stream) => socket::receive(stream, to),
            other => other.read(to).map(|bytes| Received {
                bytes,
                kernel_wall_ns: None,
            }),
        })
    }

    /// Turns on receive timestamps; `Unsupported` for other sockets than TCP.
    pub fn enable_receive_stamps(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(stream) => socket::enable_receive_stamps(stream),
            _ => Err(ErrorKind::Unsupported.into()),
        }
    }

    /// Whether an idle connection can be used again: nothing to read, not closed, no error.
    pub fn is_idle_and_open(&self) -> bool {
        match &self.socket {
            Socket::Tcp(stream) => socket::is_idle_and_open(stream),
            _ => true,
        }
    }

    /// Acknowledges the received data at once. A server that uses Nagle's algorithm sends the next small packet only after the
    /// acknowledgement of the last one, which the kernel may delay by 40 ms.
    pub fn acknowledge_now(&self) {
        if let Socket::Tcp(stream) = &self.socket {
            // Without it the transfer is only slower.
            let _ = tcp::acknowledge_now(stream);
        }
    }
}

impl Socket {
    /// Reads without waiting; `WouldBlock` if nothing has arrived.
    fn read_available(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => socket::receive_available(stream.as_fd(), to),
            Socket::Unix(stream) => socket::receive_available(stream.as_fd(), to),
            #[cfg(fuzzing)]
            Socket::Memory(memory) => memory.read(to),
        }
    }

    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(to),
            Socket::Unix(stream) => stream.read(to),
            #[cfg(fuzzing)]
            Socket::Memory(memory) => memory.read(to),
        }
    }
}

impl<L: Limits> Read for Stream<L> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.retry(|socket| socket.read(to))
    }

    fn read_vectored(&mut self, parts: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.retry(|socket| match socket {
            Socket::Tcp(stream) => stream.read_vectored(parts),
            Socket::Unix(stream) => stream.read_vectored(parts),
            #[cfg(fuzzing)]
            Socket::Memory(memory) => memory.read_vectored(parts),
        })
    }
}

impl<L: Limits> Write for Stream<L> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let from = &from[..from.len().min(WRITE_BYTES_MAX)];
        self.retry(|socket| match socket {
            Socket::Tcp(stream) => stream.write(from),
            Socket::Unix(stream) => stream.write(from),
            #[cfg(fuzzing)]
            Socket::Memory(_) => Ok(from.len()),
        })
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut room = WRITE_BYTES_MAX;
        let fits = |part: &&IoSlice<'_>| {
            let fits = part.len() <= room;
            room = room.saturating_sub(part.len());
            fits
        };
        let whole = parts.iter().take_while(fits).count();
        let mut short = [IoSlice::new(&[]); SHORTENED_PARTS];
        let parts = match parts.get(whole) {
            // The first part that does not fit is shortened and sent with the few parts before it.
            Some(long) if whole < SHORTENED_PARTS => {
                let before: usize = parts[..whole].iter().map(|part| part.len()).sum();
                short[..whole].copy_from_slice(&parts[..whole]);
                short[whole] = IoSlice::new(&long[..WRITE_BYTES_MAX - before]);
                &short[..=whole]
            }
            Some(_) => &parts[..whole],
            None => parts,
        };
        self.retry(|socket| match socket {
            Socket::Tcp(stream) => stream.write_vectored(parts),
            Socket::Unix(stream) => stream.write_vectored(parts),
            #[cfg(fuzzing)]
            Socket::Memory(_) => Ok(parts.iter().map(|part| part.len()).sum()),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::deadline::Deadline;
    use super::*;

    fn pair() -> (Stream<Deadline>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stream = Stream::unix(ours, Deadline::after(Duration::from_secs(60))).unwrap();
        (stream, theirs)
    }

    fn end(stream: &mut Stream<Deadline>) {
        stream.limits.at = Instant::now();
    }

    #[test]
    fn nothing_is_read_or_written_after_the_deadline() {
        let (mut stream, mut theirs) = pair();
        theirs.write_all(b"abcdef").unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        assert_eq!(stream.read_soon(&mut byte).unwrap(), Some(1));
        assert_eq!(stream.read_stamped(&mut byte).unwrap().bytes, 1);
        end(&mut stream);
        let mut parts = [IoSliceMut::new(&mut byte)];
        assert_eq!(
            stream.read_vectored(&mut parts).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        assert_eq!(stream.read(&mut byte).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(stream.read_soon(&mut byte).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(stream.read_stamped(&mut byte).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(stream.write(&byte).unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn writes_to_a_peer_that_does_not_read_end_at_the_deadline() {
        let (mut stream, _theirs) = pair();
        stream.limits.at = Instant::now() + Duration::from_millis(10);
        let value = vec![0; 1 << 20];
        assert_eq!(stream.write_all(&value).unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn long_values_are_written_in_pieces_and_in_order() {
        let (mut stream, mut theirs) = pair();
        let long = vec![7; WRITE_BYTES_MAX + 10];
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            all
        });
        for short in [1, SHORTENED_PARTS + 1] {
            let mut parts = vec![IoSlice::new(b"head"); short];
            parts.extend([IoSlice::new(&long), IoSlice::new(b"end")]);
            let mut rest = &mut parts[..];
            while !rest.is_empty() {
                let written = stream.write_vectored(rest).unwrap();
                assert!(written <= WRITE_BYTES_MAX);
                IoSlice::advance_slices(&mut rest, written);
            }
        }
        drop(stream);
        let whole = |short: usize| [b"head".repeat(short), long.clone(), b"end".to_vec()].concat();
        assert!(reader.join().unwrap() == [whole(1), whole(SHORTENED_PARTS + 1)].concat());
    }
}
