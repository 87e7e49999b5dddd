//! The reference's constant rate, with its arithmetic.

use std::time::Duration;

use super::{Arrival, Arrivals, Next};

pub(super) struct Constant {
    per_second: f64,
    end_s: f64,
    number: u64,
}

impl Constant {
    pub(super) fn new(per_second: f64, end_s: f64) -> Constant {
        Constant {
            per_second,
            end_s,
            number: 0,
        }
    }
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
    use crate::load::arrivals::Process;
    use crate::load::arrivals::testing::schedule;

    const START: Duration = Duration::ZERO;

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
