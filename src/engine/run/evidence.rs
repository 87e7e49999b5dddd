//! How much this program itself contributed to TTFT, from the run's own records, and the stated error: the larger of that and
//! the replay's (docs/measurement.md, "The client's own error").

use super::certificate::ClientError;
use crate::engine::samples::phase::PhaseSamples;
use crate::engine::samples::record::Record;
use crate::stats::percentile::linear_unsorted;
use crate::stats::summary::mean;

/// A run is busier than the replay from this factor on; two replays differ by less.
const BUSIER: f64 = 1.1;
/// Added for times, which are close to zero on an idle machine.
const BUSIER_MS: f64 = 0.1;

/// All but the rate and the concurrency are over the requests that succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// This program's own part of TTFT and of the time before it (see `own_ms`).
    pub own_ms_mean: f64,
    pub own_ms_p99: f64,
    pub lateness_ms_p99: f64,
    pub first_token_lag_ms_p99: f64,
    /// Token events of all requests over the phase.
    pub events_per_s: f64,
    /// Most requests in flight.
    pub streams: u64,
}

impl Evidence {
    pub fn of(samples: &PhaseSamples) -> Evidence {
        let good: Vec<&Record> = samples.records.iter().filter(|record| record.succeeded()).collect();
        let each = |value: fn(&Record) -> f64| -> Vec<f64> { good.iter().map(|record| value(record)).collect() };
        let p99 = |value| linear_unsorted(each(value), 99.0);
        let events: u64 = samples.records.iter().map(|record| record.answer.token_events).sum();
        let seconds = samples.elapsed_s();
        Evidence {
            own_ms_mean: mean(&each(own_ms)),
            own_ms_p99: p99(own_ms),
            lateness_ms_p99: p99(|record| record.lateness_s() * 1e3),
            first_token_lag_ms_p99: p99(first_token_lag_ms),
            events_per_s: if seconds > 0.0 { events as f64 / seconds } else { 0.0 },
            streams: samples.in_flight_peak,
        }
    }
}

/// This program's own part of one request. All the time up to the first write counts: late dispatch, building and copying the
/// request, waiting for a core. Later writes of a long prompt wait for the network and the engine, which belongs to TTFT. At
/// the end of TTFT, the read lag counts if it can have changed the first token's stamp; with a kernel stamp of its own, the
/// first token keeps its time however late it is read.
fn own_ms(record: &Record) -> f64 {
    let before_write_ns = record.first_write.map_or(0, |write| write.ns_since(record.dispatched));
    let own_stamp = record.reads_without_stamp == 0 && !record.answer.first_shares_its_stamp;
    let lag_ms = if own_stamp { 0.0 } else { first_token_lag_ms(record) };
    record.lateness_s() * 1e3 + before_write_ns as f64 / 1e6 + lag_ms
}

fn first_token_lag_ms(record: &Record) -> f64 {
    record.first_token_lag_ns as f64 / 1e6
}

/// The error that the report states, from the replay before the run and from the run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatedError {
    pub replay: Option<ClientError>,
    pub run: Evidence,
}

impl StatedError {
    /// How far off a TTFT may be, 99th percentile. `None` without a replay, because the run's records do not show everything.
    pub fn ttft_ms_p99(&self) -> Option<f64> {
        Some(self.replay.as_ref()?.whole_ms_p99.max(self.run.own_ms_p99))
    }

    /// Whether the run's own error is larger than the replay's.
    pub fn is_of_run(&self) -> bool {
        self.replay
            .as_ref()
            .is_some_and(|replay| self.run.own_ms_p99 > replay.whole_ms_p99)
    }

    pub fn sentence(&self) -> String {
        match &self.replay {
            None => "not measured".to_owned(),
            Some(replay) if self.is_of_run() => format!(
                "TTFT p99 {:.1} ms (by this run; replay {:.1})",
                self.run.own_ms_p99, replay.whole_ms_p99
            ),
            Some(replay) => replay.sentence(),
        }
    }

    /// Which of the two is stated, and in what the run was busier than the replay.
    pub fn basis(&self) -> Option<String> {
        let replay = self.replay.as_ref()?;
        let busier = self.busier(replay).join("; ");
        Some(match (self.is_of_run(), busier.is_empty()) {
            (false, true) => "replay".to_owned(),
            (true, true) => "this run".to_owned(),
            (true, false) => format!("this run, busier than the replay ({busier})"),
            (false, false) => format!("replay, although this run was busier ({busier})"),
        })
    }

    fn busier(&self, replay: &ClientError) -> Vec<String> {
        let run = &self.run;
        let mut busier = Vec::new();
        if run.events_per_s > BUSIER * replay.events_per_s {
            let (ours, theirs) = (run.events_per_s, replay.events_per_s);
            busier.push(format!("{ours:.0} events/s, replay {theirs:.0}"));
        }
        if run.streams > replay.streams {
            busier.push(format!("{} streams, replay {}", run.streams, replay.streams));
        }
        for (what, ours, theirs) in [
            ("lateness", run.lateness_ms_p99, replay.lateness_ms_p99),
            ("read lag", run.first_token_lag_ms_p99, replay.first_token_lag_ms_p99),
        ] {
            if ours > BUSIER * theirs + BUSIER_MS {
                busier.push(format!("{what} p99 {ours:.1} ms, replay {theirs:.1}"));
            }
        }
        busier
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::failure::Failure;
    use crate::engine::timestamp::Stamp;

    const MS: i64 = 1_000_000;

    /// Scheduled at 0, dispatched at 1 ms, first written at 3 ms; tokens arrive at 20 ms and then every `gap_ms`. The first
    /// token was read 4 ms after it arrived.
    fn record(gap_ms: i64) -> Record {
        let mut record = Record::begin("r".into(), Stamp(0), Stamp(MS));
        record.first_write = Some(Stamp(3 * MS));
        record.sent = Some(Stamp(9 * MS));
        for token in 0..4 {
            let at = Stamp((20 + token * gap_ms) * MS);
            let event = br#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#;
            record.answer.event(event, at).unwrap();
        }
        // As the runner does.
        record.answer.gaps = Vec::new();
        record.finished = Stamp(50 * MS);
        record.first_token_lag_ns = 4_000_000;
        record
    }

    fn samples(records: Vec<Record>) -> PhaseSamples {
        PhaseSamples {
            records,
            in_flight_peak: 7,
            ..PhaseSamples::default()
        }
    }

    fn replay(whole_ms_p99: f64) -> ClientError {
        ClientError {
            whole_ms_p99,
            lateness_ms_p99: 1.0,
            first_token_lag_ms_p99: 4.0,
            events_per_s: 80.0,
            streams: 7,
            ..ClientError::default()
        }
    }

    #[test]
    fn a_late_read_counts_only_if_it_can_have_changed_the_first_stamp() {
        assert_eq!(own_ms(&record(5)), 3.0);
        assert_eq!(own_ms(&record(0)), 7.0, "the first token has the stamp of the second");
        let mut unstamped = record(5);
        unstamped.reads_without_stamp = 1;
        assert_eq!(own_ms(&unstamped), 7.0);
        let mut unwritten = record(5);
        unwritten.first_write = None;
        assert_eq!(own_ms(&unwritten), 1.0);
    }

    #[test]
    fn only_successful_requests_count() {
        let mut failed = record(0);
        failed.failure = Some(Failure::protocol("no"));
        failed.scheduled = Stamp(-900 * MS);
        let evidence = Evidence::of(&samples(vec![record(5), record(0), failed]));
        assert_eq!((evidence.own_ms_mean, evidence.lateness_ms_p99), (5.0, 1.0));
        assert!((evidence.own_ms_p99 - 6.96).abs() < 1e-9, "{evidence:?}");
        assert_eq!((evidence.first_token_lag_ms_p99, evidence.streams), (4.0, 7));
        assert_eq!(evidence.events_per_s, 240.0);
        assert_eq!(Evidence::of(&samples(Vec::new())).own_ms_p99, 0.0);
    }

    #[test]
    fn the_larger_of_the_two_errors_is_stated() {
        let run = Evidence::of(&samples(vec![record(5)]));
        let stated = |replay| StatedError { replay, run };
        let quiet = stated(Some(replay(5.0)));
        assert_eq!((quiet.ttft_ms_p99(), quiet.is_of_run()), (Some(5.0), false));
        assert!(quiet.sentence().starts_with("TTFT p99 5.0 ms (reading"));
        assert_eq!(quiet.basis().as_deref(), Some("replay"));
        let busy = stated(Some(replay(0.5)));
        assert_eq!((busy.ttft_ms_p99(), busy.is_of_run()), (Some(3.0), true));
        assert_eq!(busy.sentence(), "TTFT p99 3.0 ms (by this run; replay 0.5)");
        assert_eq!(busy.basis().as_deref(), Some("this run"));
        let mut slower = replay(0.5);
        slower.events_per_s = 20.0;
        let basis = stated(Some(slower)).basis().unwrap();
        assert_eq!(basis, "this run, busier than the replay (80 events/s, replay 20)");
        let unmeasured = stated(None);
        assert_eq!((unmeasured.ttft_ms_p99(), unmeasured.basis()), (None, None));
        assert_eq!(unmeasured.sentence(), "not measured");
    }

    #[test]
    fn everything_in_which_the_run_was_busier_is_named() {
        let run = Evidence::of(&samples(vec![record(5)]));
        let basis = |change: fn(&mut ClientError)| {
            let mut replay = replay(9.0);
            change(&mut replay);
            StatedError {
                replay: Some(replay),
                run,
            }
            .basis()
            .unwrap()
        };
        for (change, named) in [
            (
                (|replay| replay.events_per_s = 70.0) as fn(&mut ClientError),
                "80 events/s, replay 70",
            ),
            (|replay| replay.streams = 6, "7 streams, replay 6"),
            (|replay| replay.lateness_ms_p99 = 0.8, "lateness p99 1.0 ms, replay 0.8"),
            (
                |replay| replay.first_token_lag_ms_p99 = 3.0,
                "read lag p99 4.0 ms, replay 3.0",
            ),
        ] {
            assert_eq!(basis(change), format!("replay, although this run was busier ({named})"));
        }
        // Two replays differ by this much.
        let alike = |replay: &mut ClientError| {
            replay.events_per_s = 75.0;
            replay.lateness_ms_p99 = 0.9;
        };
        assert_eq!(basis(alike), "replay");
    }
}
