//! Confidence intervals of 95 % for a share and for a percentile, without assumptions about a distribution.

/// The 97.5th percentile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;
/// The same in two digits, as textbooks have the formula over ranks.
const Z_RANKS: f64 = 1.96;

/// Wilson's score interval for `kept` of `total`: the bounds of the share, 0 to 1; `None` without a total.
///
/// E. B. Wilson, 1927: centre (p + z^2 / 2n) / (1 + z^2 / n), half width z sqrt(p (1 - p) / n + z^2 / 4n^2) / (1 + z^2 / n).
pub fn wilson(kept: u64, total: u64) -> Option<(f64, f64)> {
    if total == 0 {
        return None;
    }
    let n = total as f64;
    let p = kept.min(total) as f64 / n;
    let stretch = 1.0 + Z * Z / n;
    let centre = (p + Z * Z / (2.0 * n)) / stretch;
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt() / stretch;
    // Exactly 0 and 1 at the ends, where rounding would leave a trace.
    let low = if kept == 0 { 0.0 } else { centre - half };
    let high = if kept >= total { 1.0 } else { centre + half };
    Some((low.max(0.0), high.min(1.0)))
}

/// The ranks (from 1) of the two samples that enclose percentile `p` (0 to 100) of `count` samples: floor and ceil of
/// n q -/+ 1.96 sqrt(n q (1 - q)) with q = p / 100. `None` if either lies outside of 1 to `count`: there are too few samples
/// for an interval.
pub fn percentile_ranks(count: usize, p: f64) -> Option<(usize, usize)> {
    let (n, q) = (count as f64, p / 100.0);
    let half = Z_RANKS * (n * q * (1.0 - q)).sqrt();
    let (low, high) = ((n * q - half).floor(), (n * q + half).ceil());
    (low >= 1.0 && high <= n).then_some((low as usize, high as usize))
}

/// The two samples at [`percentile_ranks`]; the samples are in ascending order.
pub fn percentile_bounds(sorted: &[f64], p: f64) -> Option<(f64, f64)> {
    let (low, high) = percentile_ranks(sorted.len(), p)?;
    Some((sorted[low - 1], sorted[high - 1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::random::SplitMix64;

    #[test]
    fn wilsons_interval_has_the_published_values() {
        for (kept, total, low, high) in [
            (8, 10, 0.4902, 0.9433),
            (0, 10, 0.0, 0.2775),
            (10, 10, 0.7225, 1.0),
            (5, 10, 0.2366, 0.7634),
            (81, 263, 0.2553, 0.3662),
        ] {
            let (got_low, got_high) = wilson(kept, total).unwrap();
            assert!((got_low - low).abs() < 5e-5, "{kept}/{total}: {got_low}");
            assert!((got_high - high).abs() < 5e-5, "{kept}/{total}: {got_high}");
        }
        assert_eq!(wilson(0, 0), None);
        assert_eq!(wilson(0, 7).unwrap().0, 0.0);
        assert_eq!(wilson(7, 7).unwrap().1, 1.0);
    }

    #[test]
    fn ranks_enclose_the_percentile() {
        assert_eq!(percentile_ranks(1000, 99.0), Some((983, 997)));
        assert_eq!(percentile_ranks(100, 50.0), Some((40, 60)));
        assert_eq!(percentile_ranks(100, 99.0), None, "the upper rank is 101");
        assert_eq!(percentile_ranks(3, 50.0), None);
        assert_eq!(percentile_ranks(0, 50.0), None);
        let samples: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(percentile_bounds(&samples, 99.0), Some((983.0, 997.0)));
    }

    /// The true median (0.5) is between the bounds in about 95 % of samples.
    #[test]
    fn intervals_of_percentiles_cover_the_true_one() {
        let mut random = SplitMix64::stream(3, 0);
        let covered = (0..2000).filter(|_| {
            let mut samples: Vec<f64> = (0..101).map(|_| random.unit()).collect();
            samples.sort_by(f64::total_cmp);
            let (low, high) = percentile_bounds(&samples, 50.0).unwrap();
            (low..=high).contains(&0.5)
        });
        let share = covered.count() as f64 / 2000.0;
        assert!((0.93..0.98).contains(&share), "{share}");
    }
}
