//! Arrival processes: when the next request may be sent. Times are relative to the start of the phase. The caller passes in
//! the current time, so that tests can run a process in virtual time.
//!
//! To add a process: implement [`Arrivals`] for a new struct in a file of its own, and add a variant of [`Process`] and its arm
//! in [`Process::start`].

mod closed;
mod constant;
mod limited;
mod open_loop;

use std::time::Duration;

pub use closed::ClosedLoop;
pub use limited::Limited;
pub use open_loop::{OpenLoop, PER_SECOND_MAX, Shape, burstiness, rate};

/// One arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Counted from 0.
    pub number: u64,
    /// When it is due; `None` in a closed loop.
    pub due: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The request may be sent now.
    Now(Arrival),
    /// Nothing is due before this time.
    At(Duration),
    /// Nothing is due before this time, unless a request ends earlier: while a closed loop ramps up, an end makes room.
    AtOrEnd(Duration),
    /// No arrival until a request in flight has ended.
    AfterEnd,
    /// The process has ended.
    Over,
}

pub trait Arrivals: Send {
    /// What to do at `elapsed` with `in_flight` requests outstanding. Does not change the state.
    fn next(&self, elapsed: Duration, in_flight: u64) -> Next;

    /// Moves on to the following arrival, after the current one was sent or skipped.
    fn advance(&mut self);

    /// How many arrivals were due up to `until` and are still to come; 0 in a closed loop, where none is due.
    fn unsent(&self, until: Duration) -> u64 {
        let _ = until;
        0
    }

    /// Whether the number of requests has ended the process, or would end it at the next arrival.
    fn is_used_up(&self) -> bool {
        false
    }
}

/// When a process ends: at whichever comes first. Without either it goes on until the caller stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    pub requests: Option<u64>,
    /// What is due or free at this time or later is not sent, nor what is still waiting then.
    pub duration: Option<Duration>,
}

impl End {
    pub const NEVER: End = End {
        requests: None,
        duration: None,
    };

    /// Whether request `number`, counted from 0, at this time is behind the end.
    fn is_past(&self, number: u64, time: Duration) -> bool {
        self.is_used_up(number) || self.duration.is_some_and(|end| time >= end)
    }

    fn is_used_up(&self, number: u64) -> bool {
        self.requests.is_some_and(|requests| number >= requests)
    }
}

/// The available arrival processes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Process {
    /// Closed loop: the next request is sent as soon as fewer than `in_flight` are outstanding.
    Closed { in_flight: u64 },
    /// The same with a ramp and an end.
    ClosedLoop(ClosedLoop),
    /// The reference's constant rate: one request every `1 / per_second` seconds, the first at 0 and the last before `end_s`.
    Constant { per_second: f64, end_s: f64 },
    /// By a schedule; with a limit, what is due waits while so many are in flight.
    Open { open: OpenLoop, max_in_flight: Option<u64> },
}

impl Process {
    /// The state of the process, at its first arrival.
    pub fn start(self) -> Box<dyn Arrivals> {
        match self {
            Process::Closed { in_flight } => Process::ClosedLoop(ClosedLoop {
                in_flight,
                ramp_up: Duration::ZERO,
                end: End::NEVER,
            })
            .start(),
            Process::ClosedLoop(settings) => Box::new(closed::Closed::new(settings)),
            Process::Constant { per_second, end_s } => Box::new(constant::Constant::new(per_second, end_s)),
            Process::Open { open, max_in_flight } => {
                let process = Box::new(open_loop::Open::new(open));
                match max_in_flight {
                    Some(limit) => Box::new(Limited::new(process, limit)),
                    None => process,
                }
            }
        }
    }
}

/// Seconds that may be more than a `Duration` holds.
pub(super) fn from_seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod testing {
    use super::*;

    /// The send times of an open-loop process that is never late.
    pub fn schedule(process: Process) -> Vec<Duration> {
        let mut arrivals = process.start();
        let (mut now, mut times) = (Duration::ZERO, Vec::new());
        loop {
            match arrivals.next(now, 0) {
                Next::Now(arrival) => {
                    assert_eq!(arrival.number, times.len() as u64);
                    times.push(arrival.due.expect("an open loop"));
                    arrivals.advance();
                }
                Next::At(then) => {
                    assert!(then > now, "time must advance");
                    now = then;
                }
                Next::AtOrEnd(_) | Next::AfterEnd => panic!("an open loop does not wait for requests"),
                Next::Over => return times,
            }
        }
    }
}
