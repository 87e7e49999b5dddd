//! What the points of a sweep say together: saturation and knee, whether they are consistent, and whether the system drifted.

/// The least throughput of saturation, as a share of the best.
const SATURATED: f64 = 0.95;
/// Little's law must hold within this share.
const LITTLE_MAX: f64 = 0.05;
/// The first point and its repetition may be apart by this share.
const DRIFT_MAX: f64 = 0.10;

/// One step of a sweep, as measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Rate or concurrency, as set.
    pub load: f64,
    /// Mean number of requests in flight.
    pub in_flight: f64,
    /// Requests that ended, per second.
    pub per_second: f64,
    /// Mean latency.
    pub mean_s: f64,
}

impl Point {
    /// Throughput per latency (Kleinrock's power); 0 where nothing ended.
    pub fn power(&self) -> f64 {
        match self.mean_s > 0.0 {
            true => self.per_second / self.mean_s,
            false => 0.0,
        }
    }

    /// By what share the requests in flight are more than Little's law says (N = X R).
    fn excess(&self) -> f64 {
        match self.in_flight > 0.0 {
            true => (self.in_flight - self.per_second * self.mean_s) / self.in_flight,
            false => 0.0,
        }
    }

    /// Whether Little's law holds within 5 %. A closed-loop point for which it does not is void: it mixes several states, such as
    /// a ramp. A request may be in flight for `own_s` longer than its latency, in which the client hands it over.
    pub fn is_consistent(&self, own_s: f64) -> bool {
        let own = match self.in_flight > 0.0 {
            true => self.per_second * own_s / self.in_flight,
            false => 0.0,
        };
        (-LITTLE_MAX..=LITTLE_MAX + own).contains(&self.excess())
    }
}

/// Indices into the points of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knee {
    /// The least load with at least 95 % of the best throughput.
    pub saturation: usize,
    /// The load with the greatest throughput per mean latency; the lower of two that are equal.
    pub knee: usize,
}

/// `points` are in the order of their loads. `None` when nothing ended at any.
pub fn knee(points: &[Point]) -> Option<Knee> {
    let best = points.iter().map(|point| point.per_second).fold(0.0, f64::max);
    if best <= 0.0 {
        return None;
    }
    let saturation = points.iter().position(|point| point.per_second >= SATURATED * best)?;
    let mut knee = 0;
    for (index, point) in points.iter().enumerate() {
        if point.power() > points[knee].power() {
            knee = index;
        }
    }
    Some(Knee { saturation, knee })
}

/// How far the repetition of the first point is from it, as a share of the first: the larger of throughput and mean latency.
/// `None` within 10 %.
pub fn drift(first: &Point, again: &Point) -> Option<f64> {
    let apart = |before: f64, after: f64| match before > 0.0 {
        true => (after - before).abs() / before,
        false if after > 0.0 => f64::INFINITY,
        false => 0.0,
    };
    let most = apart(first.per_second, again.per_second).max(apart(first.mean_s, again.mean_s));
    (most > DRIFT_MAX).then_some(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(in_flight: f64, per_second: f64, mean_ms: f64) -> Point {
        Point {
            load: in_flight,
            in_flight,
            per_second,
            mean_s: mean_ms / 1e3,
        }
    }

    fn golden() -> Vec<Point> {
        let points = [
            (1.0, 950.0, 1.05),
            (2.0, 1850.0, 1.08),
            (4.0, 3400.0, 1.18),
            (8.0, 5200.0, 1.54),
            (16.0, 5900.0, 2.71),
            (32.0, 6000.0, 5.33),
        ];
        points.map(|(n, x, ms)| point(n, x, ms)).to_vec()
    }

    #[test]
    fn saturation_and_knee_are_the_golden_ones() {
        let points = golden();
        let found = knee(&points).unwrap();
        assert_eq!((points[found.saturation].load, points[found.knee].load), (16.0, 8.0));
        for (point, power) in points.iter().zip([905.0, 1713.0, 2881.0, 3377.0, 2177.0, 1126.0]) {
            assert!((point.power() / 1e3 - power).abs() < 0.5, "{point:?}");
            assert!(point.excess().abs() < 0.01 && point.is_consistent(0.0));
        }
        assert_eq!(knee(&[]), None);
        assert_eq!(knee(&[point(1.0, 0.0, 0.0)]), None);
        assert_eq!(knee(&points[..1]), Some(Knee { saturation: 0, knee: 0 }));
    }

    #[test]
    fn points_that_break_littles_law_are_inconsistent() {
        // 0.95 in flight of 1.
        assert!(point(1.0, 951.0, 1.0).is_consistent(0.0));
        assert!(!point(1.0, 949.0, 1.0).is_consistent(0.0));
        assert!(!point(1.0, 1051.0, 1.0).is_consistent(0.0));
        assert!(point(0.0, 0.0, 0.0).is_consistent(0.0));
        // 10 % of each request's time in flight is the client's own.
        assert!(point(1.0, 900.0, 1.0).is_consistent(0.0001));
        assert!(!point(1.0, 1060.0, 1.0).is_consistent(0.0001), "only in one direction");
    }

    #[test]
    fn drift_is_the_larger_change() {
        let first = point(1.0, 100.0, 10.0);
        assert_eq!(drift(&first, &point(1.0, 109.0, 9.5)), None);
        assert!((drift(&first, &point(1.0, 88.0, 10.0)).unwrap() - 0.12).abs() < 1e-12);
        assert!((drift(&first, &point(1.0, 95.0, 12.5)).unwrap() - 0.25).abs() < 1e-12);
        assert_eq!(drift(&point(1.0, 0.0, 0.0), &first), Some(f64::INFINITY));
        assert_eq!(drift(&point(1.0, 0.0, 0.0), &point(1.0, 0.0, 0.0)), None);
    }
}
