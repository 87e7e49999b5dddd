//! A terminal without line editing for as long as one key is read. Must never leave the terminal changed.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Keys arrive one by one and unechoed while this lives; dropping it restores what was.
pub struct RawMode<'fd> {
    terminal: BorrowedFd<'fd>,
    before: libc::termios,
}

impl<'fd> RawMode<'fd> {
    pub fn enter(terminal: BorrowedFd<'fd>) -> io::Result<RawMode<'fd>> {
        let mut before = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: the descriptor is open for as long as the borrow, and `before` is a termios to fill in.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), before.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: tcgetattr returned 0, so it filled in the whole structure.
        let before = unsafe { before.assume_init() };
        let mut raw = before;
        // SAFETY: `raw` is an initialised termios.
        unsafe { libc::cfmakeraw(&mut raw) };
        set(terminal, &raw)?;
        Ok(RawMode { terminal, before })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // A terminal that has gone away needs no restoring.
        let _ = set(self.terminal, &self.before);
    }
}

/// After what was written is out; input that was typed ahead stays.
fn set(terminal: BorrowedFd<'_>, state: &libc::termios) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as the borrow, and `state` is an initialised termios.
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
