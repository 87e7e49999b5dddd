//! The figures that the reference does not report: distributions over requests and gaps between tokens, failures, traffic, and
//! the load that this program caused. Computed once, after the phase. Definitions: docs/measurement.md.

use std::collections::BTreeMap;

use super::figures::Spread;
use super::steady::{self, SteadyWindow};
use crate::engine::failure::FailureClass;
use crate::engine::samples::phase::PhaseSamples;
use crate::engine::samples::record::Record;
use crate::stats::percentile::{linear, linear_unsorted};
use crate::stats::summary::mean;

/// Most failure messages in the report.
const MESSAGES_MAX: usize = 5;
/// Most finish reasons in the report; engines have about ten.
const REASONS_MAX: usize = 10;

/// A summary of samples, with percentiles by linear interpolation; zeros without samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    pub count: usize,
    pub spread: Spread,
    pub max: f64,
}

impl Distribution {
    pub(super) fn of(values: impl Iterator<Item = f64>, scale: f64) -> Distribution {
        let mut values: Vec<f64> = values.map(|value| value * scale).collect();
        values.sort_by(f64::total_cmp);
        Distribution::of_sorted(&values)
    }

    fn of_sorted(sorted: &[f64]) -> Distribution {
        let Some(max) = sorted.last() else {
            return Distribution::default();
        };
        Distribution {
            count: sorted.len(),
            spread: Spread::of_sorted(mean(sorted), sorted),
            max: *max,
        }
    }
}

/// Distributions are over successful requests unless stated otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detail {
    pub ttft_ms: Distribution,
    /// Time to the first output; `None` if no answer begins with reasoning, because it equals TTFT then.
    pub ttfo_ms: Option<Distribution>,
    /// TTFT from the scheduled time; only in a run with a schedule.
    pub scheduled_ttft_ms: Option<Distribution>,
    /// Latency from the scheduled time to the last token; only in a run with a schedule.
    pub scheduled_latency_ms: Option<Distribution>,
    pub tpot_ms: Distribution,
    pub itl_ms: Distribution,
    /// Dispatch to the last token.
    pub latency_ms: Distribution,
    /// Mean of 1/TPOT over requests, in tokens per second.
    pub decode_mean: Option<f64>,
    /// First percentile of the same: the slow end.
    pub decode_p1: Option<f64>,
    pub tokens_per_event: Option<f64>,
    pub cached_tokens: Option<u64>,
    pub cached_share: Option<f64>,
    pub assumed_first_tokens: u64,
    /// Successful answers for which the engine reported no usage.
    pub without_usage: u64,
    /// Successful answers that were buffered on the way; they are in neither TPOT nor ITL.
    pub buffered: u64,
    /// Tokens beyond one per event in answers whose first event has an unknown number of tokens.
    pub unplaced_tokens: u64,
    /// Number of answers with an impossible count, and the first such count.
    pub impossible_counts: Option<(u64, String)>,
    /// Answers per finish reason, failed ones too, most frequent first.
    pub finish_reasons: Vec<(String, u64)>,
    pub steady: Option<SteadyWindow>,
    pub failures: BTreeMap<FailureClass, u64>,
    /// Failure messages with their number, most frequent first.
    pub messages: Vec<(String, u64)>,
    pub in_flight_peak: u64,
    pub cut_off: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub connections_reused: u64,
    pub connections_opened: u64,
    pub connect_ms_max: Option<f64>,
    pub reads: u64,
    pub reads_without_stamp: u64,
    pub first_token_lag_ms_p99: f64,
    pub lag_ms_mean: f64,
    /// Over all requests, failed ones too.
    pub lateness_ms: Distribution,
    pub cpu_percent: f64,
    pub cpu_us_per_event: Option<f64>,
    pub wall_step_ms: f64,
}

impl Detail {
    /// `paced`: requests have a schedule, independent of when the engine answers.
    pub fn of(samples: &PhaseSamples, paced: bool) -> Detail {
        let records = &samples.records;
        let good: Vec<&Record> = records.iter().filter(|record| record.succeeded()).collect();
        let each = |value: fn(&Record) -> Option<f64>| good.iter().filter_map(move |record| value(record));
        let mut detail = Detail {
            ttft_ms: Distribution::of(each(|record| Some(record.ttft_s())), 1e3),
            ttfo_ms: differs(&good).then(|| Distribution::of(each(Record::ttfo_s), 1e3)),
            scheduled_ttft_ms: paced.then(|| Distribution::of(each(Record::scheduled_ttft_s), 1e3)),
            scheduled_latency_ms: paced.then(|| Distribution::of(each(Record::scheduled_latency_s), 1e3)),
            tpot_ms: Distribution::of(each(Record::tpot_s), 1e3),
            itl_ms: Distribution::of_sorted(&samples.gaps.sorted_ms()),
            latency_ms: Distribution::of(each(Record::token_latency_s), 1e3),
            steady: steady::window(&good),
            in_flight_peak: samples.in_flight_peak,
            cut_off: samples.cut_off,
            connections_opened: samples.connections_opened,
            wall_step_ms: samples.wall_step.as_secs_f64() * 1e3,
            ..Detail::default()
        };
        detail.add_tokens(&good);
        detail.add_failures(records);
        detail.add_endings(records);
        detail.add_traffic(records);
        detail.add_client(samples, &good);
        detail
    }

    fn add_tokens(&mut self, good: &[&Record]) {
        let mut speeds: Vec<f64> = good
            .iter()
            .filter_map(|record| record.tpot_s())
            .map(f64::recip)
            .collect();
        speeds.retain(|speed| speed.is_finite());
        speeds.sort_by(f64::total_cmp);
        if !speeds.is_empty() {
            self.decode_mean = Some(mean(&speeds));
            self.decode_p1 = Some(linear(&speeds, 1.0));
        }
        let with_events = || good.iter().filter(|record| record.answer.token_events > 0);
        let events: u64 = with_events().map(|record| record.answer.token_events).sum();
        let tokens: u64 = with_events().map(|record| record.output_tokens()).sum();
        self.tokens_per_event = (events > 0).then(|| tokens as f64 / events as f64);
        let reporting = || good.iter().filter(|record| record.cached_tokens().is_some());
        if reporting().next().is_some() {
            let cached: u64 = reporting().filter_map(|record| record.cached_tokens()).sum();
            let prompts: u64 = reporting().map(|record| record.input_tokens()).sum();
            self.cached_tokens = Some(cached);
            self.cached_share = (prompts > 0).then(|| cached as f64 / prompts as f64);
        }
        self.assumed_first_tokens = count(good, |record| record.first_token_is_assumed());
        self.without_usage = count(good, |record| record.answer.usage.completion_tokens.is_none());
        self.buffered = count(good, |record| record.is_buffered());
        self.unplaced_tokens = good.iter().map(|record| record.unplaced_tokens()).sum();
    }

    fn add_endings(&mut self, records: &[Record]) {
        let impossible = || {
            records
                .iter()
                .filter_map(|record| record.answer.impossible_count.as_ref())
        };
        self.impossible_counts = impossible()
            .next()
            .map(|first| (impossible().count() as u64, first.clone()));
        let reasons = records.iter().filter_map(|record| record.answer.finish_reason.clone());
        self.finish_reasons = most_frequent(reasons, REASONS_MAX);
    }

    fn add_failures(&mut self, records: &[Record]) {
        let failures = || records.iter().filter_map(Record::why_failed);
        for failure in failures() {
            *self.failures.entry(failure.class).or_default() += 1;
        }
        self.messages = most_frequent(failures().map(|failure| failure.text), MESSAGES_MAX);
    }

    fn add_traffic(&mut self, records: &[Record]) {
        self.bytes_sent = records.iter().map(|record| record.bytes_sent).sum();
        self.bytes_received = records.iter().map(|record| record.bytes_received).sum();
        let on_open = |record: &&Record| record.connect_ns == 0 && record.sent.is_some();
        self.connections_reused = records.iter().filter(on_open).count() as u64;
        let slowest = records
            .iter()
            .map(|record| record.connect_ns)
            .max()
            .filter(|ns| *ns > 0);
        self.connect_ms_max = slowest.map(|ns| ns as f64 / 1e6);
        self.reads = records.iter().map(|record| record.reads).sum();
        self.reads_without_stamp = records.iter().map(|record| record.reads_without_stamp).sum();
    }

    fn add_client(&mut self, samples: &PhaseSamples, good: &[&Record]) {
        let lags_ms = good.iter().map(|record| record.first_token_lag_ns as f64 / 1e9 * 1e3);
        self.first_token_lag_ms_p99 = linear_unsorted(lags_ms.collect(), 99.0);
        self.lateness_ms = Distribution::of(samples.records.iter().map(Record::lateness_s), 1e3);
        let lag_ns: u64 = samples.records.iter().map(|record| record.lag_ns_sum).sum();
        if self.reads > 0 {
            self.lag_ms_mean = lag_ns as f64 / self.reads as f64 / 1e6;
        }
        let seconds = samples.ended.seconds_since(samples.began);
        if seconds > 0.0 {
            self.cpu_percent = samples.cpu.as_secs_f64() / seconds * 100.0;
        }
        let measured: u64 = samples.records.iter().map(|record| record.answer.token_events).sum();
        let events = measured + samples.unmeasured.token_events;
        self.cpu_us_per_event = (events > 0).then(|| samples.cpu.as_secs_f64() * 1e6 / events as f64);
    }

    /// The source of arrival stamps, for the report.
    pub fn stamps(&self) -> &'static str {
        match self.reads_without_stamp {
            0 => "kernel",
            some if some == self.reads => "after the read",
            _ => "kernel, some after the read",
        }
    }
}

/// Counts equal texts: the `limit` most frequent, in descending order.
fn most_frequent(texts: impl Iterator<Item = String>, limit: usize) -> Vec<(String, u64)> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    texts.for_each(|text| *counts.entry(text).or_default() += 1);
    let mut sorted: Vec<(String, u64)> = counts.into_iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    sorted.truncate(limit);
    sorted
}

fn count(records: &[&Record], is: impl Fn(&Record) -> bool) -> u64 {
    records.iter().filter(|record| is(record)).count() as u64
}

/// Whether any answer begins with text that is not output.
fn differs(records: &[&Record]) -> bool {
    let hidden = |record: &&&Record| record.answer.first_token != record.answer.first_output;
    records.iter().any(|record| hidden(&record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::failure::Failure;
    use crate::engine::timestamp::Stamp;

    const MS: i64 = 1_000_000;

    /// Tokens at 10 ms and then every `gap_ms`, and a usage that counts `cached` of 100 prompt tokens.
    fn record(gap_ms: i64, tokens: i64, cached: u64) -> Record {
        let mut record = Record::begin("r".into(), Stamp(0), Stamp(0));
        for token in 0..tokens {
            let at = Stamp((10 + token * gap_ms) * MS);
            record
                .answer
                .event(br#"{"choices":[{"delta":{"content":"a"}}]}"#, at)
                .unwrap();
            record.finished = at;
        }
        let usage = format!(
            r#"{{"choices":[],"usage":{{"prompt_tokens":100,"completion_tokens":{tokens},
                "prompt_tokens_details":{{"cached_tokens":{cached}}}}}}}"#
        );
        record.answer.event(usage.as_bytes(), record.finished).unwrap();
        record.reads = 10;
        record
    }

    fn samples(records: Vec<Record>) -> PhaseSamples {
        let mut samples = PhaseSamples::default();
        for record in records {
            samples.gaps.add(&record);
            samples.records.push(record);
        }
        samples
    }

    #[test]
    fn failures_are_counted_and_excluded_from_latencies() {
        let mut failed = record(1, 5, 0);
        failed.failure = Some(Failure::new(FailureClass::Timeout, "late"));
        let detail = Detail::of(&samples(vec![record(5, 3, 40), failed.clone(), failed]), false);
        assert_eq!(
            detail.failures.into_iter().collect::<Vec<_>>(),
            [(FailureClass::Timeout, 2)]
        );
        assert_eq!(detail.messages, [("late".to_owned(), 2)]);
        assert_eq!(
            (detail.ttft_ms.count, detail.itl_ms.count, detail.tpot_ms.spread.mean),
            (1, 2, 5.0)
        );
        assert_eq!((detail.cached_tokens, detail.cached_share), (Some(40), Some(0.4)));
    }

    #[test]
    fn p1_of_the_decode_speed_is_the_slow_end() {
        let detail = Detail::of(&samples(vec![record(5, 11, 0), record(10, 11, 0)]), false);
        assert_eq!(detail.decode_mean, Some(150.0));
        assert_eq!(detail.decode_p1, Some(101.0));
        assert_eq!(detail.itl_ms.spread.p50, 7.5);
        assert!(detail.ttfo_ms.is_none() && detail.scheduled_ttft_ms.is_none());
    }

    #[test]
    fn without_requests_there_is_no_division_by_zero() {
        let detail = Detail::of(&PhaseSamples::default(), true);
        assert_eq!(
            (detail.ttft_ms.count, detail.decode_mean, detail.cached_tokens),
            (0, None, None)
        );
        assert_eq!(
            (detail.lag_ms_mean, detail.cpu_percent, detail.cpu_us_per_event),
            (0.0, 0.0, None)
        );
    }
}
