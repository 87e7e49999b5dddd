//! Arrival processes: when the next request may be sent. Times are relative to the start of the phase. The caller passes in
//! the current time, so that tests can run a process in virtual time.
//!
//! To add a process: implement [`Arrivals`] for a new struct, and add a variant of [`Process`] and its arm in
//! [`Process::start`].

use std::time::Duration;

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
}

/// The available arrival processes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Process {
    /// Closed loop: the next request is sent as soon as fewer than `in_flight` are outstanding.
    Closed { in_flight: u64 },
    /// Constant rate: one request every `1 / per_second` seconds, the first at 0 and the last before `end_s`.
    Constant { per_second: f64, end_s: f64 },
}

impl Process {
    /// The state of the process, at its first arrival.
    pub fn start(self) -> Box<dyn Arrivals> {
        match self {
            Process::Closed { in_flight } => Box::new(Closed {
                limit: in_flight,
                sent: 0,
            }),
            Process::Constant { per_second, end_s } => Box::new(Constant {
                per_second,
                end_s,
                number: 0,
            }),
        }
    }
}

struct Closed {
    limit: u64,
    sent: u64,
}

impl Arrivals for Closed {
    fn next(&self, _: Duration, in_flight: u64) -> Next {
        if in_flight >= self.limit {
            return Next::AfterEnd;
        }
        Next::Now(Arrival {
            number: self.sent,
            due: None,
        })
    }

    fn advance(&mut self) {
        self.sent += 1;
    }
}

struct Constant {
    per_second: f64,
    end_s: f64,
    number: u64,
}

impl Arrivals for Constant {
    fn next(&self, elapsed: Duration, _: u64) -> Next {
        // LMCache multiplies by the interval; dividing by the rate would differ in the last bit.
        let due_s = self.number as f64 * (1.0 / self.per_second);
        if due_s >= self.end_s || elapsed.as_secs_f64() >= self.end_s {
            return Next::Over;
        }
        let due = Duration::from_secs_f64(due_s);
        if elapsed < due {
            return Next::At(due);
        }
        Next::Now(Arrival {
            number: self.number,
            due: Some(due),
        })
    }

    fn advance(&mut self) {
        self.number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::ZERO;

    #[test]
    fn closed_sends_one_for_each_end() {
        let mut closed = Process::Closed { in_flight: 2 }.start();
        for number in 0..2 {
            assert_eq!(closed.next(START, number), Next::Now(Arrival { number, due: None }));
            closed.advance();
        }
        assert_eq!(closed.next(START, 2), Next::AfterEnd);
        assert_eq!(closed.next(START, 3), Next::AfterEnd);
        let third = Arrival { number: 2, due: None };
        assert_eq!(closed.next(START, 1), Next::Now(third));
        assert_eq!(
            closed.next(START, 1),
            Next::Now(third),
            "next does not change the state"
        );
    }

    /// The send times of an open-loop process that is never late.
    fn schedule(process: Process) -> Vec<Duration> {
        let mut arrivals = process.start();
        let (mut now, mut times) = (START, Vec::new());
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
                Next::AfterEnd => panic!("an open loop does not wait for requests"),
                Next::Over => return times,
            }
        }
    }

    #[test]
    fn constant_uses_the_references_arithmetic() {
        let times = schedule(Process::Constant {
            per_second: 3.0,
            end_s: 2.0,
        });
        let expected: Vec<Duration> = (0..6)
            .map(|n| Duration::from_secs_f64(f64::from(n) * (1.0 / 3.0)))
            .collect();
        assert_eq!(times, expected);
        // 49 * (1.0 / 49.0) is below 1.0, so it is due before the end; 49.0 / 49.0 would not be.
        let mut constant = Process::Constant {
            per_second: 49.0,
            end_s: 1.0,
        }
        .start();
        (0..49).for_each(|_| constant.advance());
        assert_eq!(constant.next(START, 0), Next::At(Duration::from_secs(1)));
        constant.advance();
        assert_eq!(constant.next(START, 0), Next::Over);
    }

    #[test]
    fn late_arrivals_are_sent_at_once_until_the_end() {
        let mut constant = Process::Constant {
            per_second: 10.0,
            end_s: 1.0,
        }
        .start();
        let now = Duration::from_millis(250);
        for number in 0..3 {
            let due = Some(Duration::from_millis(100 * number));
            assert_eq!(constant.next(now, 9), Next::Now(Arrival { number, due }));
            constant.advance();
        }
        assert_eq!(constant.next(now, 9), Next::At(Duration::from_millis(300)));
        assert_eq!(constant.next(Duration::from_secs(1), 0), Next::Over);
    }
}
