//! The signals that ask for an end as a flag that loops look at. It must never do anything in the handler but store the
//! number and the time and wake whoever waits for them.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};
use std::time::Duration;

/// Stands for a panic of this program where the reason for an early end is a signal's number.
pub const PANIC: i32 = libc::SIGABRT;

/// Stands for a reader who went away.
pub const READER_LEFT: i32 = libc::SIGPIPE;

static RECEIVED: AtomicI32 = AtomicI32::new(0);
/// When, on the monotonic clock.
static RECEIVED_AT_NS: AtomicI64 = AtomicI64::new(0);
/// The descriptor that gets a byte for each signal, if one does.
static WOKEN: AtomicI32 = AtomicI32::new(-1);

/// May be called in a signal handler.
fn monotonic_ns() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable for the whole call. It cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

extern "C" fn remember(signal: libc::c_int) {
    // The first one's time stays.
    let _ = RECEIVED_AT_NS.compare_exchange(0, monotonic_ns(), Ordering::SeqCst, Ordering::SeqCst);
    // A second signal means that the orderly end takes too long for the user: give the default action back to the kernel
    // so that the third one ends the process at once.
    if RECEIVED.swap(signal, Ordering::SeqCst) != 0 {
        // SAFETY: `signal` and `SIG_DFL` are valid arguments, and signal(2) may be called in a handler.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    wake_waiter();
}

fn wake_waiter() {
    let woken = WOKEN.load(Ordering::SeqCst);
    if woken < 0 {
        return;
    }
    // SAFETY: one readable byte, and a descriptor that stays open; a full pipe has woken its reader already. write(2) may be
    // called in a handler, and what it leaves in errno must not reach the code that was interrupted.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::write(woken, [0_u8].as_ptr().cast(), 1);
        *errno = before;
    }
}

/// Installs the handlers. Blocking calls are not restarted, so that waits notice the signal. A file that grows beyond
/// `ulimit -f` is an error of the write from now on, not the end of the process.
pub fn install() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let before = set(signal, remember as extern "C" fn(libc::c_int) as libc::sighandler_t)?;
        // nohup asks for a run that outlives its terminal.
        if signal == libc::SIGHUP && before == libc::SIG_IGN {
            set(signal, libc::SIG_IGN)?;
        }
    }
    set(libc::SIGXFSZ, libc::SIG_IGN)?;
    Ok(())
}

/// Sets what happens on a signal and returns what happened before.
fn set(signal: libc::c_int, handler: libc::sighandler_t) -> io::Result<libc::sighandler_t> {
    // SAFETY: an all-zero sigaction is a valid value to fill in.
    let (mut action, mut before): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    // SAFETY: both structures are initialised; the handler is SIG_IGN or `remember`, which touches atomics and calls
    // clock_gettime(2), signal(2) and write(2), all async-signal-safe.
    match unsafe { libc::sigaction(signal, &action, &mut before) } {
        0 => Ok(before.sa_sigaction),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Writes a byte to this descriptor for each signal. It must stay open until the program ends.
pub fn wake(descriptor: libc::c_int) {
    WOKEN.store(descriptor, Ordering::SeqCst);
}

/// The signal that asked for an end, if one came.
pub fn received() -> Option<i32> {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(signal),
    }
}

/// How long ago the first one came, if one came.
pub fn since_received() -> Option<Duration> {
    received()?;
    let at_ns = RECEIVED_AT_NS.load(Ordering::SeqCst);
    Some(Duration::from_nanos(u64::try_from(monotonic_ns() - at_ns).unwrap_or(0)))
}

/// Asks for an end as SIGPIPE would, had this process not chosen to see broken pipes as errors.
pub fn reader_left() {
    let _ = RECEIVED_AT_NS.compare_exchange(0, monotonic_ns(), Ordering::SeqCst, Ordering::SeqCst);
    // A signal that came before stays the reason.
    let _ = RECEIVED.compare_exchange(0, READER_LEFT, Ordering::SeqCst, Ordering::SeqCst);
}

/// Asks for an end because this program has a fault.
pub fn panicked() {
    let _ = RECEIVED_AT_NS.compare_exchange(0, monotonic_ns(), Ordering::SeqCst, Ordering::SeqCst);
    let _ = RECEIVED.compare_exchange(0, PANIC, Ordering::SeqCst, Ordering::SeqCst);
}

/// The signal's name, for messages.
pub fn name(signal: i32) -> &'static str {
    match signal {
        libc::SIGINT => "SIGINT",
        libc::SIGTERM => "SIGTERM",
        libc::SIGHUP => "SIGHUP",
        READER_LEFT => "SIGPIPE",
        PANIC => "a panic",
        _ => "a signal",
    }
}
