//! The load that was asked for beside the load that was delivered. Definitions: docs/measurement.md.

use std::time::Duration;

use super::detail::Distribution;
use crate::engine::samples::phase::{Ended, PhaseSamples, Unmeasured};
use crate::engine::samples::record::Record;
use crate::engine::samples::steadiness::Steadiness;
use crate::engine::timestamp::Stamp;
use crate::engine::workload::Skipped;

/// Below this share of what was due, load was held back.
const DELIVERED_SHARE_MIN: f64 = 0.98;

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Asked {
    /// Requests per second of an open loop, by a flag or by the workload.
    pub per_second: Option<f64>,
    pub max_concurrency: Option<u64>,
    /// How long requests are measured, where that is known before the run.
    pub measured: Option<Duration>,
    /// Seconds of the window of the rule for a steady state; `None` where load was not asked for.
    pub steady_window_s: Option<usize>,
}

impl SteadyState {
    fn of(samples: &PhaseSamples, window_s: usize) -> SteadyState {
        if let Some(since) = samples.steady_since {
            return SteadyState::Since(since.seconds_since(samples.began));
        }
        let from = samples.measured_from;
        let ended = samples
            .records
            .iter()
            .filter_map(Ended::of)
            .chain(samples.earlier.iter().copied());
        let steadiness = Steadiness::of(ended, from, samples.sending_ended, window_s);
        match (steadiness.since(), steadiness.verdict().reason) {
            (Some(since), _) => SteadyState::Since(since.seconds_since(from)),
            (None, reason) => SteadyState::Not(reason.map(|reason| reason.to_string()).unwrap_or_default()),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivered {
    pub asked: Asked,
    /// Requests per second that were due in the measured time, by the schedule; `None` in a closed loop.
    pub due_per_s: Option<f64>,
    /// Requests per second that were sent in it.
    pub sent_per_s: Option<f64>,
    /// Requests in flight while requests were sent, on average.
    pub in_flight_mean: f64,
    /// Waits for a place or for a session; `None` in a closed loop.
    pub slot_wait_ms: Option<Distribution>,
    pub skipped: Skipped,
    /// Requests that were measured, and those before them.
    pub measured: u64,
    pub unmeasured: Unmeasured,
    /// `None` where nothing was asked for.
    pub steady: Option<SteadyState>,
    /// Seconds of the measured time; `None` where the number of requests ended it, and their times say how long it was.
    pub window_s: Option<f64>,
}

/// Whether the run came to a steady state.
#[derive(Clone, Debug, PartialEq)]
pub enum SteadyState {
    /// Seconds from the beginning of the measured part, or of the whole phase if the run ended because it was steady.
    Since(f64),
    /// Why the last window was not steady.
    Not(String),
}

/// What held load back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeldBy {
    /// The limit on requests in flight.
    Concurrency(u64),
    /// Sessions that were busy.
    Sessions,
    /// This program.
    Client,
}

impl Delivered {
    /// `cut_short`: the run ended before the time that was asked for.
    pub fn of(samples: &PhaseSamples, asked: Asked, skipped: Skipped, cut_short: bool) -> Delivered {
        let records = &samples.records;
        let asked_s = asked
            .measured
            .filter(|_| !skipped.used_up)
            .map(|time| time.as_secs_f64());
        let window_s = if cut_short { Some(samples.sending_s()) } else { asked_s };
        let until = window_s.map(|seconds| samples.measured_from.plus(Duration::from_secs_f64(seconds)));
        let is_open = asked.per_second.is_some();
        let waits = || records.iter().map(|record| record.slot_wait.as_secs_f64());
        Delivered {
            asked,
            due_per_s: is_open
                .then(|| per_second(records.iter().map(|record| record.scheduled), skipped.due(), window_s))
                .flatten(),
            sent_per_s: per_second(sent_until(records, until), 0, window_s),
            in_flight_mean: samples.in_flight_mean(),
            slot_wait_ms: is_open.then(|| Distribution::of(waits(), 1e3)),
            skipped,
            measured: records.len() as u64,
            unmeasured: samples.unmeasured,
            steady: asked.steady_window_s.map(|window_s| SteadyState::of(samples, window_s)),
            window_s,
        }
    }

    /// Whether there were requests, and all of them were due before the measured time.
    pub fn nothing_measured(&self) -> bool {
        self.measured == 0 && self.unmeasured.requests > 0
    }

    /// What held load back; `None` if it was delivered. `lateness_ms_mean` is this program's own delay.
    pub fn held_by(&self, lateness_ms_mean: f64) -> Option<HeldBy> {
        let short = self.due_per_s.zip(self.sent_per_s);
        let short = short.is_some_and(|(due, sent)| sent < due * DELIVERED_SHARE_MIN);
        let Skipped { unsent, turns, .. } = self.skipped;
        if !short && unsent == 0 {
            return None;
        }
        let waited = self.slot_wait_ms.as_ref().map_or(0.0, |waits| waits.spread.mean);
        Some(match self.asked.max_concurrency {
            _ if turns > unsent => HeldBy::Sessions,
            _ if waited < lateness_ms_mean => HeldBy::Client,
            Some(limit) => HeldBy::Concurrency(limit),
            None => HeldBy::Sessions,
        })
    }
}

fn sent_until(records: &[Record], until: Option<Stamp>) -> impl Iterator<Item = Stamp> {
    let sent = records.iter().map(|record| record.dispatched);
    sent.filter(move |sent| until.is_none_or(|until| *sent < until))
}

/// Events per second: by their number in `window_s`, else by the mean of the gaps between them. `more` events have no time.
fn per_second(times: impl Iterator<Item = Stamp>, more: u64, window_s: Option<f64>) -> Option<f64> {
    let (mut count, mut first, mut last) = (0_u64, None, None);
    for time in times {
        count += 1;
        first = Some(first.map_or(time, |first: Stamp| first.min(time)));
        last = Some(last.map_or(time, |last: Stamp| last.max(time)));
    }
    let (events, seconds) = match window_s {
        Some(window_s) => (count + more, window_s),
        None => (count.saturating_sub(1), last?.seconds_since(first?)),
    };
    (seconds > 0.0).then(|| events as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// Ten requests, one due every 100 ms; each is sent so many milliseconds late, of which it waited `slot_ms` for a place.
    fn samples(late_ms: impl Fn(i64) -> i64, slot_ms: u64) -> PhaseSamples {
        let records = (0..10).map(|number| {
            let due = number * 100;
            let mut record = Record::begin("r".into(), Stamp(due * MS), Stamp((due + late_ms(number)) * MS));
            record.slot_wait = Duration::from_millis(slot_ms);
            record
        });
        PhaseSamples {
            records: records.collect(),
            sending_ended: Stamp(1000 * MS),
            in_flight_ns: 2_500_000_000,
            ..PhaseSamples::default()
        }
    }

    fn asked(measured: Option<Duration>) -> Asked {
        Asked {
            per_second: Some(10.0),
            max_concurrency: Some(3),
            measured,
            steady_window_s: Some(5),
        }
    }

    #[test]
    fn a_load_that_is_sent_on_time_is_delivered() {
        let on_time = samples(|_| 0, 0);
        for measured in [None, Some(Duration::from_secs(1))] {
            let delivered = Delivered::of(&on_time, asked(measured), Skipped::default(), false);
            assert_eq!((delivered.due_per_s, delivered.sent_per_s), (Some(10.0), Some(10.0)));
            assert_eq!((delivered.in_flight_mean, delivered.held_by(0.0)), (2.5, None));
        }
    }

    #[test]
    fn a_limit_that_delays_requests_holds_load_back() {
        let slow = samples(|number| number * 100, 450);
        let delivered = Delivered::of(&slow, asked(None), Skipped::default(), false);
        assert_eq!(delivered.sent_per_s, Some(5.0));
        assert_eq!(delivered.held_by(1.0), Some(HeldBy::Concurrency(3)));
        assert_eq!(delivered.held_by(500.0), Some(HeldBy::Client));
        let delivered = Delivered::of(&slow, asked(Some(Duration::from_secs(1))), Skipped::default(), false);
        assert_eq!((delivered.due_per_s, delivered.sent_per_s), (Some(10.0), Some(5.0)));
    }

    #[test]
    fn a_number_of_requests_that_ends_first_ends_the_measured_time() {
        let used_up = Skipped {
            used_up: true,
            ..Skipped::default()
        };
        let delivered = Delivered::of(&samples(|_| 0, 0), asked(Some(Duration::from_secs(60))), used_up, false);
        assert_eq!((delivered.due_per_s, delivered.sent_per_s), (Some(10.0), Some(10.0)));
        assert_eq!((delivered.window_s, delivered.held_by(0.0)), (None, None));
    }

    #[test]
    fn turns_that_were_left_out_were_due() {
        let skipped = Skipped {
            turns: 10,
            ..Skipped::default()
        };
        let delivered = Delivered::of(&samples(|_| 0, 0), asked(Some(Duration::from_secs(1))), skipped, false);
        assert_eq!(delivered.due_per_s, Some(20.0));
        assert_eq!(delivered.held_by(5.0), Some(HeldBy::Sessions));
    }

    #[test]
    fn requests_that_were_never_sent_count_as_due() {
        let skipped = Skipped {
            unsent: 10,
            ..Skipped::default()
        };
        let delivered = Delivered::of(&samples(|_| 0, 20), asked(Some(Duration::from_secs(1))), skipped, false);
        assert_eq!(delivered.due_per_s, Some(20.0));
        assert_eq!(delivered.held_by(0.0), Some(HeldBy::Concurrency(3)));
    }
}
