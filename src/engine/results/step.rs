//! One load of a sweep or search: its figures, and what decides whether it holds.

use super::evaluated::Evaluated;
use crate::engine::samples::phase::PhaseSamples;
use crate::engine::samples::record::Record;
use crate::load::knee::Point;
use crate::load::probe::{Evidence, Outcome, judge};
use crate::load::slo::{Holding, Slo, Verdict};
use crate::stats::summary::mean;

pub struct Step {
    pub load: f64,
    pub evaluated: Evaluated,
    pub point: Point,
    /// Seconds in which requests were measured.
    pub window_s: f64,
    /// Requests that ended in the window.
    pub ended: u64,
    /// Requests that were due in it; `None` in a closed loop.
    offered: Option<u64>,
    /// When requests were due since the beginning of the window, and how long after that they were dispatched.
    lags_s: Vec<(f64, f64)>,
}

impl Step {
    pub fn of(load: f64, samples: &PhaseSamples, evaluated: Evaluated) -> Step {
        let asked = &evaluated.delivered.asked;
        let sending_s = samples.sending_s();
        // The time that was asked for is a limit only, where the phase ended because it was steady.
        let asked_s = asked.measured.filter(|_| samples.steady_since.is_none());
        let window_s = asked_s.map_or(sending_s, |time| time.as_secs_f64());
        let good = || samples.records.iter().filter(|record| record.succeeded());
        let latencies: Vec<f64> = good().filter_map(Record::token_latency_s).collect();
        let per_second = if window_s > 0.0 {
            samples.ended_in_window as f64 / window_s
        } else {
            0.0
        };
        let lag = |record: &Record| {
            let due_s = record.scheduled.seconds_since(samples.measured_from);
            (due_s, record.dispatched.seconds_since(record.scheduled).max(0.0))
        };
        let is_open = asked.per_second.is_some();
        Step {
            load,
            point: Point {
                load,
                in_flight: evaluated.delivered.in_flight_mean,
                per_second,
                mean_s: mean(&latencies),
            },
            window_s,
            ended: samples.ended_in_window,
            offered: is_open.then(|| samples.records.len() as u64 + evaluated.delivered.skipped.unsent),
            lags_s: if is_open {
                samples.records.iter().map(lag).collect()
            } else {
                Vec::new()
            },
            evaluated,
        }
    }

    /// Whether this load holds. `slo` has a percentile in each limit, and is that of the step.
    pub fn judged(&self, slo: &Slo) -> Outcome {
        judge(&Evidence {
            verdicts: self.verdicts(),
            limit_s: slo.shortest_s().unwrap_or(f64::INFINITY),
            errors: self.evaluated.figures.failed,
            offered: self.offered,
            achieved: self.ended,
            in_flight: self.point.in_flight,
            lags_s: &self.lags_s,
            window_s: self.window_s,
        })
    }

    pub fn verdicts(&self) -> &[Verdict] {
        self.evaluated.judged.as_ref().map_or(&[], |judged| &judged.verdicts)
    }

    /// The point for a comparison with the same load at another time. Random arrivals are never as many twice, so in an open loop
    /// throughput is the share of what was due.
    pub fn comparable(&self) -> Point {
        let per_second = match self.offered {
            Some(offered) if offered > 0 => self.ended as f64 / offered as f64,
            _ => self.point.per_second,
        };
        Point {
            per_second,
            ..self.point
        }
    }

    /// Whether every limit on a percentile holds.
    pub fn is_kept(&self) -> bool {
        self.verdicts().iter().all(|verdict| verdict.holding == Holding::Kept)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::results::delivered::Asked;
    use crate::engine::testing::succeeded;
    use crate::engine::timestamp::{Clock, Stamp};
    use crate::engine::workload::Skipped;

    const MS: i64 = 1_000_000;

    fn step(ended_in_window: u64, unsent: u64, limits: &str) -> (Step, Slo) {
        let samples = PhaseSamples {
            records: (0..100).map(|n| succeeded(n * 10 * MS, (n * 10 + 50) * MS)).collect(),
            sending_ended: Stamp(1000 * MS),
            ended_in_window,
            in_flight_ns: 5_000_000_000,
            ..PhaseSamples::default()
        };
        let mut slo = Slo::default();
        slo.add(limits).unwrap();
        let slo = slo.with_percentile(90.0);
        let asked = Asked {
            per_second: Some(100.0),
            measured: Some(Duration::from_secs(1)),
            ..Asked::default()
        };
        let skipped = Skipped {
            unsent,
            ..Skipped::default()
        };
        let evaluated = Evaluated::of(&samples, &Clock::start(), asked, skipped, &slo, false);
        (Step::of(100.0, &samples, evaluated), slo)
    }

    #[test]
    fn a_step_has_its_point_and_is_judged_by_what_ended_in_it() {
        let (held, slo) = step(99, 0, "ttft=60ms");
        assert_eq!((held.point.in_flight, held.point.per_second), (5.0, 99.0));
        assert!((held.point.mean_s - 0.05).abs() < 1e-9 && held.is_kept());
        assert_eq!(held.judged(&slo), Outcome::Passed);
        let (late, slo) = step(94, 0, "ttft=60ms");
        assert_eq!(
            late.judged(&slo).to_string(),
            "94 requests ended while 100 were due, less than 98 %"
        );
        let (slow, slo) = step(100, 0, "ttft=40ms");
        assert!(!slow.is_kept() && !slow.judged(&slo).has_held());
        let (unsent, slo) = step(100, 20, "ttft=60ms");
        assert!(!unsent.judged(&slo).has_held(), "a tenth is beyond the percentile");
    }
}
