//! Guarantees that the process exits within a second of a termination signal, even if a thread hangs in a name lookup, a disk
//! or a full pipe. Only results that are being saved may take longer.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};
use std::time::Duration;

use super::deadline::TICK;
use super::signal;

/// Time from the signal to the forced exit: after the grace periods of `deadline`, and early enough to exit within a second.
const GIVE_UP: Duration = Duration::from_millis(930);

/// Number of `Saving` values that are alive.
static SAVING: AtomicUsize = AtomicUsize::new(0);

/// Starts the thread that forces the exit. `exit_code` maps a signal to the exit code; `say` gets the message.
pub fn watch(exit_code: fn(i32) -> u8, say: fn(&str)) -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    let reader = File::from(OwnedFd::from(reader));
    // The signal handler writes to it until the process exits, so it is never closed.
    signal::wake(writer.as_raw_fd());
    std::mem::forget(writer);
    Builder::new()
        .name("ending".to_owned())
        .spawn(move || wait(reader, exit_code, say))
        .map(drop)
}

fn wait(mut woken: File, exit_code: fn(i32) -> u8, say: fn(&str)) {
    let mut byte = [0];
    // Blocks for the whole run, so that it does not disturb the measurement.
    while signal::received().is_none() {
        if woken.read(&mut byte).is_err() {
            thread::sleep(TICK);
        }
    }
    let since = signal::since_received().unwrap_or_default();
    thread::sleep(GIVE_UP.saturating_sub(since));
    while SAVING.load(Ordering::SeqCst) > 0 {
        // Whatever follows a save, such as the next file, gets two more ticks.
        while SAVING.load(Ordering::SeqCst) > 0 {
            thread::sleep(TICK);
        }
        thread::sleep(TICK * 2);
    }
    let signal = signal::received().unwrap_or_default();
    say(&format!(
        "lmcache-bench: stopped by {} in the middle of something that does not end; what it left open is not closed",
        signal::name(signal)
    ));
    // SAFETY: _exit ends the process without running exit handlers, which might hang as well.
    unsafe { libc::_exit(i32::from(exit_code(signal))) }
}

/// Delays the forced exit for as long as it lives: results are being computed or written, perhaps to a slow disk.
pub struct Saving(());

/// Announces that results are being computed or written.
pub fn saving() -> Saving {
    SAVING.fetch_add(1, Ordering::SeqCst);
    Saving(())
}

impl Drop for Saving {
    fn drop(&mut self) {
        SAVING.fetch_sub(1, Ordering::SeqCst);
    }
}
