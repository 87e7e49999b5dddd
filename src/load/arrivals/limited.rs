//! A limit on requests in flight over another process.

use std::time::Duration;

use super::{Arrivals, Next};

/// What is due waits while `max_in_flight` requests are outstanding. It keeps its due time, so the wait is part of every
/// latency from the schedule.
pub struct Limited {
    inner: Box<dyn Arrivals>,
    max_in_flight: u64,
}

impl Limited {
    pub fn new(inner: Box<dyn Arrivals>, max_in_flight: u64) -> Limited {
        Limited { inner, max_in_flight }
    }
}

impl Arrivals for Limited {
    fn next(&self, elapsed: Duration, in_flight: u64) -> Next {
        match self.inner.next(elapsed, in_flight) {
            Next::Now(_) if in_flight >= self.max_in_flight => Next::AfterEnd,
            next => next,
        }
    }

    fn advance(&mut self) {
        self.inner.advance();
    }

    fn unsent(&self, until: Duration) -> u64 {
        self.inner.unsent(until)
    }

    fn is_used_up(&self) -> bool {
        self.inner.is_used_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::arrivals::{Arrival, End, OpenLoop, Process, Shape};

    #[test]
    fn what_is_due_waits_for_a_place_and_keeps_its_time() {
        let open = OpenLoop {
            per_second: 10.0,
            shape: Shape::Constant,
            seed: 0,
            ramp_up: Duration::ZERO,
            end: End {
                requests: None,
                duration: Some(Duration::from_secs(1)),
            },
        };
        let mut limited = Process::Open {
            open,
            max_in_flight: Some(2),
        }
        .start();
        let ms = Duration::from_millis;
        limited.advance();
        assert_eq!(limited.next(ms(50), 2), Next::At(ms(100)), "nothing is due yet");
        assert_eq!(limited.next(ms(450), 2), Next::AfterEnd);
        let due = Some(ms(100));
        assert_eq!(limited.next(ms(450), 1), Next::Now(Arrival { number: 1, due }));
        assert_eq!(limited.unsent(ms(450)), 4, "100 to 400 ms");
        assert_eq!(limited.next(ms(1000), 2), Next::Over);
        assert_eq!(limited.unsent(ms(1000)), 9);
        assert_eq!(limited.unsent(ms(5000)), 9, "none is due after the end");
    }
}
