//! Opens TCP and Unix connections with a time limit. The sockets returned are in blocking mode.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::deadline::{Limits, TICK, timed_out};
use super::limits;

/// Pause between two attempts to connect to a Unix socket whose backlog is full.
const BACKLOG_PAUSE: Duration = Duration::from_millis(10);

/// Connects to the first address that accepts. `patience` is divided evenly among the addresses.
pub fn tcp(addresses: &[SocketAddr], patience: Duration, limits: &impl Limits) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let share = patience / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for address in addresses {
        limits.check()?;
        match tcp_to(address, Instant::now() + share, limits) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    limits.check()?;
    Err(last)
}

fn tcp_to(address: &SocketAddr, until: Instant, limits: &impl Limits) -> io::Result<TcpStream> {
    let stream = begin_connect(address)?;
    let mut ready = libc::pollfd {
        fd: stream.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    loop {
        let tick = TICK.min(until.saturating_duration_since(Instant::now()));
        let tick_ms = libc::c_int::try_from(tick.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: the count is 1, and `ready` is one initialised pollfd that is writable for the whole call.
        let count = unsafe { libc::poll(&mut ready, 1, tick_ms) };
        if count > 0 {
            break;
        }
        if count < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Err(io::Error::last_os_error());
        }
        limits.check()?;
        if Instant::now() >= until {
            return Err(timed_out());
        }
    }
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Connects to the socket file at `path`. While the server's backlog is full the attempt is repeated, until the limits end it.
pub fn unix(path: &Path, limits: &impl Limits) -> io::Result<UnixStream> {
    let socket = socket(libc::AF_UNIX)?;
    let mut name = libc::sockaddr_un {
        sun_family: libc::AF_UNIX as libc::sa_family_t,
        sun_path: [0; 108],
    };
    let bytes = path.as_os_str().as_bytes();
    // The last byte stays 0.
    if bytes.len() >= name.sun_path.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "its path is longer than the 107 bytes that a socket's may have",
        ));
    }
    for (place, byte) in name.sun_path.iter_mut().zip(bytes) {
        *place = byte.cast_signed();
    }
    loop {
        match connect_to(&socket, &name) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                limits.check()?;
                thread::sleep(BACKLOG_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// A non-blocking socket.
fn socket(family: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers; the result is checked before it is used as a descriptor.
    let fd = unsafe { libc::socket(family, kind, 0) };
    if fd < 0 {
        return Err(limits::add_advice(io::Error::last_os_error()));
    }
    // SAFETY: a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A socket that is connecting to `address`.
fn begin_connect(address: &SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let socket = socket(family)?;
    let status = match address {
        SocketAddr::V4(address) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(address.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            connect_to(&socket, &name)
        }
        SocketAddr::V6(address) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: address.ip().octets(),
                },
                sin6_scope_id: address.scope_id(),
            };
            connect_to(&socket, &name)
        }
    };
    match status {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from(socket)),
    }
}

/// `T` is the address structure of the socket's family.
fn connect_to<T>(socket: &OwnedFd, name: &T) -> io::Result<()> {
    let len = libc::socklen_t::try_from(mem::size_of::<T>()).expect("addresses are small");
    // SAFETY: the descriptor is open for as long as `socket` lives; `name` is readable for `len` bytes during the call.
    match unsafe { libc::connect(socket.as_raw_fd(), std::ptr::from_ref(name).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::deadline::Deadline;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn open(address: SocketAddr) -> io::Result<TcpStream> {
        tcp(&[address], PATIENCE, &Deadline::after(PATIENCE))
    }

    #[test]
    fn connections_of_both_families_carry_bytes_and_block() {
        use std::io::{Read, Write};
        for host in ["127.0.0.1:0", "[::1]:0"] {
            // Not every machine has IPv6.
            let Ok(listener) = TcpListener::bind(host) else {
                continue;
            };
            let mut client = open(listener.local_addr().unwrap()).unwrap();
            let mut server = listener.accept().unwrap().0;
            assert_eq!(client.peer_addr().unwrap(), listener.local_addr().unwrap());
            let writer = std::thread::spawn(move || server.write_all(b"x").unwrap());
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            writer.join().unwrap();
        }
    }

    #[test]
    fn a_port_without_a_listener_refuses_the_connection() {
        // A port that was just freed may be another test's by now.
        let refused = open(([127, 0, 0, 1], 1).into()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_full_backlog_ends_in_a_timeout_and_a_long_path_is_refused() {
        let folder = crate::testing::temporary_path("connect");
        let listener = std::os::unix::net::UnixListener::bind(&folder).unwrap();
        let mut kept = Vec::new();
        let ended = loop {
            match unix(&folder, &Deadline::after(Duration::from_millis(30))) {
                Ok(stream) => kept.push(stream),
                Err(error) => break error,
            }
            assert!(kept.len() < 100_000, "the backlog has no limit");
        };
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut, "{ended}");
        drop(listener);
        std::fs::remove_file(&folder).unwrap();
        let long = Path::new("/tmp").join("x".repeat(200));
        assert!(
            unix(&long, &Deadline::after(PATIENCE))
                .unwrap_err()
                .to_string()
                .contains("107")
        );
    }
}
