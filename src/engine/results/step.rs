//! One load of a sweep or search: its figures, and what decides whether it holds.

use std::time::Duration;

use super::evaluated::Evaluated;
use crate::engine::samples::phase::PhaseSamples;
use crate::engine::samples::record::Record;
use crate::load::knee::Point;
use crate::load::probe::{self, Evidence, Outcome, judge};
use crate::load::slo::{Holding, Verdict};
use crate::stats::summary::mean;

/// Requests per client of a closed loop from which on one more or less at the borders of the window is below 2.5 %.
const BORDERS: f64 = 40.0;
/// Of a request, the time from the decision to send it to its dispatch, and from its end until that is seen, at most.
const HANDOVER_S: f64 = 0.001;

pub struct Step {
    pub load: f64,
    /// Without its rows, of which a run of many steps would have millions.
    pub evaluated: Evaluated,
    pub point: Point,
    /// Seconds in which requests were measured; where their number ended the step, up to the last end.
    pub window_s: f64,
    /// Requests that ended well in that time.
    pub ended: u64,
    /// Whether this load holds, where every limit has a percentile.
    pub outcome: Outcome,
    /// Requests that were due in the window; `None` in a closed loop.
    offered: Option<u64>,
}

impl Step {
    pub fn of(load: f64, samples: &PhaseSamples, mut evaluated: Evaluated) -> Step {
        evaluated.rows = Vec::new();
        let delivered = &evaluated.delivered;
        let sending_s = delivered.window_s.unwrap_or(samples.sending_s());
        let is_open = delivered.asked.per_second.is_some();
        let offered = is_open.then(|| samples.records.len() as u64 + delivered.skipped.due());
        // Where the number of requests ends a step, they may all be sent before the first has ended.
        let (ended, window_s) = match delivered.window_s {
            Some(window_s) => (samples.ended_in_window, window_s),
            None => (evaluated.figures.successful, samples.elapsed_s()),
        };
        let per_second = |count: u64, seconds: f64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let point = Point {
            load,
            in_flight: delivered.in_flight_mean,
            per_second: per_second(ended, window_s),
            mean_s: mean(&latencies_s(samples, is_open)),
        };
        let growth = offered.map_or(0.0, |offered| {
            growth(samples, per_second(offered, sending_s), sending_s)
        });
        let judged = evaluated.judged.as_ref();
        let outcome = judge(&Evidence {
            verdicts: judged.map_or(&[], |judged| &judged.verdicts),
            limit_s: judged
                .and_then(|judged| judged.slo.shortest_s())
                .unwrap_or(f64::INFINITY),
            errors: evaluated.figures.failed,
            offered,
            achieved: samples.ended_in_window,
            in_flight: point.in_flight,
            growth,
            lags_s: &if is_open { lags_s(samples) } else { Vec::new() },
            window_s: sending_s,
        });
        Step {
            load,
            evaluated,
            point,
            window_s,
            ended,
            outcome,
            offered,
        }
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

    /// Of a step of a closed loop. Not told with few requests for its load: one more or less at the borders of the window is more
    /// than the law allows for. Those in flight do not say how many are few, as all may be sent before one is long in flight.
    pub fn breaks_littles_law(&self) -> bool {
        let is_sure = self.ended as f64 >= BORDERS * self.load;
        is_sure && !self.point.is_consistent(HANDOVER_S)
    }

    /// Whether every limit on a percentile holds.
    pub fn is_kept(&self) -> bool {
        self.verdicts().iter().all(|verdict| verdict.holding == Holding::Kept)
    }
}

/// Of the requests that succeeded. In an open loop from when they were due: past its capacity a system that takes no more than so
/// many at once is not slower, but its users wait longer.
fn latencies_s(samples: &PhaseSamples, is_open: bool) -> Vec<f64> {
    let good = samples.records.iter().filter(|record| record.succeeded());
    let latency = |record: &Record| match is_open {
        true => record.scheduled_latency_s(),
        false => record.token_latency_s(),
    };
    good.filter_map(latency).collect()
}

/// By how much requests in flight had to grow in the window, by the latencies of its first half.
fn growth(samples: &PhaseSamples, per_second: f64, window_s: f64) -> f64 {
    let half = samples.measured_from.plus(Duration::from_secs_f64(window_s / 2.0));
    let early = samples.records.iter().filter(|record| record.scheduled < half);
    let latency_s = |record: &Record| record.finished.seconds_since(record.scheduled);
    let lead_in_s = samples.measured_from.seconds_since(samples.began);
    probe::growth(
        &early.map(latency_s).collect::<Vec<f64>>(),
        per_second,
        lead_in_s,
        window_s,
    )
}

/// When requests were due since the beginning of the window, and how long after that they were dispatched.
fn lags_s(samples: &PhaseSamples) -> Vec<(f64, f64)> {
    let lag = |record: &Record| {
        let due_s = record.scheduled.seconds_since(samples.measured_from);
        (due_s, record.dispatched.seconds_since(record.scheduled).max(0.0))
    };
    samples.records.iter().map(lag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::results::delivered::Asked;
    use crate::engine::testing::succeeded;
    use crate::engine::timestamp::{Clock, Stamp};
    use crate::engine::workload::Skipped;
    use crate::load::slo::Slo;

    const MS: i64 = 1_000_000;

    fn step(ended_in_window: u64, unsent: u64, limits: &str) -> Step {
        step_of(ended_in_window, unsent, limits, Some(Duration::from_secs(1)))
    }

    fn step_of(ended_in_window: u64, unsent: u64, limits: &str, measured: Option<Duration>) -> Step {
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
            measured,
            ..Asked::default()
        };
        let skipped = Skipped {
            unsent,
            ..Skipped::default()
        };
        let evaluated = Evaluated::of(&samples, &Clock::start(), asked, skipped, &slo, false);
        Step::of(100.0, &samples, evaluated)
    }

    #[test]
    fn a_step_has_its_point_and_is_judged_by_what_ended_in_it() {
        let held = step(99, 0, "ttft=60ms");
        assert_eq!((held.point.in_flight, held.point.per_second), (5.0, 99.0));
        assert!((held.point.mean_s - 0.05).abs() < 1e-9 && held.is_kept());
        assert_eq!(held.outcome, Outcome::Passed);
        let late = step(84, 0, "ttft=60ms");
        assert_eq!(
            late.outcome.to_string(),
            "84 requests ended while 100 were due, less than 98 %"
        );
        let slow = step(100, 0, "ttft=40ms");
        assert!(!slow.is_kept() && !slow.outcome.has_held());
        let unsent = step(100, 20, "ttft=60ms");
        assert!(!unsent.outcome.has_held(), "a tenth is beyond the percentile");
    }

    #[test]
    fn where_the_number_of_requests_ends_a_step_all_of_them_count() {
        // Sent at 0 to 0.99 s, the last one ended at 1.04 s.
        let all = step_of(0, 0, "ttft=60ms", None);
        assert_eq!((all.ended, all.window_s), (100, 1.04));
        assert!((all.point.per_second - 100.0 / 1.04).abs() < 1e-9);
    }

    #[test]
    fn littles_law_is_broken_only_where_there_are_many_requests_for_the_load() {
        // Hardly any time passed between the first dispatch and the last, so that hardly any requests were in flight in it.
        let with = |load: f64, ended: u64| Step {
            load,
            ended,
            point: Point {
                in_flight: 0.05,
                ..step(99, 0, "ttft=60ms").point
            },
            ..step(99, 0, "ttft=60ms")
        };
        assert!(!with(3.0, 3).breaks_littles_law());
        assert!(!with(3.0, 119).breaks_littles_law());
        assert!(with(3.0, 120).breaks_littles_law());
    }
}
