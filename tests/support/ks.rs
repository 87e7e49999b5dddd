//! The Kolmogorov-Smirnov test of a sample against a continuous distribution. Unit tests use this file too.

/// The largest distance between the sample's distribution and `cdf`.
pub fn statistic(sample: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let distances = sorted.iter().enumerate().map(|(index, x)| {
        let expected = cdf(*x);
        (expected - index as f64 / n).max((index + 1) as f64 / n - expected)
    });
    distances.fold(0.0, f64::max)
}

/// The chance of a distance at least as large as the sample's when it is from `cdf`, by Kolmogorov's series with Stephens'
/// correction for the number of samples (right within some thousandths from 5 samples on).
pub fn p_value(sample: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
    let root = (sample.len() as f64).sqrt();
    tail(statistic(sample, cdf) * (root + 0.12 + 0.11 / root))
}

/// 2 x sum over j of (-1)^(j - 1) x exp(-2 j^2 lambda^2).
fn tail(lambda: f64) -> f64 {
    // Below this the series has not converged, and the sum is 1 in five digits.
    if lambda < 0.3 {
        return 1.0;
    }
    let term = |j: i32| 2.0 * (-1.0f64).powi(j - 1) * (-2.0 * (f64::from(j) * lambda).powi(2)).exp();
    (1..=20).map(term).sum::<f64>().clamp(0.0, 1.0)
}

#[test]
fn critical_values_are_those_of_tables() {
    for (lambda, p) in [(1.2238, 0.10), (1.3581, 0.05), (1.6276, 0.01), (1.9495, 0.001)] {
        assert!((tail(lambda) - p).abs() < p / 1000.0, "{lambda}: {}", tail(lambda));
    }
    assert_eq!(tail(0.1), 1.0);
    // Three points in [0, 1]: the largest distance is above 0.2, from 1/3 to 0.7.
    let distance = statistic(&[0.7, 0.2, 0.8], |x| x);
    assert!((distance - (0.7 - 1.0 / 3.0)).abs() < 1e-12, "{distance}");
    let even: Vec<f64> = (0..100).map(|n| (f64::from(n) + 0.5) / 100.0).collect();
    assert!((statistic(&even, |x| x) - 0.005).abs() < 1e-12);
    assert!(p_value(&even, |x| x) > 0.999 && p_value(&even, |x| x * x) < 1e-5);
}
