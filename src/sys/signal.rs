//! Termination signals as a flag that loops check. The handler stores the signal's number and time and wakes the exit thread of
//! `ending`; it calls only async-signal-safe functions.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// The value for a panic of this program where a signal number is the reason for an early end.
pub const PANIC: i32 = libc::SIGABRT;

/// The value for a closed pipe on stdout or stderr.
pub const READER_LEFT: i32 = libc::SIGPIPE;

static RECEIVED: AtomicI32 = AtomicI32::new(0);
/// When the first one was received, on the monotonic clock.
static RECEIVED_AT_NS: AtomicI64 = AtomicI64::new(0);
/// The descriptor to which the handler writes a byte for each signal, or -1.
static WAKE_DESCRIPTOR: AtomicI32 = AtomicI32::new(-1);

/// How often waits look for a signal.
const TICK: Duration = Duration::from_millis(50);

/// Waits for so long, unless a signal comes or `is_over` says that there is nothing to wait for. Whether all of it passed.
pub fn wait(time: Duration, is_over: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while received().is_none() && !is_over() {
        let left = time.saturating_sub(began.elapsed());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(TICK));
    }
    false
}

/// Async-signal-safe.
fn monotonic_ns() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable for the whole call, which cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

extern "C" fn remember(signal: libc::c_int) {
    record_time();
    // A second signal means that the shutdown takes too long for the user: restore the default action, so that a third one ends
    // the process at once.
    if RECEIVED.swap(signal, Ordering::SeqCst) != 0 {
        // SAFETY: `signal` and `SIG_DFL` are valid arguments, and signal(2) is async-signal-safe.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    wake_waiter();
}

/// Keeps the time of the first signal.
fn record_time() {
    let _ = RECEIVED_AT_NS.compare_exchange(0, monotonic_ns(), Ordering::SeqCst, Ordering::SeqCst);
}

fn wake_waiter() {
    let descriptor = WAKE_DESCRIPTOR.load(Ordering::SeqCst);
    if descriptor < 0 {
        return;
    }
    // SAFETY: one readable byte, and a descriptor that stays open. If the pipe is full, its reader is awake already. write(2) is
    // async-signal-safe, and errno is restored for the code that was interrupted.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::write(descriptor, [0_u8].as_ptr().cast(), 1);
        *errno = before;
    }
}

/// Installs the handlers. Blocking calls are not restarted, so that waits notice the signal. SIGXFSZ is ignored, so that a
/// write beyond `ulimit -f` is an error instead of the end of the process.
pub fn install() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let before = set(signal, remember as extern "C" fn(libc::c_int) as libc::sighandler_t)?;
        // nohup ignores SIGHUP so that the run outlives its terminal.
        if signal == libc::SIGHUP && before == libc::SIG_IGN {
            set(signal, libc::SIG_IGN)?;
        }
    }
    set(libc::SIGXFSZ, libc::SIG_IGN)?;
    Ok(())
}

/// Sets the action of a signal and returns the previous one.
fn set(signal: libc::c_int, handler: libc::sighandler_t) -> io::Result<libc::sighandler_t> {
    // SAFETY: all-zero bytes are a valid sigaction.
    let (mut action, mut before): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    // SAFETY: both structures are initialised. The handler is SIG_IGN or `remember`, which accesses atomics and calls
    // clock_gettime(2), signal(2) and write(2), all async-signal-safe.
    match unsafe { libc::sigaction(signal, &action, &mut before) } {
        0 => Ok(before.sa_sigaction),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes the handler write a byte to this descriptor for each signal. It must stay open until the process exits.
pub fn wake(descriptor: libc::c_int) {
    WAKE_DESCRIPTOR.store(descriptor, Ordering::SeqCst);
}

/// The termination signal that was received, if any: the latest one, or `PANIC` or `READER_LEFT`.
pub fn received() -> Option<i32> {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(signal),
    }
}

/// Time since the first one was received, if any.
pub fn since_received() -> Option<Duration> {
    received()?;
    let at_ns = RECEIVED_AT_NS.load(Ordering::SeqCst);
    Some(Duration::from_nanos(u64::try_from(monotonic_ns() - at_ns).unwrap_or(0)))
}

/// Ends the run because a pipe that it writes to was closed. Rust programs ignore SIGPIPE, so no signal does it.
pub fn reader_left() {
    record(READER_LEFT);
}

/// Ends the run because this program has panicked.
pub fn panicked() {
    record(PANIC);
}

/// A signal that was received before stays the reason.
fn record(reason: i32) {
    record_time();
    let _ = RECEIVED.compare_exchange(0, reason, Ordering::SeqCst, Ordering::SeqCst);
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
