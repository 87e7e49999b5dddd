//! The stopwatch of one key's steps.

use std::time::Instant;

use crate::l2::adapter::KeyTimes;
use crate::units::duration_ns;

/// Stops the clock of one step and starts that of the next.
pub struct Lap {
    begin: Instant,
    last: Instant,
    pub times: KeyTimes,
}

impl Lap {
    /// `created`: when the task was submitted, for the time that this key waited.
    pub fn start(created: Instant) -> Lap {
        let now = Instant::now();
        let times = KeyTimes {
            queued_ns: duration_ns(now.saturating_duration_since(created)),
            ..KeyTimes::default()
        };
        Lap {
            begin: now,
            last: now,
            times,
        }
    }

    /// Nanoseconds since the last lap.
    pub fn lap_ns(&mut self) -> u64 {
        let now = Instant::now();
        let span = now.duration_since(self.last);
        self.last = now;
        duration_ns(span)
    }

    pub fn finish(mut self) -> KeyTimes {
        self.times.service_ns = duration_ns(self.begin.elapsed());
        self.times
    }
}
