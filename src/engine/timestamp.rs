//! The one clock of a run: monotonic nanoseconds since an anchor, and the anchor's wall-clock time, which turns the kernel's
//! wall-clock receive stamps into the same scale. Nothing else in `engine` reads a clock of its own.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the anchor; negative before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub i64);

impl Stamp {
    /// From `earlier` to here, in seconds; negative when `earlier` is later.
    pub fn seconds_since(self, earlier: Stamp) -> f64 {
        (self.0 - earlier.0) as f64 / 1e9
    }

    /// From `earlier` to here in nanoseconds, 0 when `earlier` is later.
    pub fn ns_since(self, earlier: Stamp) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    pub fn plus(self, duration: Duration) -> Stamp {
        let ns = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Stamp(self.0.saturating_add(ns))
    }
}

/// Copied freely; all copies share the anchor.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: Instant,
    anchor_wall_ns: i64,
}

impl Clock {
    /// Sets the anchor to now.
    pub fn start() -> Clock {
        let (anchor, anchor_wall_ns) = read_both();
        Clock { anchor, anchor_wall_ns }
    }

    pub fn now(&self) -> Stamp {
        Stamp(i64::try_from(self.anchor.elapsed().as_nanos()).unwrap_or(i64::MAX))
    }

    /// A kernel stamp, in nanoseconds since 1970, on this clock.
    pub fn of_wall_ns(&self, wall_ns: u64) -> Stamp {
        Stamp(
            i64::try_from(wall_ns)
                .unwrap_or(i64::MAX)
                .saturating_sub(self.anchor_wall_ns),
        )
    }

    /// Seconds since 1970, as the reference writes times.
    pub fn wall_seconds(&self, stamp: Stamp) -> f64 {
        self.anchor_wall_ns.saturating_add(stamp.0) as f64 / 1e9
    }

    /// The instant of a stamp, for waits.
    pub fn instant(&self, stamp: Stamp) -> Instant {
        self.anchor + Duration::from_nanos(u64::try_from(stamp.0).unwrap_or(0))
    }

    /// How far the wall clock was set since the anchor. Kernel stamps after a step are off by this much.
    pub fn wall_step(&self) -> Duration {
        let (instant, wall_ns) = read_both();
        let passed = instant.saturating_duration_since(self.anchor).as_nanos();
        let expected = self
            .anchor_wall_ns
            .saturating_add(i64::try_from(passed).unwrap_or(i64::MAX));
        Duration::from_nanos(expected.abs_diff(wall_ns))
    }
}

/// Both clocks at one moment: of a few tries the one with the least time between the readings.
fn read_both() -> (Instant, i64) {
    const TRIES: usize = 5;
    let reading = || {
        let before = Instant::now();
        let wall = SystemTime::now();
        let spent = before.elapsed();
        let wall_ns = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        (spent, before + spent / 2, i64::try_from(wall_ns).unwrap_or(i64::MAX))
    };
    let best = (0..TRIES).map(|_| reading()).min_by_key(|(spent, _, _)| *spent);
    let (_, instant, wall_ns) = best.expect("there is at least one try");
    (instant, wall_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_and_the_anchor_meet() {
        let clock = Clock::start();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = clock.now();
        let kernel = clock.of_wall_ns(u64::try_from(wall.as_nanos()).unwrap());
        assert!(
            kernel <= now && now.ns_since(kernel) < 1_000_000_000,
            "{kernel:?} {now:?}"
        );
        assert!((clock.wall_seconds(kernel) - wall.as_secs_f64()).abs() < 1e-6);
        assert!(clock.wall_step() < Duration::from_secs(1));
    }

    #[test]
    fn differences_keep_their_sign_or_stop_at_zero() {
        assert_eq!(Stamp(5).seconds_since(Stamp(1_000_000_005)), -1.0);
        assert_eq!(Stamp(5).ns_since(Stamp(9)), 0);
        assert_eq!(Stamp(9).ns_since(Stamp(5)), 4);
        assert_eq!(Stamp(1).plus(Duration::from_secs(1)), Stamp(1_000_000_001));
    }
}
