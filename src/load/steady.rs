//! When a run is in steady state: over a window, cut into five equal rounds, every observed quantity stays within a range and has
//! no trend (the rule of SNIA's performance test specification, over windows that move by one bucket).

use std::collections::VecDeque;
use std::fmt;

const ROUNDS: usize = 5;
/// Of the middle of the five rounds, counted from 0.
const MIDDLE: f64 = 2.0;
/// Sum of the squared distances from the middle: 4 + 1 + 0 + 1 + 4.
const SQUARES: f64 = 10.0;
/// 20 of 100 are 20 %, whatever the rounding.
const ROUNDING: f64 = 1e-9;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// The most that (max - min) / mean of the rounds may be.
    pub range: f64,
    /// The most that the fitted line may rise or fall from the first round to the last, divided by the mean.
    pub slope: f64,
    /// Buckets of a window; rounded up to a multiple of five.
    pub window: usize,
}

impl Default for Rule {
    fn default() -> Rule {
        Rule {
            range: 0.20,
            slope: 0.10,
            window: 30,
        }
    }
}

impl Rule {
    /// Buckets of a window, and so the least that a run needs.
    pub fn buckets(&self) -> usize {
        self.window.div_ceil(ROUNDS).max(1) * ROUNDS
    }
}

/// How buckets become the value of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The sum of the buckets, as of tokens. One that is 0 in the whole window is not in use and decides nothing.
    Rate,
    /// The sum of the buckets divided by the sum of their counts, as of latencies.
    Mean,
}

/// What a bucket adds to a quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Part {
    pub sum: f64,
    /// Of a [`Kind::Mean`]: how many values were summed.
    pub count: u64,
}

/// Why a window is not steady.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// (max - min) / mean of the rounds.
    Range { name: &'static str, value: f64, most: f64 },
    /// Rise or fall of the fitted line over the rounds, divided by the mean.
    Slope { name: &'static str, value: f64, most: f64 },
    /// A round has no value to average.
    Empty { name: &'static str },
    /// No rate is in use.
    Idle,
    /// The run is shorter than a window.
    Short { buckets: usize, needed: usize },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Range { name, value, most } => write!(
                f,
                "{name} varied by {:.1} % of its mean over the last window, more than {:.0} %",
                value * 100.0,
                most * 100.0
            ),
            Reason::Slope { name, value, most } => write!(
                f,
                "{name} {} by {:.1} % of its mean over the last window, more than {:.0} %",
                if *value > 0.0 { "rose" } else { "fell" },
                value.abs() * 100.0,
                most * 100.0
            ),
            Reason::Empty { name } => write!(f, "part of the last window has no {name}"),
            Reason::Idle => f.write_str("nothing was moved in the last window"),
            Reason::Short { buckets, needed } => {
                write!(f, "the run has {buckets} s, and a window is {needed} s long")
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The first bucket of the first steady window after which no later one failed.
    pub since: Option<usize>,
    /// Why the last window is not steady; `None` when it is.
    pub reason: Option<Reason>,
}

/// Takes buckets one by one and knows after each whether the run is steady.
#[derive(Clone, Debug)]
pub struct Steady {
    rule: Rule,
    quantities: Vec<Quantity>,
    buckets: usize,
    since: Option<usize>,
    reason: Option<Reason>,
}

#[derive(Clone, Debug)]
struct Quantity {
    name: &'static str,
    kind: Kind,
    /// The last window.
    parts: VecDeque<Part>,
}

impl Steady {
    /// Names are shown in reasons, so they are words such as `output tokens`.
    pub fn new(rule: Rule, quantities: &[(&'static str, Kind)]) -> Steady {
        let of = |(name, kind): &(&'static str, Kind)| Quantity {
            name,
            kind: *kind,
            parts: VecDeque::new(),
        };
        Steady {
            rule,
            quantities: quantities.iter().map(of).collect(),
            buckets: 0,
            since: None,
            reason: None,
        }
    }

    /// Adds a bucket, with a part for each quantity in the order of [`Steady::new`]; one that is missing is 0.
    pub fn push(&mut self, parts: &[Part]) {
        let window = self.rule.buckets();
        for (index, quantity) in self.quantities.iter_mut().enumerate() {
            if quantity.parts.len() == window {
                quantity.parts.pop_front();
            }
            quantity.parts.push_back(parts.get(index).copied().unwrap_or_default());
        }
        self.buckets += 1;
        if self.buckets < window {
            return;
        }
        self.reason = self.fault();
        self.since = match self.reason {
            Some(_) => None,
            None => self.since.or(Some(self.buckets - window)),
        };
    }

    pub fn verdict(&self) -> Verdict {
        let needed = self.rule.buckets();
        if self.buckets < needed {
            let buckets = self.buckets;
            return Verdict {
                since: None,
                reason: Some(Reason::Short { buckets, needed }),
            };
        }
        Verdict {
            since: self.since,
            reason: self.reason,
        }
    }

    /// Whether the last window is steady.
    pub fn is_steady(&self) -> bool {
        self.since.is_some()
    }

    /// What is wrong with the last window.
    fn fault(&self) -> Option<Reason> {
        let mut in_use = false;
        for quantity in &self.quantities {
            let Some(rounds) = quantity.rounds() else {
                return Some(Reason::Empty { name: quantity.name });
            };
            let is_idle = rounds.iter().all(|value| *value == 0.0);
            if quantity.kind == Kind::Rate && is_idle {
                continue;
            }
            in_use |= quantity.kind == Kind::Rate;
            if let Some(fault) = self.rule.fault(quantity.name, &rounds) {
                return Some(fault);
            }
        }
        (!in_use).then_some(Reason::Idle)
    }
}

impl Quantity {
    /// The values of the five rounds; `None` when one has nothing to average.
    fn rounds(&self) -> Option<[f64; ROUNDS]> {
        let length = self.parts.len() / ROUNDS;
        let mut values = [0.0; ROUNDS];
        for (round, value) in values.iter_mut().enumerate() {
            let parts = self.parts.range(round * length..(round + 1) * length);
            let (sum, count) = parts.fold((0.0, 0), |(sum, count), part| (sum + part.sum, count + part.count));
            *value = match (self.kind, count) {
                (Kind::Rate, _) => sum,
                (Kind::Mean, 0) => return None,
                (Kind::Mean, count) => sum / count as f64,
            };
        }
        Some(values)
    }
}

impl Rule {
    /// Five rounds that are all 0 have neither range nor slope.
    fn fault(&self, name: &'static str, rounds: &[f64; ROUNDS]) -> Option<Reason> {
        let (range, slope) = range_and_slope(rounds);
        if range > self.range + ROUNDING {
            return Some(Reason::Range {
                name,
                value: range,
                most: self.range,
            });
        }
        (slope.abs() > self.slope + ROUNDING).then_some(Reason::Slope {
            name,
            value: slope,
            most: self.slope,
        })
    }
}

/// (max - min) / mean, and slope x 4 / mean of the line of least squares.
fn range_and_slope(rounds: &[f64; ROUNDS]) -> (f64, f64) {
    let mean = rounds.iter().sum::<f64>() / ROUNDS as f64;
    if mean == 0.0 {
        return (0.0, 0.0);
    }
    let most = rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let least = rounds.iter().copied().fold(f64::INFINITY, f64::min);
    let moments = rounds.iter().enumerate();
    let slope = moments.map(|(x, y)| (x as f64 - MIDDLE) * y).sum::<f64>() / SQUARES;
    ((most - least) / mean, slope * (ROUNDS - 1) as f64 / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_rounds_are_judged_by_range_and_slope() {
        for (rounds, range, slope, steady) in [
            ([100.0, 102.0, 98.0, 101.0, 99.0], 0.04, 0.012, true),
            ([90.0, 100.0, 110.0, 100.0, 100.0], 0.20, 0.08, true),
            ([95.0, 105.0, 95.0, 105.0, 95.0], 0.101, 0.0, true),
            ([100.0, 104.0, 108.0, 112.0, 116.0], 0.148, 0.148, false),
            ([100.0, 100.0, 100.0, 100.0, 125.0], 0.238, 0.190, false),
            ([100.0, 110.0, 120.0, 130.0, 140.0], 0.333, 0.333, false),
        ] {
            let (got_range, got_slope) = range_and_slope(&rounds);
            assert!((got_range - range).abs() < 5e-4, "{rounds:?}: {got_range}");
            assert!((got_slope.abs() - slope).abs() < 5e-4, "{rounds:?}: {got_slope}");
            assert_eq!(Rule::default().fault("rate", &rounds).is_none(), steady, "{rounds:?}");
        }
    }

    fn part(sum: f64, count: u64) -> Part {
        Part { sum, count }
    }

    /// Buckets of a rate and of a mean, by their values.
    fn run(rule: Rule, buckets: impl Iterator<Item = (f64, f64)>) -> Steady {
        let mut steady = Steady::new(rule, &[("tokens", Kind::Rate), ("mean latency", Kind::Mean)]);
        buckets.for_each(|(rate, mean)| steady.push(&[part(rate, 0), part(mean * 3.0, 3)]));
        steady
    }

    fn rule(window: usize) -> Rule {
        Rule {
            window,
            ..Rule::default()
        }
    }

    #[test]
    fn steady_since_is_the_first_window_that_no_failed_one_follows() {
        // Warm for ten buckets, a dip at 40, then even.
        let rate = |bucket: usize| match bucket {
            0..10 => 10.0,
            40 => 0.0,
            _ => 100.0,
        };
        let until = |end: usize| run(rule(10), (0..end).map(|bucket| (rate(bucket), 1.0))).verdict();
        assert_eq!(until(9).reason, Some(Reason::Short { buckets: 9, needed: 10 }));
        assert_eq!(until(10).since, Some(0), "even, though slow");
        assert!(matches!(until(12).reason, Some(Reason::Range { name: "tokens", .. })));
        assert_eq!(
            until(30),
            Verdict {
                since: Some(10),
                reason: None
            }
        );
        assert_eq!(until(40).since, Some(10));
        assert_eq!(until(45).since, None, "the dip is in the last window");
        assert_eq!(until(50).since, None);
        assert_eq!(until(51).since, Some(41));
        assert_eq!(until(99).since, Some(41));
    }

    #[test]
    fn the_last_windows_reason_is_named() {
        let of = |verdict: Steady| verdict.verdict().reason.unwrap().to_string();
        let rising = run(rule(5), (0..5).map(|n| (100.0 + 4.0 * f64::from(n), 1.0)));
        assert_eq!(
            of(rising),
            "tokens rose by 14.8 % of its mean over the last window, more than 10 %"
        );
        let falling = run(rule(5), (0..5).map(|n| (100.0, 116.0 - 4.0 * f64::from(n))));
        assert_eq!(
            of(falling),
            "mean latency fell by 14.8 % of its mean over the last window, more than 10 %"
        );
        let wide = run(
            rule(5),
            [100.0, 80.0, 100.0, 80.0, 120.0].into_iter().map(|rate| (rate, 1.0)),
        );
        assert_eq!(
            of(wide),
            "tokens varied by 41.7 % of its mean over the last window, more than 20 %"
        );
        assert_eq!(
            of(run(rule(5), [].into_iter())),
            "the run has 0 s, and a window is 5 s long"
        );
    }

    #[test]
    fn what_is_not_in_use_decides_nothing_unless_all_is_idle() {
        let steady_with = |parts: &[Part]| {
            let quantities = [("in", Kind::Rate), ("out", Kind::Rate), ("latency", Kind::Mean)];
            let mut steady = Steady::new(rule(5), &quantities);
            (0..5).for_each(|_| steady.push(parts));
            steady.verdict()
        };
        assert_eq!(steady_with(&[part(0.0, 0), part(5.0, 0), part(1.0, 1)]).since, Some(0));
        assert_eq!(
            steady_with(&[part(0.0, 0), part(0.0, 0), part(1.0, 1)]).reason,
            Some(Reason::Idle)
        );
        let empty = steady_with(&[part(5.0, 0)]);
        assert_eq!(
            empty.reason,
            Some(Reason::Empty { name: "latency" }),
            "missing parts are 0"
        );
    }

    #[test]
    fn means_are_weighted_by_counts() {
        // Two buckets a round: 10 values of 1 and one of 12 are a mean of 2, not of 6.5.
        let mut steady = Steady::new(rule(10), &[("n", Kind::Rate), ("mean", Kind::Mean)]);
        for round in 0..5 {
            let (first, second) = if round < 4 {
                (part(10.0, 10), part(12.0, 1))
            } else {
                (part(22.0, 11), part(0.0, 0))
            };
            steady.push(&[part(1.0, 0), first]);
            steady.push(&[part(1.0, 0), second]);
        }
        assert_eq!(steady.verdict().since, Some(0));
    }

    #[test]
    fn windows_are_whole_rounds() {
        assert_eq!(
            [0, 1, 5, 6, 29, 30].map(|window| rule(window).buckets()),
            [5, 5, 5, 10, 30, 30]
        );
    }
}
