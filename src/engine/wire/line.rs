//! The state that a worker shares with the transport of its connection: the transport reports arrival stamps and counts, the
//! worker sets limits. Relaxed atomics suffice, because the transport runs inside ureq on the worker's own thread.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use ureq::unversioned::transport::Transport;

use crate::engine::timestamp::{Clock, Stamp};
use crate::sys::deadline::{Limits, timed_out};

/// No real stamp has this value.
const NOT_YET: i64 = i64::MIN;

/// Most bytes of headers (of interim responses too), chunk sizes and trailers that may arrive without any body.
pub const UNUSED_BYTES_MAX: usize = 128 << 10;

/// How long a request may take, step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// From dispatch to the first token event.
    pub first_token: Duration,
    /// From one event that made progress to the next.
    pub stall: Duration,
    /// From dispatch to the end.
    pub total: Duration,
}

/// Why the transport ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stop {
    Connect = 1,
    FirstToken,
    Stall,
    Total,
    /// The whole run is being interrupted.
    Interrupted,
    /// The connection did not become free in time after the answer.
    Drain,
}

impl Stop {
    fn of(code: u8) -> Option<Stop> {
        [
            Stop::Connect,
            Stop::FirstToken,
            Stop::Stall,
            Stop::Total,
            Stop::Interrupted,
            Stop::Drain,
        ]
        .into_iter()
        .find(|stop| *stop as u8 == code)
    }
}

/// See the module. All stamps are nanoseconds on `clock`.
pub struct Line {
    pub clock: Clock,
    pub timeouts: Timeouts,
    /// Set when the run is interrupted; every wait ends soon after.
    interrupt: Arc<AtomicBool>,
    /// The open connection, between two requests.
    kept: Mutex<Option<Box<dyn Transport>>>,
    /// When a wait must end, and why.
    deadline: AtomicI64,
    deadline_reason: AtomicU8,
    /// When the last event made progress; the stall limit applies from the first one on.
    progress: AtomicI64,
    stopped: AtomicU8,
    arrived: AtomicI64,
    handshaking: AtomicBool,
    polling: AtomicBool,
    /// Size of the current request, header and body.
    request_bytes: AtomicUsize,
    /// Received since the last header or piece of body was used: headers, chunk sizes, trailers.
    unused_bytes: AtomicUsize,
    first_write: AtomicI64,
    sent: AtomicI64,
    pub counts: Counts,
}

/// Totals since the worker started; a request's share is a difference.
#[derive(Debug, Default)]
pub struct Counts {
    pub bytes_sent: AtomicU64,
    pub bytes_received: AtomicU64,
    pub reads: AtomicU64,
    /// Reads for which the kernel gave no stamp.
    pub reads_without_stamp: AtomicU64,
    /// From the kernel's stamp to the end of the read: of the last read, and the sum of all.
    pub lag_ns: AtomicU64,
    pub lag_ns_sum: AtomicU64,
}

impl Line {
    pub fn new(clock: Clock, timeouts: Timeouts, interrupt: Arc<AtomicBool>) -> Line {
        Line {
            clock,
            timeouts,
            interrupt,
            kept: Mutex::new(None),
            deadline: AtomicI64::new(i64::MAX),
            deadline_reason: AtomicU8::new(0),
            progress: AtomicI64::new(NOT_YET),
            stopped: AtomicU8::new(0),
            arrived: AtomicI64::new(0),
            handshaking: AtomicBool::new(false),
            polling: AtomicBool::new(false),
            request_bytes: AtomicUsize::new(0),
            unused_bytes: AtomicUsize::new(0),
            first_write: AtomicI64::new(NOT_YET),
            sent: AtomicI64::new(0),
            counts: Counts::default(),
        }
    }

    /// Sets the deadline: from now on a wait past `at` ends with `reason`. The stall limit applies again from the next
    /// `progressed`.
    pub fn limit(&self, at: Stamp, reason: Stop) {
        self.deadline.store(at.0, Relaxed);
        self.deadline_reason.store(reason as u8, Relaxed);
        self.progress.store(NOT_YET, Relaxed);
        self.stopped.store(0, Relaxed);
    }

    /// An event that arrived at `at` made progress: the stall limit counts from there. Comments, pings and empty deltas do not.
    pub fn progressed(&self, at: Stamp) {
        self.progress.store(at.0, Relaxed);
    }

    /// The limit that is exceeded at `now`, if any; `stopped` returns it later.
    pub fn overdue(&self, now: Stamp) -> Option<Stop> {
        let stalled = || {
            let since = self.progress.load(Relaxed);
            since != NOT_YET && now > Stamp(since).plus(self.timeouts.stall)
        };
        let stop = if self.interrupt.load(Relaxed) {
            Stop::Interrupted
        } else if now.0 > self.deadline.load(Relaxed) {
            Stop::of(self.deadline_reason.load(Relaxed))?
        } else if stalled() {
            Stop::Stall
        } else {
            return None;
        };
        self.stopped.store(stop as u8, Relaxed);
        Some(stop)
    }

    /// Why the last wait was ended early, if it was.
    pub fn stopped(&self) -> Option<Stop> {
        Stop::of(self.stopped.load(Relaxed))
    }

    /// A read of `bytes` bytes ended at `now`; `kernel` is the kernel's stamp of their arrival. Without one, `now` is used.
    pub fn received(&self, bytes: usize, kernel: Option<Stamp>, now: Stamp) {
        let arrived = kernel.unwrap_or(now);
        let lag_ns = now.ns_since(arrived);
        self.arrived.store(arrived.0, Relaxed);
        self.unused_bytes.fetch_add(bytes, Relaxed);
        self.counts.bytes_received.fetch_add(bytes as u64, Relaxed);
        self.counts.reads.fetch_add(1, Relaxed);
        self.counts.lag_ns.store(lag_ns, Relaxed);
        self.counts.lag_ns_sum.fetch_add(lag_ns, Relaxed);
        if kernel.is_none() {
            self.counts.reads_without_stamp.fetch_add(1, Relaxed);
        }
    }

    /// The arrival stamp of the last read.
    pub fn arrived(&self) -> Stamp {
        Stamp(self.arrived.load(Relaxed))
    }

    /// Set while a TLS handshake is under way: then every write is sent at once.
    pub fn set_handshaking(&self, on: bool) {
        self.handshaking.store(on, Relaxed);
    }

    pub fn is_handshaking(&self) -> bool {
        self.handshaking.load(Relaxed)
    }

    /// Set while reads must not block.
    pub fn set_polling(&self, on: bool) {
        self.polling.store(on, Relaxed);
    }

    pub fn is_polling(&self) -> bool {
        self.polling.load(Relaxed)
    }

    /// The bytes received so far contained a header or a piece of body.
    pub fn used(&self) {
        self.unused_bytes.store(0, Relaxed);
    }

    /// Whether more than `UNUSED_BYTES_MAX` arrived without a header or a piece of body.
    pub fn is_unused(&self) -> bool {
        self.unused_bytes.load(Relaxed) > UNUSED_BYTES_MAX
    }

    /// Starts a request of about `bytes` bytes, of which nothing is sent yet.
    pub fn begin_request(&self, bytes: usize) {
        self.used();
        self.request_bytes.store(bytes, Relaxed);
        self.first_write.store(NOT_YET, Relaxed);
    }

    pub fn request_bytes(&self) -> usize {
        self.request_bytes.load(Relaxed)
    }

    /// Call directly before a write.
    pub fn writes(&self, now: Stamp) {
        if self.first_write.load(Relaxed) == NOT_YET {
            self.first_write.store(now.0, Relaxed);
        }
    }

    /// The stamp directly before the first write of the request, if there was one.
    pub fn first_write(&self) -> Option<Stamp> {
        Some(Stamp(self.first_write.load(Relaxed))).filter(|stamp| stamp.0 != NOT_YET)
    }

    /// `now` is the stamp directly before the write of these bytes.
    pub fn wrote(&self, bytes: usize, now: Stamp) {
        self.sent.store(now.0, Relaxed);
        self.counts.bytes_sent.fetch_add(bytes as u64, Relaxed);
    }

    /// The stamp directly before the write with the last byte.
    pub fn sent(&self) -> Stamp {
        Stamp(self.sent.load(Relaxed))
    }

    pub fn keep(&self, transport: Box<dyn Transport>) {
        *self.kept.lock().expect("no thread panics with this lock") = Some(transport);
    }

    pub fn take_kept(&self) -> Option<Box<dyn Transport>> {
        self.kept.lock().expect("no thread panics with this lock").take()
    }
}

impl Limits for Line {
    fn check(&self) -> io::Result<()> {
        match self.overdue(self.clock.now()) {
            Some(_) => Err(timed_out()),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let second = Duration::from_secs(1);
        let timeouts = Timeouts {
            connect: second,
            first_token: second,
            stall: Duration::from_secs(2),
            total: second,
        };
        Line::new(Clock::start(), timeouts, Arc::new(AtomicBool::new(false)))
    }

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn the_limit_set_last_ends_a_wait() {
        let line = line();
        line.limit(Stamp(SECOND), Stop::FirstToken);
        assert_eq!(line.overdue(Stamp(SECOND)), None);
        assert_eq!(line.overdue(Stamp(SECOND + 1)), Some(Stop::FirstToken));
        assert_eq!(line.stopped(), Some(Stop::FirstToken));
        line.limit(Stamp(9 * SECOND), Stop::Total);
        assert_eq!(line.stopped(), None);
        assert_eq!(line.overdue(Stamp(8 * SECOND)), None);
    }

    #[test]
    fn a_stall_counts_from_the_last_progress_whatever_arrives() {
        let line = line();
        line.limit(Stamp(100 * SECOND), Stop::Total);
        line.received(1, Some(Stamp(SECOND)), Stamp(2 * SECOND));
        assert_eq!(line.counts.lag_ns.load(Relaxed), SECOND as u64);
        assert_eq!(line.overdue(Stamp(50 * SECOND)), None);
        line.progressed(Stamp(SECOND));
        line.received(1, Some(Stamp(3 * SECOND)), Stamp(3 * SECOND));
        assert_eq!(line.overdue(Stamp(3 * SECOND)), None);
        assert_eq!(line.overdue(Stamp(3 * SECOND + 1)), Some(Stop::Stall));
        line.limit(Stamp(100 * SECOND), Stop::Total);
        assert_eq!(
            line.overdue(Stamp(50 * SECOND)),
            None,
            "the stall limit does not apply to the next request yet"
        );
    }

    #[test]
    fn an_interrupt_comes_before_every_limit() {
        let line = line();
        line.interrupt.store(true, Relaxed);
        assert_eq!(line.overdue(Stamp(0)), Some(Stop::Interrupted));
    }

    #[test]
    fn without_a_kernel_stamp_the_end_of_the_read_is_the_arrival() {
        let line = line();
        line.received(7, None, Stamp(5));
        assert_eq!(line.arrived(), Stamp(5));
        assert_eq!(line.counts.reads_without_stamp.load(Relaxed), 1);
        assert_eq!(line.counts.bytes_received.load(Relaxed), 7);
    }
}
