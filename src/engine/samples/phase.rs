//! The raw results of a phase: its records in completion order, gaps between tokens, and what was measured around them.

use std::time::Duration;

use super::access::Accesses;
use super::record::Record;
use crate::engine::timestamp::Stamp;
use crate::ledger::balance::Usage;
use crate::load::series::Series;
use crate::stats::thinned::Thinned;

#[derive(Clone, Debug, Default)]
pub struct PhaseSamples {
    /// When the phase began; the workload's clock starts here.
    pub began: Stamp,
    /// When the measured part of the phase begins; later than `began` with a ramp or a warm-up time.
    pub measured_from: Stamp,
    /// Requests that were due before that, their token events, and how many of them failed. They are in no record.
    pub unmeasured: Unmeasured,
    /// When the last request had been sent: latencies cover what came before, rates end here.
    pub sending_ended: Stamp,
    /// Requests in flight, summed over the nanoseconds from `in_flight_from` to `sending_ended`.
    pub in_flight_ns: u128,
    pub in_flight_from: Stamp,
    /// Requests that succeeded and ended between `measured_from` and `sending_ended`, whenever they were due.
    pub ended_in_window: u64,
    /// Those of them that were due before `measured_from`.
    pub earlier: Vec<Ended>,
    /// The seconds of the phase, where they were asked for.
    pub series: Option<Series>,
    /// Since when the phase is steady, if it ended because it is.
    pub steady_since: Option<Stamp>,
    /// When the last request ended or the phase was interrupted.
    pub ended: Stamp,
    /// In completion order.
    pub records: Vec<Record>,
    pub gaps: GapSamples,
    /// What the answers of all requests say of their tokens, measured or not.
    pub usage: Usage,
    /// All requests as a cache sees them, where they are kept.
    pub accesses: Accesses,
    /// Requests in flight when the run was interrupted.
    pub cut_off: u64,
    pub in_flight_peak: u64,
    /// CPU time of this process during the phase, user and kernel, all threads.
    pub cpu: Duration,
    /// Connections opened during the phase, each before the clock of its request.
    pub connections_opened: u64,
    /// By how much the wall clock was set during the run.
    pub wall_step: Duration,
}

impl PhaseSamples {
    /// From the beginning of the measured part to the end of its last answer.
    pub fn elapsed_s(&self) -> f64 {
        let last = self.records.iter().map(|record| record.finished).max();
        last.map_or(0.0, |last| last.seconds_since(self.measured_from).max(0.0))
    }
}

impl PhaseSamples {
    /// Seconds of the measured part in which requests were sent.
    pub fn sending_s(&self) -> f64 {
        self.sending_ended.seconds_since(self.measured_from).max(0.0)
    }

    /// Requests in flight in that time, on average; 0 without such a time.
    pub fn in_flight_mean(&self) -> f64 {
        let seconds = self.sending_ended.seconds_since(self.in_flight_from);
        if seconds > 0.0 {
            self.in_flight_ns as f64 / 1e9 / seconds
        } else {
            0.0
        }
    }
}

impl PhaseSamples {
    /// Measures only what was due from `since` on. The records must have kept their gaps.
    pub fn measure_from(&mut self, since: Stamp) {
        let records = std::mem::take(&mut self.records);
        let good = records.iter().filter(|record| record.succeeded());
        let earlier = self.earlier.iter().map(|ended| ended.at);
        let ends = good.map(|record| record.finished).chain(earlier);
        self.ended_in_window = ends.filter(|end| (since..=self.sending_ended).contains(end)).count() as u64;
        let (measured, before): (Vec<Record>, Vec<Record>) =
            records.into_iter().partition(|record| record.scheduled >= since);
        before.iter().for_each(|record| self.unmeasured.add(record));
        self.gaps = GapSamples::default();
        measured.iter().for_each(|record| self.gaps.add(record));
        self.records = measured;
        self.measured_from = since;
    }
}

/// Adds an answer to the sums of its phase.
pub fn add_usage(sums: &mut Usage, record: &Record) {
    if !record.succeeded() {
        sums.failed += 1;
        return;
    }
    let usage = &record.answer.usage;
    sums.requests += 1;
    sums.with_prompt += u64::from(usage.prompt_tokens.is_some());
    sums.with_cached += u64::from(usage.cached_tokens.is_some());
    sums.prompt_tokens += usage.prompt_tokens.unwrap_or(0);
    sums.cached_tokens += usage.cached_tokens.unwrap_or(0);
}

/// The end of a request.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub at: Stamp,
    pub latency_s: f64,
}

impl Ended {
    /// `None` for one that failed.
    pub fn of(record: &Record) -> Option<Ended> {
        record.succeeded().then(|| Ended {
            at: record.finished,
            latency_s: record.latency_s(),
        })
    }
}

/// Requests of the ramp and the warm-up time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unmeasured {
    pub requests: u64,
    pub failed: u64,
    pub token_events: u64,
}

impl Unmeasured {
    pub fn add(&mut self, record: &Record) {
        self.requests += 1;
        self.failed += u64::from(!record.succeeded());
        self.token_events += record.answer.token_events;
    }
}

/// A bounded sample of the gaps between token events of all requests, in seconds.
#[derive(Clone, Debug)]
pub struct GapSamples(Thinned);

/// 16 MiB of gaps.
const GAPS_MAX: usize = 2 << 20;

impl Default for GapSamples {
    fn default() -> GapSamples {
        GapSamples(Thinned::with_limit(GAPS_MAX))
    }
}

impl GapSamples {
    /// Adds the gaps of a request that succeeded, unless its answer was buffered on the way.
    pub fn add(&mut self, record: &Record) {
        if record.succeeded() && !record.is_buffered() {
            record.gaps_s().for_each(|gap| self.0.push(gap));
        }
    }

    /// Those that were kept, in the order in which requests ended.
    pub fn seconds(&self) -> impl Iterator<Item = f64> {
        self.0.values().iter().copied()
    }

    pub fn sorted_ms(&self) -> Vec<f64> {
        let mut gaps_ms: Vec<f64> = self.seconds().map(|gap| gap * 1e3).collect();
        gaps_ms.sort_by(f64::total_cmp);
        gaps_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::succeeded;

    #[test]
    fn what_is_measured_from_later_on_ends_in_its_own_window() {
        let mut samples = PhaseSamples {
            // Due at 0, 10, .. and answered in 15.
            records: (0..10).map(|n| succeeded(n * 10, n * 10 + 15)).collect(),
            sending_ended: Stamp(100),
            earlier: [3, 62]
                .map(|at| Ended {
                    at: Stamp(at),
                    latency_s: 1.0,
                })
                .into(),
            ended_in_window: 99,
            ..PhaseSamples::default()
        };
        samples.measure_from(Stamp(60));
        // Due at 60 and later; ended between 60 and 100, whenever they were due.
        assert_eq!((samples.records.len(), samples.unmeasured.requests), (4, 6));
        assert_eq!(samples.ended_in_window, [65, 75, 85, 95].len() as u64 + 1);
        assert_eq!(samples.measured_from, Stamp(60));
    }
}
