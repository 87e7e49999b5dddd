//! Reads from TCP sockets with the kernel's receive timestamps, non-blocking reads, a liveness check for idle connections, and
//! the limit of open files: what std does not have.
#![allow(unsafe_code)]

use std::io::{self, Write};
use std::mem;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::{Duration, Instant};

use super::tcp::set_option;

/// Size of the control buffer: enough for one timespec message and others that a kernel may add.
const CONTROL_WORDS: usize = 16;

/// The result of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    pub bytes: usize,
    /// When the kernel received the last of these bytes, in nanoseconds of CLOCK_REALTIME since 1970; `None` without receive
    /// timestamps.
    pub kernel_wall_ns: Option<u64>,
}

/// Turns on receive timestamps (SO_TIMESTAMPNS) for this socket.
pub fn enable_receive_stamps(stream: &TcpStream) -> io::Result<()> {
    set_option(stream, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1 as libc::c_int)
}

/// Keeps the kernel's receive timestamps turned on for as long as it lives. The kernel turns them on a little after the first
/// socket asks for them, and packets that arrive before have no timestamp.
#[derive(Debug)]
pub struct StampsEnabled {
    _pair: (TcpStream, TcpStream),
}

impl StampsEnabled {
    /// Sends single bytes over a pair of loopback sockets until one has a timestamp. `Unsupported` if none has after `limit`.
    pub fn wait(limit: Duration) -> io::Result<StampsEnabled> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut sender = TcpStream::connect(listener.local_addr()?)?;
        let receiver = listener.accept()?.0;
        enable_receive_stamps(&receiver)?;
        receiver.set_read_timeout(Some(limit))?;
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            sender.write_all(&[0])?;
            match receive(&receiver, &mut [0]) {
                Ok(received) if received.kernel_wall_ns.is_some() => {
                    let _pair = (sender, receiver);
                    return Ok(StampsEnabled { _pair });
                }
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// One `recvmsg`, which waits at most for the socket's read timeout.
pub fn receive(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Received> {
    // u64 words, because control messages must be aligned.
    let mut control = [0u64; CONTROL_WORDS];
    let mut piece = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all-zero bytes are a valid msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of_val(&control);
    // SAFETY: `message` points to `piece` and `control`, and `piece` points to `buffer`. All are writable and outlive the call,
    // and the lengths are right.
    let status = unsafe { libc::recvmsg(stream.as_raw_fd(), &mut message, 0) };
    let bytes = usize::try_from(status).map_err(|_| io::Error::last_os_error())?;
    Ok(Received {
        bytes,
        kernel_wall_ns: stamp_of(&message),
    })
}

fn stamp_of(message: &libc::msghdr) -> Option<u64> {
    // SAFETY: a successful recvmsg filled in `message`, and its control buffer is alive in the caller's frame.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: a non-null result of CMSG_FIRSTHDR or CMSG_NXTHDR points to a whole, aligned header inside the control
        // buffer.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_SOCKET && kind == libc::SCM_TIMESTAMPNS {
            // SAFETY: the data of this message is a timespec; it may be unaligned, so it is copied out.
            let time: libc::timespec = unsafe { ptr::read_unaligned(libc::CMSG_DATA(header).cast()) };
            let seconds = u64::try_from(time.tv_sec).ok()?;
            let nanoseconds = u64::try_from(time.tv_nsec).ok()?;
            return seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds);
        }
        // SAFETY: `header` is a header of this message's control buffer.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

/// Reads without waiting, also from a blocking socket; `WouldBlock` if nothing has arrived.
pub fn receive_available(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the descriptor is open for as long as `socket` lives; the kernel writes at most the length of `buffer`.
    let status = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(status).map_err(|_| io::Error::last_os_error())
}

/// Whether an idle connection can be used again: nothing to read, not closed, no error.
pub fn is_idle_and_open(stream: &TcpStream) -> bool {
    let mut byte = 0u8;
    // SAFETY: the descriptor is open for as long as `stream` lives; at most one byte is written to `byte`.
    let status = unsafe {
        libc::recv(
            stream.as_raw_fd(),
            ptr::from_mut(&mut byte).cast(),
            1,
            libc::MSG_PEEK | libc::MSG_DONTWAIT,
        )
    };
    status < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
}

/// Raises this process's soft limit of open files to `wanted`, or to the hard limit if that is lower. Returns the soft limit,
/// which is not lowered.
pub fn raise_open_file_limit(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is writable for the whole call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur >= wanted {
        return Ok(limit.rlim_cur);
    }
    limit.rlim_cur = wanted.min(limit.rlim_max);
    // SAFETY: `limit` is initialised and only read.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::super::files::wait_readable;
    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn wall_ns() -> u64 {
        u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
    }

    #[test]
    fn the_timestamp_is_that_of_arrival_not_of_the_read() {
        let _enabled = StampsEnabled::wait(Duration::from_secs(5)).expect("Linux has receive timestamps");
        let (client, mut server) = pair();
        enable_receive_stamps(&client).unwrap();
        let before = wall_ns();
        server.write_all(b"hello").unwrap();
        // Waits for the arrival without reading.
        while is_idle_and_open(&client) {}
        let arrived = wall_ns();
        std::thread::sleep(Duration::from_millis(5));
        let mut buffer = [0; 16];
        let got = receive(&client, &mut buffer).unwrap();
        assert_eq!(&buffer[..got.bytes], b"hello");
        let stamp = got.kernel_wall_ns.unwrap();
        assert!((before..=arrived).contains(&stamp), "{before} {stamp} {arrived}");
    }

    #[test]
    fn available_bytes_are_read_without_waiting() {
        let (client, mut server) = pair();
        let mut buffer = [0; 8];
        let nothing = receive_available(client.as_fd(), &mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        server.write_all(b"abc").unwrap();
        while !wait_readable(client.as_fd(), Duration::from_secs(10)).unwrap() {}
        assert_eq!(receive_available(client.as_fd(), &mut buffer[..2]).unwrap(), 2);
        assert_eq!(receive_available(client.as_fd(), &mut buffer[2..]).unwrap(), 1);
        assert_eq!(&buffer[..3], b"abc");
        drop(server);
        while !wait_readable(client.as_fd(), Duration::from_secs(10)).unwrap() {}
        assert_eq!(receive_available(client.as_fd(), &mut buffer).unwrap(), 0);
    }

    #[test]
    fn timestamps_are_off_by_default() {
        let (client, mut server) = pair();
        server.write_all(b"x").unwrap();
        let got = receive(&client, &mut [0; 4]).unwrap();
        assert_eq!((got.bytes, got.kernel_wall_ns), (1, None));
    }

    #[test]
    fn a_read_fills_at_most_its_buffer_and_returns_zero_at_the_end() {
        let (client, mut server) = pair();
        server.write_all(b"abcdef").unwrap();
        drop(server);
        let mut buffer = [0; 4];
        assert_eq!(receive(&client, &mut buffer).unwrap().bytes, 4);
        assert_eq!(&buffer, b"abcd");
        assert_eq!(receive(&client, &mut buffer).unwrap().bytes, 2);
        assert_eq!(receive(&client, &mut buffer).unwrap().bytes, 0);
    }

    #[test]
    fn the_read_timeout_ends_a_wait() {
        let (client, _server) = pair();
        client.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let error = receive(&client, &mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn only_a_quiet_open_connection_is_idle() {
        let (client, mut server) = pair();
        assert!(is_idle_and_open(&client));
        server.write_all(b"x").unwrap();
        while is_idle_and_open(&client) {}
        receive(&client, &mut [0; 4]).unwrap();
        assert!(is_idle_and_open(&client));
        drop(server);
        while is_idle_and_open(&client) {}
    }

    #[test]
    fn a_limit_that_is_high_enough_stays() {
        let now = raise_open_file_limit(0).unwrap();
        assert_eq!(raise_open_file_limit(now).unwrap(), now);
    }
}
