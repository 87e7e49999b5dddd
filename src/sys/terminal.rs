//! A terminal without line editing for as long as keys are read. Must never leave the terminal changed.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Keys arrive one by one and unechoed while this lives; dropping it restores what was.
pub struct RawMode {
    terminal: OwnedFd,
    before: libc::termios,
}

impl RawMode {
    pub fn enter(terminal: BorrowedFd<'_>) -> io::Result<RawMode> {
        let terminal = terminal.try_clone_to_owned()?;
        let mut before = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: the descriptor is open, because `terminal` owns it, and `before` is a termios to fill in.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), before.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: tcgetattr returned 0, so it filled in the whole structure.
        let before = unsafe { before.assume_init() };
        let mut raw = before;
        // SAFETY: `raw` is an initialised termios.
        unsafe { libc::cfmakeraw(&mut raw) };
        // What is written looks as before: line ends still return the carriage.
        raw.c_oflag = before.c_oflag;
        set(&terminal, &raw)?;
        Ok(RawMode { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that has gone away needs no restoring.
        let _ = set(&self.terminal, &self.before);
    }
}

/// After what was written is out; input that was typed ahead stays.
fn set(terminal: &OwnedFd, state: &libc::termios) -> io::Result<()> {
    // SAFETY: the descriptor is open, because `terminal` owns it, and `state` is an initialised termios.
    match unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSADRAIN, state) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_no_terminal_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(RawMode::enter(file.as_fd()).is_err());
    }
}
