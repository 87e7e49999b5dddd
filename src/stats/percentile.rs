//! Percentiles by the two rules that the reference uses. Samples must be sorted in ascending order; `p` is from 0 to 100.

/// The sample at the nearest rank, ceil(p/100 * n), as in the reference's l2 command; 0 without samples.
pub fn nearest_rank(sorted: &[f64], p: f64) -> f64 {
    let rank = (p / 100.0 * sorted.len() as f64 + 0.999_999) as usize;
    let rank = rank.clamp(1, sorted.len().max(1));
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

/// Linear interpolation between the samples around position p/100 * (n - 1), as in the reference's engine command and NumPy's
/// default; 0 without samples.
pub fn linear(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let position = last as f64 * p / 100.0;
    let below = (position as usize).min(last);
    let above = (below + 1).min(last);
    if below == above || sorted[below] == sorted[above] {
        return sorted[below];
    }
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

/// [`linear`] of samples in any order.
pub fn linear_unsorted(mut samples: Vec<f64>, p: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    linear(&samples, p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank_is_always_a_sample() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        for (p, want) in [
            (0.0, 1.0),
            (1.0, 1.0),
            (50.0, 50.0),
            (50.5, 51.0),
            (99.0, 99.0),
            (99.9, 100.0),
            (100.0, 100.0),
        ] {
            assert_eq!(nearest_rank(&hundred, p), want, "p{p}");
        }
        assert_eq!(nearest_rank(&[4.26, 4.73, 4.84], 50.0), 4.73);
        assert_eq!(nearest_rank(&[4.26, 4.73, 4.84], 99.0), 4.84);
        assert_eq!(nearest_rank(&[1.0, 2.0], 50.0), 1.0);
        assert_eq!(nearest_rank(&[7.0], 1.0), 7.0);
        assert_eq!(nearest_rank(&[], 50.0), 0.0);
    }

    #[test]
    fn linear_interpolates_between_neighbours() {
        assert_eq!(linear(&[1.0, 2.0], 50.0), 1.5);
        assert_eq!(linear(&[1.0, 2.0, 4.0, 8.0], 90.0), 4.0 + (2.7 - 2.0) * 4.0);
        assert_eq!(linear(&[1.0, 2.0, 4.0], 0.0), 1.0);
        assert_eq!(linear(&[1.0, 2.0, 4.0], 100.0), 4.0);
        assert_eq!(linear_unsorted(vec![4.0, 1.0, 2.0], 100.0), 4.0);
        assert_eq!(linear(&[7.0], 99.0), 7.0);
        assert_eq!(linear(&[], 99.0), 0.0);
        assert_eq!(linear(&[f64::INFINITY, f64::INFINITY], 50.0), f64::INFINITY);
    }
}
