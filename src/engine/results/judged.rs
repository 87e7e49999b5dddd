//! The service level objectives of a run: which requests kept them, and whether its percentiles do. In an open loop TTFT and
//! latency count from the schedule, since a limit is a promise to users, who wait from there on.

use crate::engine::samples::phase::PhaseSamples;
use crate::engine::samples::record::Record;
use crate::load::slo::{Goodput, Holding, Latencies, Metric, Slo, Verdict};

#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub slo: Slo,
    /// Whether times count from the schedule.
    pub from_schedule: bool,
    /// `None` without a limit on requests.
    pub goodput: Option<Goodput>,
    /// One for each limit on a percentile.
    pub verdicts: Vec<Verdict>,
}

impl Judged {
    /// `unsent` requests were due and never sent; they count as failed. Goodput is per second of `elapsed_s`.
    pub fn of(slo: &Slo, samples: &PhaseSamples, is_paced: bool, unsent: u64, elapsed_s: f64) -> Option<Judged> {
        if slo.limits.is_empty() {
            return None;
        }
        let records = &samples.records;
        let of_request = |record: &Record| record.succeeded().then(|| latencies(record, is_paced));
        let never = std::iter::repeat_n(None, usize::try_from(unsent).unwrap_or(usize::MAX));
        let failed = records.iter().filter(|record| !record.succeeded()).count() as u64;
        let sorted = |metric| {
            let mut seconds: Vec<f64> = match metric {
                Metric::Itl => samples.gaps.seconds().collect(),
                _ => records
                    .iter()
                    .filter_map(|record| of_request(record)?.of(metric))
                    .collect(),
            };
            seconds.sort_by(f64::total_cmp);
            seconds
        };
        Some(Judged {
            slo: slo.clone(),
            from_schedule: is_paced,
            goodput: slo.goodput(records.iter().map(of_request).chain(never), elapsed_s),
            verdicts: slo.verdicts(sorted, failed + unsent),
        })
    }

    /// The sentences about criteria that do not hold, for stderr.
    pub fn broken(&self) -> Vec<String> {
        let broken = self.verdicts.iter().filter(|verdict| verdict.holding != Holding::Kept);
        let sentence = |verdict: &Verdict| match verdict.holding {
            Holding::NoSamples => format!(
                "--slo {} has no sample: no measured answer has this metric",
                verdict.limit
            ),
            _ if verdict.seconds.is_finite() => {
                format!("--slo {} is broken: {:.1} ms", verdict.limit, verdict.seconds * 1e3)
            }
            _ => format!(
                "--slo {} is broken by requests that failed or were never sent",
                verdict.limit
            ),
        };
        broken.map(sentence).collect()
    }
}

/// Of a request that succeeded.
fn latencies(record: &Record, is_paced: bool) -> Latencies {
    let (ttft, e2el) = match is_paced {
        true => (record.scheduled_ttft_s(), record.scheduled_latency_s()),
        false => (Some(record.ttft_s()), record.token_latency_s()),
    };
    Latencies {
        ttft,
        tpot: record.tpot_s(),
        itl: record.longest_gap_s,
        e2el,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::failure::{Failure, FailureClass};
    use crate::engine::timestamp::Stamp;
    use std::time::Duration;

    const MS: i64 = 1_000_000;

    /// Ten requests, due at 0 and sent 100 ms later, with a token after 50 ms; the last one failed.
    fn samples() -> PhaseSamples {
        let mut samples = PhaseSamples::default();
        for number in 0..10 {
            let mut record = Record::begin("r".into(), Stamp(0), Stamp(100 * MS));
            record.slot_wait = Duration::from_millis(100);
            record.finished = Stamp(150 * MS);
            let event = br#"{"choices":[{"delta":{"content":"a"}}]}"#;
            record.answer.event(event, record.finished).unwrap();
            if number == 9 {
                record.failure = Some(Failure::new(FailureClass::Timeout, "late"));
            }
            samples.records.push(record);
        }
        samples
    }

    fn slo(text: &str) -> Slo {
        let mut slo = Slo::default();
        slo.add(text).unwrap();
        slo
    }

    #[test]
    fn in_an_open_loop_limits_count_from_the_schedule() {
        let of = |paced| {
            Judged::of(&slo("ttft=100ms"), &samples(), paced, 0, 2.0)
                .unwrap()
                .goodput
                .unwrap()
        };
        assert_eq!((of(false).good, of(false).total, of(false).per_second), (9, 10, 4.5));
        assert_eq!(of(true).good, 0);
    }

    #[test]
    fn what_failed_or_was_never_sent_breaks_percentiles() {
        let of = |text: &str, unsent| Judged::of(&slo(text), &samples(), false, unsent, 1.0).unwrap();
        assert_eq!(of("ttft.p50=60ms", 0).broken(), Vec::<String>::new());
        assert_eq!(
            of("ttft.p50=40ms", 0).broken(),
            ["--slo ttft.p50=40ms is broken: 50.0 ms"]
        );
        assert_eq!(of("ttft.p99=60ms", 0).broken().len(), 1, "one of ten failed");
        assert_eq!(of("ttft.p50=60ms", 30).broken().len(), 1);
        assert_eq!(of("ttft=60ms", 30).goodput.unwrap().total, 40);
        assert_eq!(Judged::of(&Slo::default(), &samples(), false, 0, 1.0), None);
    }
}
