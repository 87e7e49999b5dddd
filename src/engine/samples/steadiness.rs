//! Whether a phase is in steady state, by the rule of `load/steady` over seconds: requests that end, and their mean latency, each
//! in the second in which the request ended.

use std::time::Duration;

use super::phase::Ended;
use crate::engine::timestamp::Stamp;
use crate::load::steady::{Kind, Part, Rule, Steady, Verdict};

const SECOND: Duration = Duration::from_secs(1);
/// A request that ended is known to the runner after this time at the latest.
const REPORTED_WITHIN: Duration = Duration::from_millis(200);
/// Seconds that are kept for reports that come late.
const SECONDS_MAX: usize = 86_400;

#[derive(Clone, Debug)]
pub struct Steadiness {
    steady: Steady,
    from: Stamp,
    /// The requests that ended in each second, with the sum of their latencies.
    ended: Vec<Part>,
    /// Seconds that the rule has seen.
    seen: usize,
}

impl Steadiness {
    /// Seconds count from `from`; windows have `window_s` of them.
    pub fn new(from: Stamp, window_s: usize) -> Steadiness {
        let rule = Rule {
            window: window_s,
            ..Rule::default()
        };
        let quantities = [("finished requests", Kind::Rate), ("latency", Kind::Mean)];
        Steadiness {
            steady: Steady::new(rule, &quantities),
            from,
            ended: Vec::new(),
            seen: 0,
        }
    }

    /// That of a phase which is over: `until` is its end.
    pub fn of(ended: impl Iterator<Item = Ended>, from: Stamp, until: Stamp, window_s: usize) -> Steadiness {
        let mut steadiness = Steadiness::new(from, window_s);
        steadiness.extend(ended);
        steadiness.see_until(until);
        steadiness
    }

    /// Requests have ended. Those that ended before the first second do not count.
    pub fn extend(&mut self, ended: impl IntoIterator<Item = Ended>) {
        for Ended { at, latency_s } in ended {
            let second = at.seconds_since(self.from);
            if second < 0.0 || second >= SECONDS_MAX as f64 {
                continue;
            }
            let second = second as usize;
            if second >= self.ended.len() {
                self.ended.resize(second + 1, Part::default());
            }
            self.ended[second].sum += latency_s;
            self.ended[second].count += 1;
        }
    }

    /// Whether the phase is steady `now`, by the seconds that are complete.
    pub fn is_steady(&mut self, now: Stamp) -> bool {
        let complete = i64::try_from(REPORTED_WITHIN.as_nanos()).unwrap_or(i64::MAX);
        self.see_until(Stamp(now.0.saturating_sub(complete)));
        self.steady.is_steady()
    }

    /// When the first steady window began, if all later ones were steady too.
    pub fn since(&self) -> Option<Stamp> {
        let seconds = u32::try_from(self.steady.verdict().since?).unwrap_or(u32::MAX);
        Some(self.from.plus(SECOND * seconds))
    }

    pub fn verdict(&self) -> Verdict {
        self.steady.verdict()
    }

    /// Shows the rule the seconds that end by `until`.
    fn see_until(&mut self, until: Stamp) {
        let complete = until.seconds_since(self.from).max(0.0) as usize;
        while self.seen < complete.min(SECONDS_MAX) {
            let part = self.ended.get(self.seen).copied().unwrap_or_default();
            let ended = Part {
                sum: part.count as f64,
                count: part.count,
            };
            self.steady.push(&[ended, part]);
            self.seen += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const SECOND_NS: i64 = 1_000_000_000;

    /// Ten requests in each second, of 100 ms, and of 300 ms from `slow_from` on.
    fn phase(seconds: i64, slow_from: i64) -> impl Iterator<Item = Ended> {
        (0..seconds * 10).map(move |number| {
            let end = number * SECOND_NS / 10;
            Ended {
                at: Stamp(end),
                latency_s: if end < slow_from * SECOND_NS { 0.1 } else { 0.3 },
            }
        })
    }

    fn at(seconds: i64) -> Stamp {
        Stamp(seconds * SECOND_NS)
    }

    #[test]
    fn an_even_load_is_steady_from_its_beginning_on() {
        let steady = Steadiness::of(phase(12, 100), at(0), at(12), 10);
        assert_eq!((steady.since(), steady.verdict().reason), (Some(at(0)), None));
        let short = Steadiness::of(phase(9, 100), at(0), at(9), 10);
        assert_eq!(short.since(), None);
        let reason = short.verdict().reason.unwrap().to_string();
        assert_eq!(reason, "the run has 9 s, and a window is 10 s long");
    }

    #[test]
    fn a_step_in_the_latency_is_not_steady_until_a_window_is_behind_it() {
        let mid = Steadiness::of(phase(30, 15), at(0), at(20), 10);
        assert!(mid.since().is_none() && mid.verdict().reason.unwrap().to_string().starts_with("latency "));
        assert_eq!(Steadiness::of(phase(30, 15), at(0), at(30), 10).since(), Some(at(15)));
    }

    #[test]
    fn while_a_phase_runs_only_complete_seconds_count() {
        let mut steadiness = Steadiness::new(at(0), 5);
        steadiness.extend(phase(5, 100));
        assert!(!steadiness.is_steady(at(5)), "the fifth second may lack a report");
        assert!(steadiness.is_steady(at(5).plus(REPORTED_WITHIN)));
    }
}
