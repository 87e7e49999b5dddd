//! One second of a series.

use crate::stats::thinned::Thinned;

/// Steps of a second at which the number of requests in flight is known.
const STEPS: usize = 100;

#[derive(Clone, Debug, Default)]
pub(super) struct Bucket {
    pub started: u64,
    pub finished: u64,
    pub failed: u64,
    /// Sum over requests of the time that each was in flight.
    pub busy_s: f64,
    pub tokens_in: u64,
    pub cached: u64,
    pub tokens_out: f64,
    pub ttft_sum_s: f64,
    pub ttft_count: u64,
    /// Starts less ends in each step.
    steps: Option<Box<[i32; STEPS]>>,
    ttfts: Option<Thinned>,
    gaps: Option<Thinned>,
}

impl Bucket {
    /// A start (1) or an end (-1) at this time.
    pub fn step(&mut self, at_s: f64, change: i32) {
        let step = (at_s.fract().max(0.0) * STEPS as f64) as usize;
        let steps = self.steps.get_or_insert_with(|| Box::new([0; STEPS]));
        steps[step.min(STEPS - 1)] += change;
    }

    /// The most requests in flight, from those at its beginning, which becomes the number at its end.
    pub fn peak(&self, in_flight: &mut i64) -> u64 {
        let mut peak = *in_flight;
        for change in self.steps.iter().flat_map(|steps| steps.iter()) {
            *in_flight += i64::from(*change);
            peak = peak.max(*in_flight);
        }
        u64::try_from(peak).unwrap_or(0)
    }

    /// By how many more are kept.
    pub fn keep_ttft(&mut self, seconds: f64, limit: usize) -> isize {
        keep(&mut self.ttfts, seconds, limit)
    }

    /// By how many more are kept.
    pub fn keep_gap(&mut self, seconds: f64, limit: usize) -> isize {
        keep(&mut self.gaps, seconds, limit)
    }

    pub fn ttfts(&self) -> &[f64] {
        self.ttfts.as_ref().map_or(&[], Thinned::values)
    }

    pub fn gaps(&self) -> &[f64] {
        self.gaps.as_ref().map_or(&[], Thinned::values)
    }

    /// Lowers the limit of each kind; returns how many are kept.
    pub fn tighten(&mut self, limit: usize) -> usize {
        let both = [&mut self.ttfts, &mut self.gaps].into_iter().flatten();
        let kept = both.map(|sample| {
            sample.tighten(limit);
            sample.values().len()
        });
        kept.sum()
    }
}

fn keep(sample: &mut Option<Thinned>, seconds: f64, limit: usize) -> isize {
    let sample = sample.get_or_insert_with(|| Thinned::with_limit(limit));
    let before = sample.values().len();
    sample.push(seconds);
    sample.values().len() as isize - before as isize
}
