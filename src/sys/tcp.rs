//! Socket options that std does not have.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Sets an option whose value is a C structure or number.
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

/// Sends a pending acknowledgement at once (TCP_QUICKACK).
pub fn acknowledge_now(stream: &TcpStream) -> io::Result<()> {
    set_option(stream, libc::IPPROTO_TCP, libc::TCP_QUICKACK, 1 as libc::c_int)
}
