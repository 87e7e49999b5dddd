//! Latencies of single operations in constant memory: three significant digits from 1 ns to 1 hour.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::units::duration_ns;

const HIGHEST: Duration = Duration::from_secs(3600);
const SIGNIFICANT_DIGITS: u8 = 3;

/// Takes about 132 KiB. Each thread has one per kind of operation; they are merged at the end. Longer latencies count as one hour.
#[derive(Debug, Clone)]
pub struct LatencyHistogram {
    /// Counters saturate at 2^32 - 1 samples in one bucket.
    buckets: Histogram<u32>,
    highest_ns: u64,
    /// The exact maximum; buckets are rounded.
    max_ns: u64,
    sum_ns: u128,
}

/// Nanoseconds; zeros without samples.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LatencyPercentiles {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
    pub mean: f64,
}

impl LatencyHistogram {
    pub fn new() -> LatencyHistogram {
        let highest_ns = duration_ns(HIGHEST);
        let buckets = Histogram::new_with_bounds(1, highest_ns, SIGNIFICANT_DIGITS).expect("the bounds are valid");
        LatencyHistogram {
            buckets,
            highest_ns,
            max_ns: 0,
            sum_ns: 0,
        }
    }

    pub fn record_ns(&mut self, ns: u64) {
        let ns = ns.min(self.highest_ns);
        self.buckets.saturating_record(ns);
        self.max_ns = self.max_ns.max(ns);
        self.sum_ns += u128::from(ns);
    }

    pub fn merge(&mut self, other: &LatencyHistogram) {
        self.buckets
            .add(&other.buckets)
            .expect("all latency histograms have the same bounds");
        self.max_ns = self.max_ns.max(other.max_ns);
        self.sum_ns += other.sum_ns;
    }

    pub fn len(&self) -> u64 {
        self.buckets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Counts by bucket, from the lowest value on.
    pub fn counts(&self) -> impl Iterator<Item = u32> {
        self.buckets.iter_all().map(|step| step.count_at_value())
    }

    pub fn significant_digits(&self) -> u8 {
        SIGNIFICANT_DIGITS
    }

    pub fn lowest_ns(&self) -> u64 {
        self.buckets.low()
    }

    pub fn highest_ns(&self) -> u64 {
        self.highest_ns
    }

    pub fn sum_ns(&self) -> u128 {
        self.sum_ns
    }

    pub fn percentiles(&self) -> LatencyPercentiles {
        // The histogram returns the upper end of a bucket, which can be above every sample.
        let at = |quantile| self.buckets.value_at_quantile(quantile).min(self.max_ns);
        let mean = if self.is_empty() {
            0.0
        } else {
            self.sum_ns as f64 / self.len() as f64
        };
        LatencyPercentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.max_ns,
            mean,
        }
    }
}

impl Default for LatencyHistogram {
    fn default() -> LatencyHistogram {
        LatencyHistogram::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: u64, want: u64) -> bool {
        got.abs_diff(want) * 1000 <= want
    }

    #[test]
    fn percentiles_are_right_to_three_digits() {
        let mut histogram = LatencyHistogram::new();
        for ns in 1..=100_000 {
            histogram.record_ns(ns * 10);
        }
        let got = histogram.percentiles();
        assert!(close(got.p50, 500_000) && close(got.p90, 900_000), "{got:?}");
        assert!(close(got.p99, 990_000) && close(got.p999, 999_000), "{got:?}");
        assert_eq!((got.max, got.mean, histogram.len()), (1_000_000, 500_005.0, 100_000));
    }

    #[test]
    fn merging_equals_recording_in_one() {
        let (mut one, mut two, mut both) = (
            LatencyHistogram::new(),
            LatencyHistogram::new(),
            LatencyHistogram::new(),
        );
        for (histogram, samples) in [(&mut one, [5, 1000]), (&mut two, [70_000, 9_999_999])] {
            for ns in samples {
                histogram.record_ns(ns);
                both.record_ns(ns);
            }
        }
        one.merge(&two);
        assert_eq!(one.percentiles(), both.percentiles());
        assert_eq!(one.len(), 4);
    }

    #[test]
    fn values_above_the_range_count_as_its_end() {
        let mut histogram = LatencyHistogram::new();
        histogram.record_ns(u64::MAX);
        histogram.record_ns(0);
        let got = histogram.percentiles();
        assert_eq!((got.p50, got.p999, got.max), (0, 3_600_000_000_000, 3_600_000_000_000));
    }

    #[test]
    fn without_samples_all_is_zero() {
        let histogram = LatencyHistogram::new();
        assert!(histogram.is_empty());
        assert_eq!(histogram.percentiles(), LatencyPercentiles::default());
    }

    #[test]
    fn twenty_fit_in_three_mebibytes() {
        let histogram = LatencyHistogram::new();
        let bytes = histogram.buckets.distinct_values() * size_of::<u32>();
        assert!(20 * bytes <= 3 << 20, "{bytes}");
    }
}
