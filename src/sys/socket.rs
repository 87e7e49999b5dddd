//! Reading a TCP socket together with the time at which the kernel received the bytes, and the small socket questions
//! that std has no answer for. Nothing here knows what the bytes mean, and no call waits longer than the socket's own
//! read timeout.
#![allow(unsafe_code)]

use std::io::{self, Write};
use std::mem;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::{Duration, Instant};

use super::tcp::set_option;

/// Room for one timespec control message and whatever else a kernel may add.
const CONTROL_WORDS: usize = 16;

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    pub bytes: usize,
    /// When the kernel received the last of these bytes, in nanoseconds of the wall clock since 1970; `None` where it
    /// keeps no stamps.
    pub kernel_wall_ns: Option<u64>,
}

/// Asks the kernel to stamp what this socket receives from now on.
pub fn enable_receive_stamps(stream: &TcpStream) -> io::Result<()> {
    set_option(stream, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1 as libc::c_int)
}

/// Keeps the kernel's stamping on for as long as it lives: the kernel turns it on a little after the first socket asks, and
/// what arrives in between has no stamp.
#[derive(Debug)]
pub struct StampsOn {
    _pair: (TcpStream, TcpStream),
}

impl StampsOn {
    /// Sends single bytes over a pair of loopback sockets until one is stamped; gives up after `limit`.
    pub fn wait(limit: Duration) -> io::Result<StampsOn> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut sender = TcpStream::connect(listener.local_addr()?)?;
        let receiver = listener.accept()?.0;
        enable_receive_stamps(&receiver)?;
        receiver.set_read_timeout(Some(limit))?;
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            sender.write_all(&[0])?;
            if receive(&receiver, &mut [0])?.kernel_wall_ns.is_some() {
                return Ok(StampsOn {
                    _pair: (sender, receiver),
                });
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// One `recvmsg`: waits as long as the socket's read timeout says, never fills more than `buffer`.
pub fn receive(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Received> {
    // u64 words so that the control messages are aligned as the kernel writes them.
    let mut control = [0u64; CONTROL_WORDS];
    let mut piece = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: an all-zero msghdr is a valid value to fill in.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of_val(&control);
    // SAFETY: `message` points to `piece` and `control`, and `piece` to `buffer`; all of them are writable and outlive the
    // call, and the lengths are theirs.
    let status = unsafe { libc::recvmsg(stream.as_raw_fd(), &mut message, 0) };
    let bytes = usize::try_from(status).map_err(|_| io::Error::last_os_error())?;
    Ok(Received {
        bytes,
        kernel_wall_ns: stamp_of(&message),
    })
}

fn stamp_of(message: &libc::msghdr) -> Option<u64> {
    // SAFETY: `message` was filled in by a successful recvmsg and its control buffer still lives in the caller's frame.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: a non-null result of CMSG_FIRSTHDR or CMSG_NXTHDR points to a whole header inside the control buffer,
        // which is aligned for it.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_SOCKET && kind == libc::SCM_TIMESTAMPNS {
            // SAFETY: the kernel wrote a timespec as this message's data; it may be unaligned, so it is copied out.
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

/// What a socket holds already, without waiting and without changing how others wait for it.
pub fn receive_present(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the descriptor is open for as long as `socket` lives; the kernel writes no more than `buffer` has room for.
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

/// Whether an idle connection can still be used: nothing to read, not closed, no error.
pub fn is_idle_and_open(stream: &TcpStream) -> bool {
    let mut byte = 0u8;
    // SAFETY: the descriptor is open for as long as `stream` lives; one byte may be written to `byte`.
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

/// Raises this process's own limit of open files to at least `wanted` where that is allowed; returns the limit that holds.
pub fn allow_open_files(wanted: u64) -> io::Result<u64> {
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
    fn the_stamp_is_of_the_arrival_not_of_the_read() {
        let _on = StampsOn::wait(Duration::from_secs(5)).expect("Linux stamps TCP");
        let (client, mut server) = pair();
        enable_receive_stamps(&client).unwrap();
        let before = wall_ns();
        server.write_all(b"hello").unwrap();
        // The bytes are there before anybody reads them.
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
    fn what_is_present_is_read_without_waiting() {
        let (client, mut server) = pair();
        let mut buffer = [0; 8];
        let nothing = receive_present(client.as_fd(), &mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        server.write_all(b"abc").unwrap();
        while !wait_readable(client.as_fd(), Duration::from_secs(10)).unwrap() {}
        assert_eq!(receive_present(client.as_fd(), &mut buffer[..2]).unwrap(), 2);
        assert_eq!(receive_present(client.as_fd(), &mut buffer[2..]).unwrap(), 1);
        assert_eq!(&buffer[..3], b"abc");
        drop(server);
        while !wait_readable(client.as_fd(), Duration::from_secs(10)).unwrap() {}
        assert_eq!(receive_present(client.as_fd(), &mut buffer).unwrap(), 0);
    }

    #[test]
    fn without_asking_there_is_no_stamp() {
        let (client, mut server) = pair();
        server.write_all(b"x").unwrap();
        let got = receive(&client, &mut [0; 4]).unwrap();
        assert_eq!((got.bytes, got.kernel_wall_ns), (1, None));
    }

    #[test]
    fn a_read_never_fills_more_than_its_buffer_and_ends_with_the_stream() {
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
    fn a_limit_that_already_holds_stays() {
        let now = allow_open_files(0).unwrap();
        assert_eq!(allow_open_files(now).unwrap(), now);
    }
}
