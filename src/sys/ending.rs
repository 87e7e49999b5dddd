//! The last resort of an orderly end: a second after a signal the program is over, whatever it hangs in, be it a name server,
//! a disk, a full pipe. Until then everything has had its chance to finish; what is being written to files may go on.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};
use std::time::Duration;

use super::deadline::TICK;
use super::signal;

/// After the graces of `deadline`, and with time left to be gone within the second.
const GIVE_UP: Duration = Duration::from_millis(930);

/// Results that are being written.
static SAVING: AtomicUsize = AtomicUsize::new(0);

/// From now on a signal is the end within a second. `exit_code` is that of a signal; `say` gets the sentence.
pub fn watch(exit_code: fn(i32) -> u8, say: fn(&str)) -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    let reader = File::from(OwnedFd::from(reader));
    // Open until the end of the program, since the handler writes to it.
    signal::wake(writer.as_raw_fd());
    std::mem::forget(writer);
    Builder::new()
        .name("ending".to_owned())
        .spawn(move || wait(reader, exit_code, say))
        .map(drop)
}

fn wait(mut woken: File, exit_code: fn(i32) -> u8, say: fn(&str)) {
    let mut byte = [0];
    // Sleeps for the whole run, so that nothing measured is disturbed.
    while signal::received().is_none() {
        if woken.read(&mut byte).is_err() {
            thread::sleep(TICK);
        }
    }
    let since = signal::since_received().unwrap_or_default();
    thread::sleep(GIVE_UP.saturating_sub(since));
    while SAVING.load(Ordering::SeqCst) > 0 {
        // What comes after it gets some time too.
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
    // SAFETY: ends the process without running anything that might hang as well.
    unsafe { libc::_exit(i32::from(exit_code(signal))) }
}

/// While this lives, results are being worked out or written to files, which a slow disk must not lose.
pub struct Saving(());

pub fn saving() -> Saving {
    SAVING.fetch_add(1, Ordering::SeqCst);
    Saving(())
}

impl Drop for Saving {
    fn drop(&mut self) {
        SAVING.fetch_sub(1, Ordering::SeqCst);
    }
}
