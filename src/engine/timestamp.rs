//! The clock of a run: monotonic nanoseconds since an anchor. The wall-clock time of the anchor maps the kernel's receive stamps,
//! which are wall-clock times, to the same scale.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the anchor; negative before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub i64);

impl Stamp {
    /// Seconds from `earlier` to this stamp; negative if `earlier` is later.
    pub fn seconds_since(self, earlier: Stamp) -> f64 {
        (self.0 - earlier.0) as f64 / 1e9
    }

    /// Nanoseconds from `earlier` to this stamp; 0 if `earlier` is later.
    pub fn ns_since(self, earlier: Stamp) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    pub fn plus(self, duration: Duration) -> Stamp {
        let ns = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Stamp(self.0.saturating_add(ns))
    }
}

/// Copies share the anchor.
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

    /// Converts a kernel stamp, in nanoseconds since 1970.
    pub fn of_wall_ns(&self, wall_ns: u64) -> Stamp {
        Stamp(
            i64::try_from(wall_ns)
                .unwrap_or(i64::MAX)
                .saturating_sub(self.anchor_wall_ns),
        )
    }

    /// Converts to seconds since 1970, as in the reference's files.
    pub fn wall_seconds(&self, stamp: Stamp) -> f64 {
        self.anchor_wall_ns.saturating_add(stamp.0) as f64 / 1e9
    }

    /// Converts to an `Instant`, for waits.
    pub fn instant(&self, stamp: Stamp) -> Instant {
        self.anchor + Duration::from_nanos(u64::try_from(stamp.0).unwrap_or(0))
    }

    /// By how much the wall clock was set since the anchor. Kernel stamps after that are off by as much.
    pub fn wall_step(&self) -> Duration {
        let (instant, wall_ns) = read_both();
        let passed = instant.saturating_duration_since(self.anchor).as_nanos();
        let expected = self
            .anchor_wall_ns
            .saturating_add(i64::try_from(passed).unwrap_or(i64::MAX));
        Duration::from_nanos(expected.abs_diff(wall_ns))
    }
}

/// Reads both clocks at the same moment: of five tries, the one with the least time in between.
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
    fn wall_clock_stamps_map_to_the_monotonic_clock() {
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
    fn differences_in_seconds_are_signed_and_in_nanoseconds_are_not() {
        assert_eq!(Stamp(5).seconds_since(Stamp(1_000_000_005)), -1.0);
        assert_eq!(Stamp(5).ns_since(Stamp(9)), 0);
        assert_eq!(Stamp(9).ns_since(Stamp(5)), 4);
        assert_eq!(Stamp(1).plus(Duration::from_secs(1)), Stamp(1_000_000_001));
    }
}
