//! SIGINT and SIGTERM as a flag that loops look at. It must never do anything in the handler but store the number.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

static RECEIVED: AtomicI32 = AtomicI32::new(0);

extern "C" fn remember(signal: libc::c_int) {
    // A second signal means that the orderly end takes too long for the user: give the default action back to the kernel
    // so that the third one ends the process at once.
    if RECEIVED.swap(signal, Ordering::SeqCst) != 0 {
        // SAFETY: `signal` and `SIG_DFL` are valid arguments, and signal(2) may be called in a handler.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Installs the handlers. Blocking calls are not restarted, so that waits notice the signal.
pub fn install() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: an all-zero sigaction is a valid value to fill in.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = remember as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: `action` is initialised, the handler only touches an atomic and calls signal(2), both async-signal-safe.
        let status = unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
        if status != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The signal that asked for an end, if one came.
pub fn received() -> Option<i32> {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(signal),
    }
}

/// `SIGINT` or `SIGTERM`, for messages.
pub fn name(signal: i32) -> &'static str {
    match signal {
        libc::SIGINT => "SIGINT",
        libc::SIGTERM => "SIGTERM",
        _ => "a signal",
    }
}
