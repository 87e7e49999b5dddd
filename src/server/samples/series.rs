//! The latencies of one kind: exact for the first ones, in a histogram for all.

use std::time::Duration;

use crate::stats::histogram::LatencyHistogram;
use crate::stats::percentile::nearest_rank;

/// With more samples, percentiles come from a histogram with three significant digits.
const EXACT_MAX: usize = 1 << 16;

/// The latencies of one kind, in milliseconds.
#[derive(Clone, Debug)]
pub struct Series {
    exact_ms: Vec<f64>,
    /// Single latencies kept.
    exact_max: usize,
    /// Made for the first sample: most kinds of time are not measured for every operation.
    histogram: Option<LatencyHistogram>,
    sum_ms: f64,
    min_ms: f64,
    max_ms: f64,
}

impl Default for Series {
    fn default() -> Series {
        Series {
            exact_ms: Vec::new(),
            exact_max: EXACT_MAX,
            histogram: None,
            sum_ms: 0.0,
            min_ms: 0.0,
            max_ms: 0.0,
        }
    }
}

impl Series {
    /// Keeps only one client's share of the single latencies.
    pub(super) fn share(&mut self, clients: u32) {
        self.exact_max = EXACT_MAX.div_ceil(clients.max(1) as usize);
    }

    /// Adds the latencies of another client.
    pub(super) fn merge(&mut self, other: &Series) {
        let Some(histogram) = &other.histogram else { return };
        let first = self.count() == 0;
        self.min_ms = if first {
            other.min_ms
        } else {
            self.min_ms.min(other.min_ms)
        };
        self.max_ms = self.max_ms.max(other.max_ms);
        self.sum_ms += other.sum_ms;
        self.histogram.get_or_insert_default().merge(histogram);
        let room = self.exact_max.saturating_sub(self.exact_ms.len());
        self.exact_ms.extend(other.exact_ms.iter().take(room));
    }

    pub fn record(&mut self, time: Duration) {
        self.record_ms(time.as_secs_f64() * 1e3);
    }

    fn record_ms(&mut self, ms: f64) {
        let first = self.count() == 0;
        self.min_ms = if first { ms } else { self.min_ms.min(ms) };
        self.max_ms = self.max_ms.max(ms);
        self.sum_ms += ms;
        self.histogram.get_or_insert_default().record_ns((ms * 1e6) as u64);
        if self.exact_ms.len() < self.exact_max {
            self.exact_ms.push(ms);
        }
    }

    pub fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, LatencyHistogram::len)
    }

    /// The first samples in the order of measurement, client by client, in milliseconds.
    pub fn exact_ms(&self) -> &[f64] {
        &self.exact_ms
    }

    /// `None` without samples.
    pub fn histogram(&self) -> Option<&LatencyHistogram> {
        self.histogram.as_ref()
    }

    pub fn sum_ms(&self) -> f64 {
        self.sum_ms
    }

    /// All zero without samples.
    pub fn figures(&self) -> Figures {
        let mut sorted = self.exact_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let rough = self.histogram().map(LatencyHistogram::percentiles).unwrap_or_default();
        let exact = self.count() == sorted.len() as u64;
        let at = |p: f64, rough_ns: u64| match exact {
            true => nearest_rank(&sorted, p),
            false => rough_ns as f64 / 1e6,
        };
        Figures {
            count: self.count(),
            mean: if exact && sorted.is_empty() {
                0.0
            } else {
                self.sum_ms / self.count() as f64
            },
            min: self.min_ms,
            max: self.max_ms,
            p50: at(50.0, rough.p50),
            p90: at(90.0, rough.p90),
            p99: at(99.0, rough.p99),
            p999: at(99.9, rough.p999),
        }
    }
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    pub count: u64,
    pub mean: f64,
    pub min: f64,
    pub max: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_exact_for_few_samples_and_have_three_digits_for_many() {
        let mut series = Series::default();
        assert_eq!(series.figures(), Figures::default());
        assert!(series.histogram().is_none());
        for ms in [2.951, 1.8894, 2.2704] {
            series.record_ms(ms);
        }
        let got = series.figures();
        assert_eq!(
            (got.count, got.min, got.max, got.p50, got.p99),
            (3, 1.8894, 2.951, 2.2704, 2.951)
        );
        for n in 0..EXACT_MAX {
            series.record_ms(1.0 + n as f64 / EXACT_MAX as f64);
        }
        let got = series.figures();
        assert_eq!(got.count, EXACT_MAX as u64 + 3);
        assert!(
            (got.p50 - 1.5).abs() < 0.002 && (got.p999 - 2.0).abs() < 0.003,
            "{got:?}"
        );
        assert_eq!(got.max, 2.951);
    }

    #[test]
    fn pooled_series_keep_no_more_latencies_than_one() {
        let mut pooled = Series::default();
        for client in 1..=3 {
            let mut series = Series::default();
            series.share(3);
            (0..EXACT_MAX / 2).for_each(|_| series.record_ms(f64::from(client)));
            assert_eq!(series.exact_ms().len(), EXACT_MAX.div_ceil(3));
            pooled.merge(&series);
        }
        pooled.merge(&Series::default());
        assert_eq!(pooled.exact_ms().len(), EXACT_MAX);
        let figures = pooled.figures();
        assert_eq!(
            (figures.count, figures.min, figures.max),
            (EXACT_MAX as u64 / 2 * 3, 1.0, 3.0)
        );
        assert!(
            (figures.mean - 2.0).abs() < 1e-9 && (figures.p50 - 2.0).abs() < 0.002,
            "{figures:?}"
        );
    }
}
