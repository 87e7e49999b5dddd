//! A closed loop: the next request is sent as soon as fewer than a number of them are outstanding.

use std::time::Duration;

use super::{Arrival, Arrivals, End, Next, from_seconds};

/// A closed loop with a beginning and an end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClosedLoop {
    /// At least 1.
    pub in_flight: u64,
    /// The limit on requests in flight rises over this time: at `t` it is 1 + floor((`in_flight` - 1) x t / `ramp_up`).
    pub ramp_up: Duration,
    pub end: End,
}

impl ClosedLoop {
    /// How many requests may be in flight at `elapsed`.
    pub fn limit_at(&self, elapsed: Duration) -> u64 {
        if elapsed >= self.ramp_up {
            return self.in_flight;
        }
        let share = elapsed.as_secs_f64() / self.ramp_up.as_secs_f64();
        let above_one = self.in_flight.saturating_sub(1);
        // The time of a step is rounded to nanoseconds; without the addition a step could be missed at its own time.
        self.in_flight.min(1 + (above_one as f64 * share + 1e-6) as u64)
    }

    /// When the limit becomes `limit`, which is at least 2.
    fn rises_at(&self, limit: u64) -> Duration {
        let share = (limit - 1) as f64 / (self.in_flight - 1) as f64;
        from_seconds(self.ramp_up.as_secs_f64() * share).min(self.ramp_up)
    }
}

pub(super) struct Closed {
    settings: ClosedLoop,
    sent: u64,
}

impl Closed {
    pub(super) fn new(settings: ClosedLoop) -> Closed {
        Closed { settings, sent: 0 }
    }
}

impl Arrivals for Closed {
    fn next(&self, elapsed: Duration, in_flight: u64) -> Next {
        if self.settings.end.is_past(self.sent, elapsed) {
            return Next::Over;
        }
        let limit = self.settings.limit_at(elapsed);
        if in_flight < limit {
            return Next::Now(Arrival {
                number: self.sent,
                due: None,
            });
        }
        if in_flight >= self.settings.in_flight {
            return Next::AfterEnd;
        }
        Next::AtOrEnd(self.settings.rises_at(in_flight + 1))
    }

    fn advance(&mut self) {
        self.sent += 1;
    }

    fn is_used_up(&self) -> bool {
        self.settings.end.is_used_up(self.sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::arrivals::Process;

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

    #[test]
    fn it_ends_at_whichever_limit_comes_first() {
        let end = End {
            requests: Some(2),
            duration: Some(Duration::from_secs(5)),
        };
        let settings = ClosedLoop {
            in_flight: 4,
            ramp_up: START,
            end,
        };
        let mut closed = Process::ClosedLoop(settings).start();
        assert_eq!(closed.next(Duration::from_secs(5), 0), Next::Over);
        closed.advance();
        assert!(matches!(closed.next(Duration::from_secs(4), 1), Next::Now(_)));
        closed.advance();
        assert_eq!(closed.next(START, 2), Next::Over);
    }

    #[test]
    fn the_limit_rises_step_by_step() {
        for (in_flight, seconds) in [(5, 8), (7, 1), (64, 10), (1, 3)] {
            let settings = ClosedLoop {
                in_flight,
                ramp_up: Duration::from_secs(seconds),
                end: End::NEVER,
            };
            let mut closed = Process::ClosedLoop(settings).start();
            let (mut now, mut sent) = (START, Vec::new());
            loop {
                match closed.next(now, sent.len() as u64) {
                    Next::Now(_) => {
                        closed.advance();
                        sent.push(now);
                    }
                    Next::AtOrEnd(then) => {
                        assert!(then > now, "time must advance");
                        now = then;
                    }
                    Next::AfterEnd => break,
                    Next::At(_) | Next::Over => panic!("it never ends, and an end makes room"),
                }
            }
            assert_eq!(sent.len() as u64, in_flight);
            let step = seconds as f64 / (in_flight as f64 - 1.0).max(1.0);
            for (index, time) in sent.iter().enumerate() {
                assert!(
                    (time.as_secs_f64() - index as f64 * step).abs() < 1e-8,
                    "{index} {time:?}"
                );
            }
        }
        let settings = ClosedLoop {
            in_flight: 5,
            ramp_up: Duration::from_secs(8),
            end: End::NEVER,
        };
        let limits = [0, 1, 2, 3, 4, 7, 8, 99].map(|s| settings.limit_at(Duration::from_secs(s)));
        assert_eq!(limits, [1, 1, 2, 2, 3, 4, 5, 5]);
    }
}
