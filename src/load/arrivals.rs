//! Arrival processes: when the next request may be sent. Time is what has passed since the phase began, and comes from the
//! caller, so that a process runs in virtual time too.
//!
//! A new process is a struct with its [`Arrivals`], a variant of [`Process`] and its arm in [`Process::start`], all here.

use std::time::Duration;

/// One request's place in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Counted from 0.
    pub number: u64,
    /// When it is due, in a process with a timetable.
    pub due: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It may be sent.
    Now(Arrival),
    /// Nothing is due before this time.
    At(Duration),
    /// Nothing is due before a request in flight has ended.
    AfterEnd,
    /// The process has ended.
    Over,
}

pub trait Arrivals: Send {
    /// What may happen at `elapsed` with `in_flight` requests under way. Asking changes nothing.
    fn next(&self, elapsed: Duration, in_flight: u64) -> Next;

    /// The arrival that `next` gave was sent or left out; the following one is next.
    fn advance(&mut self);
}

/// The processes to choose from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Process {
    /// Always this many in flight: each end lets the next request go.
    Closed { in_flight: u64 },
    /// One request every `1 / per_second` seconds, the first at once and the last before `end_s`.
    Constant { per_second: f64, end_s: f64 },
}

impl Process {
    /// The process at its first arrival.
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
    fn closed_lets_one_go_for_each_end() {
        let mut closed = Process::Closed { in_flight: 2 }.start();
        for number in 0..2 {
            assert_eq!(closed.next(START, number), Next::Now(Arrival { number, due: None }));
            closed.advance();
        }
        assert_eq!(closed.next(START, 2), Next::AfterEnd);
        assert_eq!(closed.next(START, 3), Next::AfterEnd);
        let third = Arrival { number: 2, due: None };
        assert_eq!(closed.next(START, 1), Next::Now(third));
        assert_eq!(closed.next(START, 1), Next::Now(third), "asking changes nothing");
    }

    /// The times at which a process that is never late lets requests go.
    fn timetable(process: Process) -> Vec<Duration> {
        let mut arrivals = process.start();
        let (mut now, mut times) = (START, Vec::new());
        loop {
            match arrivals.next(now, 0) {
                Next::Now(arrival) => {
                    assert_eq!(arrival.number, times.len() as u64);
                    times.push(arrival.due.expect("a timetable"));
                    arrivals.advance();
                }
                Next::At(then) => {
                    assert!(then > now, "time must go on");
                    now = then;
                }
                Next::AfterEnd => panic!("a timetable does not wait for requests"),
                Next::Over => return times,
            }
        }
    }

    #[test]
    fn constant_goes_by_the_references_arithmetic() {
        let times = timetable(Process::Constant {
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
    fn what_is_late_goes_at_once_until_the_end() {
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
