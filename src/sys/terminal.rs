//! Raw mode of a terminal, restored on drop.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// While this lives, keys arrive one by one and without echo. Dropping it restores the previous settings.
pub struct RawMode {
    terminal: OwnedFd,
    before: libc::termios,
}

impl RawMode {
    pub fn enter(terminal: BorrowedFd<'_>) -> io::Result<RawMode> {
        let terminal = terminal.try_clone_to_owned()?;
        let mut before = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: the descriptor is open, because `terminal` owns it, and `before` is writable.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), before.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: tcgetattr returned 0, so it filled in the whole structure.
        let before = unsafe { before.assume_init() };
        let mut raw = before;
        // SAFETY: `raw` is an initialised termios.
        unsafe { libc::cfmakeraw(&mut raw) };
        // Output processing stays as it is, so that line feeds still return to the first column.
        raw.c_oflag = before.c_oflag;
        set(&terminal, &raw)?;
        Ok(RawMode { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // It fails when the terminal has been closed.
        let _ = set(&self.terminal, &self.before);
    }
}

/// Waits for pending output first; input that was typed ahead is kept (TCSADRAIN).
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
    fn other_files_than_terminals_are_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(RawMode::enter(file.as_fd()).is_err());
    }
}
