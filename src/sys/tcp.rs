//! The socket options that std does not have, and a connect whose wait can be ended. Each returns an `io::Error` and decides
//! nothing.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::limits;

/// Sets an option whose value is a plain C structure or number.
pub(super) fn set_option<T: Copy>(
    stream: &TcpStream,
    level: libc::c_int,
    option: libc::c_int,
    value: T,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(mem::size_of::<T>()).expect("options are small");
    // SAFETY: the descriptor is open for as long as `stream` lives; `value` is readable for `len` bytes during the call.
    let status = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            len,
        )
    };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Acknowledges what arrived now, without waiting for more: a server that holds its next packet back until then goes on.
pub fn acknowledge_now(stream: &TcpStream) -> io::Result<()> {
    set_option(stream, libc::IPPROTO_TCP, libc::TCP_QUICKACK, 1 as libc::c_int)
}

/// Opens a connection. `goes_on` is asked after every `tick` without one; when it says no, the error is `TimedOut`.
pub fn connect(address: &SocketAddr, tick: Duration, goes_on: impl Fn() -> bool) -> io::Result<TcpStream> {
    let stream = begin_connect(address)?;
    let tick_ms = libc::c_int::try_from(tick.as_millis()).unwrap_or(libc::c_int::MAX);
    let mut ready = libc::pollfd {
        fd: stream.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    loop {
        // SAFETY: one initialised pollfd, as the count says; it is writable for the whole call.
        let count = unsafe { libc::poll(&mut ready, 1, tick_ms) };
        if count > 0 {
            break;
        }
        if count < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Err(io::Error::last_os_error());
        }
        if !goes_on() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// A socket that is on its way to `address`.
fn begin_connect(address: &SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers; the result is checked before it is used as a descriptor.
    let fd = unsafe { libc::socket(family, kind, 0) };
    if fd < 0 {
        return Err(limits::explained(io::Error::last_os_error()));
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
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

/// `T` is the socket address of the socket's family.
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

    use super::*;

    const TICK: Duration = Duration::from_millis(5);

    #[test]
    fn connections_of_both_families_carry_bytes_and_block() {
        use std::io::{Read, Write};
        for host in ["127.0.0.1:0", "[::1]:0"] {
            // Not every machine has IPv6.
            let Ok(listener) = TcpListener::bind(host) else {
                continue;
            };
            let mut client = connect(&listener.local_addr().unwrap(), TICK, || true).unwrap();
            let mut server = listener.accept().unwrap().0;
            assert_eq!(client.peer_addr().unwrap(), listener.local_addr().unwrap());
            let writer = std::thread::spawn(move || server.write_all(b"x").unwrap());
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            writer.join().unwrap();
        }
    }

    #[test]
    fn a_port_without_a_listener_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let refused = connect(&address, TICK, || true).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
