//! The clock of one key: how long it waited, and how long each of its steps took.

use std::time::Instant;

use crate::l2::adapter::KeyTimes;
use crate::units::duration_ns;

pub struct StepTimer {
    begin: Instant,
    last: Instant,
    pub times: KeyTimes,
}

impl StepTimer {
    /// `created`: when the task was submitted; the time since then is what the key waited.
    pub fn start(created: Instant) -> StepTimer {
        let now = Instant::now();
        let times = KeyTimes {
            queued_ns: duration_ns(now.saturating_duration_since(created)),
            ..KeyTimes::default()
        };
        StepTimer {
            begin: now,
            last: now,
            times,
        }
    }

    /// Nanoseconds since the last step ended; the next step begins now.
    pub fn step_ns(&mut self) -> u64 {
        let now = Instant::now();
        let span = now.duration_since(self.last);
        self.last = now;
        duration_ns(span)
    }

    /// The times of a key that ends now.
    pub fn finish(mut self) -> KeyTimes {
        self.times.service_ns = duration_ns(self.begin.elapsed());
        self.times
    }

    /// The times of a key that ended with its last step, without another look at the clock.
    pub fn until_last_step(&self) -> KeyTimes {
        KeyTimes {
            service_ns: duration_ns(self.last.duration_since(self.begin)),
            ..self.times
        }
    }
}
