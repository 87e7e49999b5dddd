//! Whether one probe of a search passed: does the system under test hold this load within its limits?

use std::fmt;

use super::slo::{Holding, Limit, Verdict};

/// The least share of the offered load that must have been achieved.
const ACHIEVED_MIN: f64 = 0.98;
/// Requests in flight at the beginning of the window end in it, and those at its end do not. Where arrivals are random these are
/// two draws from a distribution like Poisson's: their difference is below so many roots of the mean, nearly always.
const ROOTS: f64 = 2.0;
/// Samples behind a percentile, at least: the share beyond it must be of ten.
const BEYOND_MIN: f64 = 10.0;
/// From the second fifth to the last, the lag may grow by this share of the shortest limit.
const LAG_GROWTH_MAX: f64 = 0.1;

/// What was measured in the window of one probe.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// One for each limit of the search, all of them on percentiles (`Slo::with_percentile`).
    pub verdicts: &'a [Verdict],
    /// The shortest limit in seconds.
    pub limit_s: f64,
    pub errors: u64,
    /// Requests that were due in the window; `None` in a closed loop. Not rate x time, from which a random process differs.
    pub offered: Option<u64>,
    /// Requests that ended in the window.
    pub achieved: u64,
    /// Requests in flight, on average.
    pub in_flight: f64,
    /// By how many of them the window must have ended with more than it began with (see [`growth`]).
    pub growth: f64,
    /// When requests were due in seconds since the begin of the window, and how long after that they were dispatched.
    pub lags_s: &'a [(f64, f64)],
    pub window_s: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Passed,
    Failed(Reason),
    /// All limits held, on too few samples to say so. A window of so many seconds would have had enough.
    TooFew {
        limit: Limit,
        samples: u64,
        needed: u64,
        needed_s: f64,
    },
}

impl Outcome {
    pub fn is_passed(&self) -> bool {
        *self == Outcome::Passed
    }

    /// Whether nothing was wrong, on however few samples.
    pub fn has_held(&self) -> bool {
        !matches!(self, Outcome::Failed(_))
    }
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    Errors {
        count: u64,
    },
    Limit {
        limit: Limit,
        seconds: f64,
    },
    NoSamples {
        limit: Limit,
    },
    Achieved {
        offered: u64,
        achieved: u64,
    },
    /// Mean lag of the second and the last fifth, and the most that the last may be.
    Lag {
        early_s: f64,
        late_s: f64,
        most_s: f64,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Passed => f.write_str("every limit held"),
            Outcome::Failed(reason) => reason.fmt(f),
            Outcome::TooFew {
                limit,
                samples,
                needed,
                needed_s,
            } => {
                let plural = if *samples == 1 { "" } else { "s" };
                write!(
                    f,
                    "{limit} held on {samples} sample{plural}, but {needed} are needed: measure for {:.0} s",
                    needed_s.ceil()
                )
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Errors { count: 1 } => f.write_str("1 request failed"),
            Reason::Errors { count } => write!(f, "{count} requests failed"),
            Reason::Limit { limit, seconds } if seconds.is_finite() => {
                write!(f, "{limit} was broken with {:.1} ms", seconds * 1e3)
            }
            Reason::Limit { limit, .. } => write!(f, "{limit} was broken by requests that failed or were never sent"),
            Reason::NoSamples { limit } => write!(f, "{limit} has no sample: no measured answer has this metric"),
            Reason::Achieved { offered, achieved } => write!(
                f,
                "{achieved} requests ended while {offered} were due, less than {:.0} %",
                ACHIEVED_MIN * 100.0
            ),
            Reason::Lag {
                early_s,
                late_s,
                most_s,
            } => write!(
                f,
                "requests were sent ever later: {:.1} ms in the second fifth, {:.1} ms in the last, at most {:.1} ms",
                early_s * 1e3,
                late_s * 1e3,
                most_s * 1e3
            ),
        }
    }
}

/// By how much the requests in flight grow in a window although the system keeps up: it began before answers had come for as long
/// as an answer takes. `latencies_s` are those of requests early in the window, where a system that falls behind is least so.
pub fn growth(latencies_s: &[f64], per_second: f64, lead_in_s: f64, window_s: f64) -> f64 {
    let grown_s = |latency_s: &f64| latency_s.min(lead_in_s + window_s) - latency_s.min(lead_in_s);
    match latencies_s.len() {
        0 => 0.0,
        count => per_second * latencies_s.iter().map(grown_s).sum::<f64>() / count as f64,
    }
}

/// A probe passes if no request failed, every limit holds, nearly all that was due has ended (see [`missing_max`]), the lag does
/// not grow, and every percentile p is over at least 10 / (1 - p) samples. One in which nothing was due says nothing yet.
pub fn judge(evidence: &Evidence) -> Outcome {
    if evidence.errors > 0 {
        return Outcome::Failed(Reason::Errors { count: evidence.errors });
    }
    let is_empty = evidence.offered == Some(0);
    if let Some(reason) = evidence.verdicts.iter().filter(|_| !is_empty).find_map(broken) {
        return Outcome::Failed(reason);
    }
    let achieved = evidence.achieved;
    if let Some(offered) = evidence.offered
        && offered.saturating_sub(achieved) as f64 > missing_max(evidence, offered)
    {
        return Outcome::Failed(Reason::Achieved { offered, achieved });
    }
    if let Some(reason) = growing_lag(evidence) {
        return Outcome::Failed(reason);
    }
    let mut most_wanting: Option<(f64, &Verdict)> = None;
    for verdict in evidence.verdicts {
        let factor = samples_needed(verdict) as f64 / verdict.samples.max(1) as f64;
        if factor > most_wanting.map_or(1.0, |(most, _)| most) {
            most_wanting = Some((factor, verdict));
        }
    }
    match most_wanting {
        None => Outcome::Passed,
        Some((factor, verdict)) => Outcome::TooFew {
            limit: verdict.limit.clone(),
            samples: verdict.samples,
            needed: samples_needed(verdict),
            needed_s: evidence.window_s * factor,
        },
    }
}

/// How many requests fewer may have ended than were due: 2 % of them, or what two random numbers of requests in flight can differ
/// by, and besides by how much those in flight had to grow.
fn missing_max(evidence: &Evidence, offered: u64) -> f64 {
    let share = (1.0 - ACHIEVED_MIN) * offered as f64;
    // 2 % of 1000 is 20, whatever the rounding.
    share.max(1.0 + ROOTS * evidence.in_flight.sqrt()) + evidence.growth + 1e-9
}

fn broken(verdict: &Verdict) -> Option<Reason> {
    let limit = verdict.limit.clone();
    match verdict.holding {
        Holding::Kept => None,
        Holding::Broken => Some(Reason::Limit {
            limit,
            seconds: verdict.seconds,
        }),
        Holding::NoSamples => Some(Reason::NoSamples { limit }),
    }
}

/// 10 / (1 - p): 1000 for p99. The maximum (p100) has no share beyond it and needs ten.
fn samples_needed(verdict: &Verdict) -> u64 {
    let beyond = 1.0 - verdict.limit.percentile.unwrap_or(0.0) / 100.0;
    if beyond <= 0.0 {
        return BEYOND_MIN as u64;
    }
    // 10 / 0.01 is 1000 and a little.
    (BEYOND_MIN / beyond - 1e-6).ceil() as u64
}

/// Compares the mean lag of the last fifth of the window with that of the second one, the first being that of the start.
fn growing_lag(evidence: &Evidence) -> Option<Reason> {
    let fifth_s = evidence.window_s / 5.0;
    let mean_in = |fifth: f64| {
        let range = fifth * fifth_s..(fifth + 1.0) * fifth_s;
        let lags = evidence.lags_s.iter().filter(|(due_s, _)| range.contains(due_s));
        let (count, sum) = lags.fold((0u64, 0.0), |(count, sum), (_, lag_s)| (count + 1, sum + lag_s));
        (count > 0).then(|| sum / count as f64)
    };
    let (early_s, late_s) = (mean_in(1.0)?, mean_in(4.0)?);
    let most_s = early_s + LAG_GROWTH_MAX * evidence.limit_s;
    (late_s > most_s).then_some(Reason::Lag {
        early_s,
        late_s,
        most_s,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::slo::{Metric, Slo};

    fn verdicts(text: &str, samples: usize) -> Vec<Verdict> {
        let mut slo = Slo::default();
        slo.add(text).unwrap();
        slo.verdicts(
            |metric| match metric {
                Metric::Tpot => Vec::new(),
                _ => vec![0.5; samples],
            },
            0,
        )
    }

    fn evidence(verdicts: &[Verdict]) -> Evidence<'_> {
        Evidence {
            verdicts,
            limit_s: 1.0,
            errors: 0,
            offered: Some(1000),
            achieved: 990,
            in_flight: 1.0,
            growth: 0.0,
            lags_s: &[],
            window_s: 10.0,
        }
    }

    #[test]
    fn a_probe_passes_only_if_nothing_is_wrong() {
        let held = verdicts("ttft.p99=1s,e2el.p50=501ms", 1000);
        assert_eq!(judge(&evidence(&held)), Outcome::Passed);
        let said = |evidence: Evidence| judge(&evidence).to_string();
        assert_eq!(said(evidence(&held)), "every limit held");
        let failed = Evidence {
            errors: 2,
            ..evidence(&held)
        };
        assert_eq!(said(failed), "2 requests failed");
        assert_eq!(
            said(evidence(&verdicts("ttft.p99=1s,e2el.p50=499ms", 1000))),
            "e2el.p50=499ms was broken with 500.0 ms"
        );
        assert_eq!(
            said(evidence(&verdicts("tpot.p50=1s", 1000))),
            "tpot.p50=1s has no sample: no measured answer has this metric"
        );
        let slow = Evidence {
            achieved: 979,
            ..evidence(&held)
        };
        assert_eq!(said(slow), "979 requests ended while 1000 were due, less than 98 %");
        let edge = Evidence {
            achieved: 980,
            ..evidence(&held)
        };
        assert_eq!(judge(&edge), Outcome::Passed);
        let busy = Evidence {
            achieved: 960,
            in_flight: 400.0,
            ..evidence(&held)
        };
        assert_eq!(judge(&busy), Outcome::Passed, "the ends of the window explain 41");
        let long = Evidence {
            achieved: 700,
            growth: 280.0,
            ..evidence(&held)
        };
        assert_eq!(judge(&long), Outcome::Passed, "answers take longer than the lead-in");
        let empty = verdicts("ttft.p99=1s", 0);
        let nothing_due = Evidence {
            offered: Some(0),
            achieved: 0,
            ..evidence(&empty)
        };
        assert!(matches!(judge(&nothing_due), Outcome::TooFew { samples: 0, .. }));
        let closed = Evidence {
            offered: None,
            achieved: 1,
            ..evidence(&held)
        };
        assert_eq!(judge(&closed), Outcome::Passed, "a closed loop offers what it achieves");
    }

    #[test]
    fn requests_in_flight_grow_as_long_as_answers_take_longer_than_the_lead_in() {
        // 2 requests/s of 20 s: 10 are in flight after 5 s, 40 from 20 s on.
        assert_eq!(growth(&[20.0], 2.0, 5.0, 30.0), 30.0);
        assert_eq!(growth(&[20.0], 2.0, 20.0, 30.0), 0.0);
        assert_eq!(growth(&[20.0, 1.0], 2.0, 0.0, 10.0), 11.0);
        assert_eq!(growth(&[], 2.0, 5.0, 30.0), 0.0);
    }

    #[test]
    fn percentiles_need_ten_samples_beyond_them() {
        let outcome = judge(&evidence(&verdicts("ttft.p99=1s,e2el.p50=1s", 999)));
        assert!(
            matches!(
                outcome,
                Outcome::TooFew {
                    samples: 999,
                    needed: 1000,
                    ..
                }
            ),
            "{outcome:?}"
        );
        let outcome = judge(&evidence(&verdicts("e2el.p50=1s,ttft.p99.9=1s,itl.p99=1s", 500)));
        assert_eq!(
            outcome.to_string(),
            "ttft.p99.9=1s held on 500 samples, but 10000 are needed: measure for 200 s"
        );
        assert!(outcome.has_held() && !outcome.is_passed());
        // Too few to pass, yet enough to fail.
        let broken = judge(&evidence(&verdicts("ttft.p99=1ms", 5)));
        assert!(matches!(broken, Outcome::Failed(Reason::Limit { .. })) && !broken.has_held());
        for (percentile, needed) in [(50, 20), (90, 100), (95, 200), (100, 10)] {
            let verdict = &verdicts(&format!("ttft.p{percentile}=1s"), 5)[0];
            assert_eq!(samples_needed(verdict), needed, "p{percentile}");
        }
    }

    #[test]
    fn lag_may_be_there_but_not_grow() {
        let held = verdicts("ttft.p99=1s", 1000);
        let with = |lag: fn(f64) -> f64| {
            let lags: Vec<(f64, f64)> = (0..100)
                .map(|n| f64::from(n) / 10.0)
                .map(|due| (due, lag(due)))
                .collect();
            judge(&Evidence {
                lags_s: &lags,
                ..evidence(&held)
            })
        };
        assert_eq!(with(|_| 5.0), Outcome::Passed);
        assert_eq!(
            with(|due| if due < 2.0 { 0.0 } else { 5.0 }),
            Outcome::Passed,
            "the first fifth is the start"
        );
        assert_eq!(with(|due| due * 0.016), Outcome::Passed, "0.096 s in six seconds");
        let growing = with(|due| due * 0.018);
        assert!(matches!(growing, Outcome::Failed(Reason::Lag { .. })), "{growing:?}");
        assert_eq!(
            with(|due| if due < 5.0 { 0.001 } else { 0.25 }).to_string(),
            "requests were sent ever later: 1.0 ms in the second fifth, 250.0 ms in the last, at most 101.0 ms"
        );
    }

    #[test]
    fn failures_that_reach_a_percentile_are_named_as_such() {
        let mut slo = Slo::default();
        slo.add("ttft.p99=1s").unwrap();
        let verdicts = slo.verdicts(|_| vec![0.1; 10], 10);
        assert_eq!(
            judge(&evidence(&verdicts)).to_string(),
            "ttft.p99=1s was broken by requests that failed or were never sent"
        );
    }
}
