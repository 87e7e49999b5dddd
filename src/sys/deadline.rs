//! Limits on waiting: a deadline, and a grace period after a signal. Streams check their limits before every system call, so
//! neither a silent peer nor one that sends without pause can delay the end of a run.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::signal;

/// How long one system call may block before the limits are checked again. Every waiting thread wakes at this interval: half
/// of it cost 8 % more CPU time with a thousand streams.
pub const TICK: Duration = Duration::from_millis(100);
/// Time after a signal in which an operation that is in progress may finish.
pub const WORK_GRACE: Duration = Duration::from_millis(400);
/// Time after a signal in which resources at servers are released. The program ends within a second of a signal.
pub const CLOSE_GRACE: Duration = Duration::from_millis(800);

/// A condition that ends waiting, checked before every system call of a stream.
pub trait Limits {
    /// The error of the limit that has been reached, if one has.
    fn check(&self) -> io::Result<()>;
}

impl<L: Limits> Limits for Arc<L> {
    fn check(&self) -> io::Result<()> {
        L::check(self)
    }
}

/// What a termination signal does to a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSignal {
    /// Ends it at once.
    End,
    /// Lets it continue for this long after the signal.
    Grace(Duration),
}

/// A point in time that ends a wait, unless a signal ends it earlier.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    pub at: Instant,
    pub on_signal: OnSignal,
}

impl Deadline {
    /// A deadline `duration` from now; a signal ends the wait at once.
    pub fn after(duration: Duration) -> Deadline {
        Deadline {
            at: Instant::now() + duration,
            on_signal: OnSignal::End,
        }
    }

    /// Time left until the deadline: zero once it has passed.
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

impl Limits for Deadline {
    fn check(&self) -> io::Result<()> {
        if let Some(since) = signal::since_received() {
            match self.on_signal {
                OnSignal::Grace(grace) if since < grace => {}
                _ => return Err(cancelled()),
            }
        }
        match Instant::now() < self.at {
            true => Ok(()),
            false => Err(timed_out()),
        }
    }
}

/// The inner error of a wait that a signal ended.
#[derive(Debug)]
struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the run was interrupted")
    }
}

impl Error for Cancelled {}

/// How long an orderly shutdown may take: `time`, or less after a signal.
pub fn closing_time(time: Duration) -> Duration {
    match signal::since_received() {
        Some(since) => time.min(CLOSE_GRACE.saturating_sub(since)),
        None => time,
    }
}

/// The error of a wait that reached its deadline.
pub fn timed_out() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "no answer in time")
}

/// The error of a wait that a signal ended.
pub fn cancelled() -> io::Error {
    io::Error::other(Cancelled)
}

pub fn is_cancelled(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Cancelled>())
}

/// Whether a system call only reached its own timeout or was interrupted, so that it can be repeated.
pub fn is_retryable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_an_error_from_its_time_on() {
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
