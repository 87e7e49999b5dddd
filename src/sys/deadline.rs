//! When waiting must end: at a moment, and soon after a signal. Streams ask their limits before every system call, so that
//! neither a silent peer nor one that never pauses holds anybody up.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::signal;

/// How long one system call may block before the limits are asked again. Every waiting thread wakes so often for nothing:
/// with a thousand streams half of it took 8 % more processor time.
pub const TICK: Duration = Duration::from_millis(100);
/// What is under way when a signal comes may take this long to finish.
pub const WORK_GRACE: Duration = Duration::from_millis(400);
/// What was taken is given back until then; the program ends within a second of a signal.
pub const CLOSE_GRACE: Duration = Duration::from_millis(800);

/// Asked before every system call of a stream.
pub trait Limits {
    /// An error when waiting must end now.
    fn check(&self) -> io::Result<()>;
}

impl<L: Limits> Limits for Arc<L> {
    fn check(&self) -> io::Result<()> {
        L::check(self)
    }
}

/// What a signal that asks for an end does to a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSignal {
    End,
    /// The wait may go on until this long after the signal.
    GoOn(Duration),
}

/// A moment, and a signal before it.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    pub at: Instant,
    pub on_signal: OnSignal,
}

impl Deadline {
    /// This long from now on; a signal ends it.
    pub fn after(duration: Duration) -> Deadline {
        Deadline {
            at: Instant::now() + duration,
            on_signal: OnSignal::End,
        }
    }

    /// How long until its moment; none is left when it is over.
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

impl Limits for Deadline {
    fn check(&self) -> io::Result<()> {
        if let Some(since) = signal::since_received() {
            match self.on_signal {
                OnSignal::GoOn(grace) if since < grace => {}
                _ => return Err(cancelled()),
            }
        }
        match Instant::now() < self.at {
            true => Ok(()),
            false => Err(too_late()),
        }
    }
}

/// Why a wait was given up before its time.
#[derive(Debug)]
struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the run was interrupted")
    }
}

impl Error for Cancelled {}

/// How long an orderly end may take that is given `time` otherwise: less after a signal.
pub fn closing(time: Duration) -> Duration {
    match signal::since_received() {
        Some(since) => time.min(CLOSE_GRACE.saturating_sub(since)),
        None => time,
    }
}

/// The time is over.
pub fn too_late() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "no answer in time")
}

/// Somebody asked for the end.
pub fn cancelled() -> io::Error {
    io::Error::other(Cancelled)
}

pub fn is_cancelled(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Cancelled>())
}

/// Whether a system call only says that nothing has happened yet.
pub fn is_tick(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_ends_at_its_moment() {
        let limit = |at| Deadline {
            at,
            on_signal: OnSignal::End,
        };
        let now = Instant::now();
        assert!(limit(now + Duration::from_secs(60)).check().is_ok());
        let late = limit(now).check().unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        assert!(!is_cancelled(&late) && is_cancelled(&cancelled()));
        assert_eq!(limit(now).left(), Duration::ZERO);
    }
}
