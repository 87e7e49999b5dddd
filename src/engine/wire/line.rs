//! What a lane and its one connection share while a request is under way: arrival stamps and counts go out, limits go in.
//! Only plain atomics: the transport runs inside ureq, on the lane's own thread.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use ureq::unversioned::transport::Transport;

use crate::engine::timestamp::{Clock, Stamp};
use crate::sys::deadline::{Limits, timed_out};

/// No stamp is this old.
const NOT_YET: i64 = i64::MIN;

/// Heads with those of interim answers, sizes of chunks, trailers: what may come before there is something to use.
pub const UNUSED_BYTES_MAX: usize = 128 << 10;

/// How long a request may take, step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// From dispatch to the first token event.
    pub first_token: Duration,
    /// From an event that took the answer further to the next one.
    pub stall: Duration,
    /// From dispatch to the end.
    pub total: Duration,
}

/// Why the transport gave up a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stop {
    Connect = 1,
    FirstToken,
    Stall,
    Total,
    /// The whole run is being ended.
    Interrupted,
    /// The connection did not become free soon enough after the answer.
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

pub struct Line {
    pub clock: Clock,
    pub timeouts: Timeouts,
    /// Set when the run ends early; every wait ends soon after.
    interrupt: Arc<AtomicBool>,
    /// The open connection between two requests.
    kept: Mutex<Option<Box<dyn Transport>>>,
    /// When a wait must end, and why.
    deadline: AtomicI64,
    deadline_reason: AtomicU8,
    /// When an event took the answer further; before the first one silence does not count.
    progress: AtomicI64,
    stopped: AtomicU8,
    arrived: AtomicI64,
    handshaking: AtomicBool,
    polling: AtomicBool,
    /// Of the request under way, head and body.
    request_bytes: AtomicUsize,
    /// Received since something of the answer could be used: heads, sizes of chunks, trailers.
    unused_bytes: AtomicUsize,
    first_write: AtomicI64,
    sent: AtomicI64,
    pub counts: Counts,
}

/// Since the lane began; a request takes the difference.
#[derive(Debug, Default)]
pub struct Counts {
    pub bytes_sent: AtomicU64,
    pub bytes_received: AtomicU64,
    pub reads: AtomicU64,
    /// Reads for which the kernel gave no stamp.
    pub reads_without_stamp: AtomicU64,
    /// From kernel arrival to the end of the read, the last one and all together.
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

    /// From now on a wait past `at` ends with `reason`.
    pub fn limit(&self, at: Stamp, reason: Stop) {
        self.deadline.store(at.0, Relaxed);
        self.deadline_reason.store(reason as u8, Relaxed);
        self.progress.store(NOT_YET, Relaxed);
        self.stopped.store(0, Relaxed);
    }

    /// An event that arrived at `at` took the answer further: silence counts from there. Bytes that say nothing (comments,
    /// pings, empty deltas) do not end a silence.
    pub fn progressed(&self, at: Stamp) {
        self.progress.store(at.0, Relaxed);
    }

    /// Why a wait must end at `now`, if it must; remembered for `stopped`.
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

    /// Why the last wait was given up, if it was.
    pub fn stopped(&self) -> Option<Stop> {
        Stop::of(self.stopped.load(Relaxed))
    }

    /// Bytes arrived at the kernel at `arrived` (our own clock where it keeps no stamps) and were read by `now`.
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

    /// When the bytes read last had arrived.
    pub fn arrived(&self) -> Stamp {
        Stamp(self.arrived.load(Relaxed))
    }

    /// Whether a connection is being made; then nothing that is written waits for more.
    pub fn set_handshaking(&self, on: bool) {
        self.handshaking.store(on, Relaxed);
    }

    pub fn is_handshaking(&self) -> bool {
        self.handshaking.load(Relaxed)
    }

    /// Whether reads take what is there and wait for nothing.
    pub fn set_polling(&self, on: bool) {
        self.polling.store(on, Relaxed);
    }

    pub fn is_polling(&self) -> bool {
        self.polling.load(Relaxed)
    }

    /// What was received so far brought a head, or a piece of a body.
    pub fn used(&self) {
        self.unused_bytes.store(0, Relaxed);
    }

    /// Whether more came than the frame of an answer may have, without anything in it.
    pub fn is_unused(&self) -> bool {
        self.unused_bytes.load(Relaxed) > UNUSED_BYTES_MAX
    }

    /// A request of about `bytes` begins: nothing of it was written.
    pub fn begin_request(&self, bytes: usize) {
        self.used();
        self.request_bytes.store(bytes, Relaxed);
        self.first_write.store(NOT_YET, Relaxed);
    }

    pub fn request_bytes(&self) -> usize {
        self.request_bytes.load(Relaxed)
    }

    /// Directly before a write.
    pub fn writes(&self, now: Stamp) {
        if self.first_write.load(Relaxed) == NOT_YET {
            self.first_write.store(now.0, Relaxed);
        }
    }

    /// Directly before the first write of the request, if there was one.
    pub fn first_write(&self) -> Option<Stamp> {
        Some(Stamp(self.first_write.load(Relaxed))).filter(|stamp| stamp.0 != NOT_YET)
    }

    pub fn wrote(&self, bytes: usize, now: Stamp) {
        self.sent.store(now.0, Relaxed);
        self.counts.bytes_sent.fetch_add(bytes as u64, Relaxed);
    }

    /// When the last byte was handed to the kernel.
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
    fn the_limit_that_was_set_last_ends_a_wait() {
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
    fn silence_counts_from_the_last_progress_whatever_arrives() {
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
            "the next request's silence has not begun"
        );
    }

    #[test]
    fn the_end_of_the_run_goes_before_everything() {
        let line = line();
        line.interrupt.store(true, Relaxed);
        assert_eq!(line.overdue(Stamp(0)), Some(Stop::Interrupted));
    }

    #[test]
    fn without_a_kernel_stamp_the_read_is_the_arrival() {
        let line = line();
        line.received(7, None, Stamp(5));
        assert_eq!(line.arrived(), Stamp(5));
        assert_eq!(line.counts.reads_without_stamp.load(Relaxed), 1);
        assert_eq!(line.counts.bytes_received.load(Relaxed), 7);
    }
}
