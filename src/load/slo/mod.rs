//! Service level objectives: limits on latencies, who kept them, and whether a percentile is within its limit.
//!
//! A limit without a percentile (`ttft=800ms`) is one on each request, and counts for goodput. A limit with one
//! (`ttft.p99=800ms`) is a criterion that a run passes or not; it breaks no single request.

mod text;

use std::fmt;

use crate::stats::interval::{percentile_bounds, wilson};

/// What a limit is on. All in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Time to the first token.
    Ttft,
    /// Time per output token after the first.
    Tpot,
    /// Time between token events: of a request its longest gap, in percentiles every gap.
    Itl,
    /// Request latency to the last token.
    E2el,
}

impl Metric {
    pub const ALL: [Metric; 4] = [Metric::Ttft, Metric::Tpot, Metric::Itl, Metric::E2el];

    /// As in the flag.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Ttft => "ttft",
            Metric::Tpot => "tpot",
            Metric::Itl => "itl",
            Metric::E2el => "e2el",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    pub metric: Metric,
    /// Above 0, at most 100; `None` for a limit on each request.
    pub percentile: Option<f64>,
    /// Finite and above 0.
    pub seconds: f64,
    /// The time as typed.
    typed: String,
}

/// As it would be typed.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric.name())?;
        if let Some(p) = self.percentile {
            write!(f, ".p{p}")?;
        }
        write!(f, "={}", self.typed)
    }
}

/// All limits of a run, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slo {
    pub limits: Vec<Limit>,
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, limit) in self.limits.iter().enumerate() {
            write!(f, "{}{limit}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// Latencies of one request that succeeded, in seconds. `None` where the metric does not apply, as TPOT of one token: that
/// limit counts as kept.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latencies {
    pub ttft: Option<f64>,
    pub tpot: Option<f64>,
    /// The longest gap between token events.
    pub itl: Option<f64>,
    pub e2el: Option<f64>,
}

impl Latencies {
    pub fn of(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Ttft => self.ttft,
            Metric::Tpot => self.tpot,
            Metric::Itl => self.itl,
            Metric::E2el => self.e2el,
        }
    }
}

/// Requests that kept all limits on requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goodput {
    pub good: u64,
    /// With those that failed, which count as broken.
    pub total: u64,
    /// Good requests per second.
    pub per_second: f64,
    /// Wilson's 95 % interval of the share; `None` without requests.
    pub share_interval: Option<(f64, f64)>,
}

impl Goodput {
    /// `good / total`; 0 without requests.
    pub fn share(&self) -> f64 {
        match self.total {
            0 => 0.0,
            total => self.good as f64 / total as f64,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    Kept,
    Broken,
    /// No request has this metric, so nothing shows that the limit holds.
    NoSamples,
}

/// What a run says about a limit on a percentile.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub limit: Limit,
    /// The percentile in seconds; infinite when failed requests reach it, 0 without samples.
    pub seconds: f64,
    /// With those that failed.
    pub samples: u64,
    /// The samples that enclose the percentile with 95 %; `None` with too few.
    pub interval: Option<(f64, f64)>,
    pub holding: Holding,
}

impl Slo {
    /// Whether a request that succeeded kept all limits on requests.
    pub fn is_kept_by(&self, request: &Latencies) -> bool {
        self.on_requests().all(|limit| {
            let seconds = request.of(limit.metric);
            seconds.is_none_or(|seconds| seconds <= limit.seconds)
        })
    }

    /// The goodput of all requests of `elapsed_s` seconds, of which `None` stands for one that failed. `None` without a limit on
    /// requests.
    pub fn goodput(&self, requests: impl Iterator<Item = Option<Latencies>>, elapsed_s: f64) -> Option<Goodput> {
        self.on_requests().next()?;
        let (mut good, mut total) = (0, 0);
        for request in requests {
            total += 1;
            good += u64::from(request.is_some_and(|request| self.is_kept_by(&request)));
        }
        let per_second = if elapsed_s > 0.0 { good as f64 / elapsed_s } else { 0.0 };
        Some(Goodput {
            good,
            total,
            per_second,
            share_interval: wilson(good, total),
        })
    }

    /// One verdict for each limit on a percentile. `sorted_s` gives the samples of a metric in ascending order: one for each
    /// request, or for ITL one for each gap. Each of the `failed` requests counts as one more sample that is infinite.
    pub fn verdicts(&self, sorted_s: impl Fn(Metric) -> Vec<f64>, failed: u64) -> Vec<Verdict> {
        let mut known: [Option<Vec<f64>>; Metric::ALL.len()] = Default::default();
        let qualified = self
            .limits
            .iter()
            .filter_map(|limit| limit.percentile.map(|p| (limit, p)));
        let judged = qualified.map(|(limit, p)| {
            let sorted = known[limit.metric as usize].get_or_insert_with(|| {
                let mut sorted = sorted_s(limit.metric);
                sorted.resize(sorted.len() + failed as usize, f64::INFINITY);
                sorted
            });
            judged(limit, p, sorted)
        });
        judged.collect()
    }

    /// The same limits, with this percentile where there was none: for a search, whose probes pass or not.
    pub fn with_percentile(&self, p: f64) -> Slo {
        let qualified = |limit: &Limit| Limit {
            percentile: limit.percentile.or(Some(p)),
            ..limit.clone()
        };
        let mut limits: Vec<Limit> = Vec::new();
        for limit in self.limits.iter().map(qualified) {
            let same = |other: &&mut Limit| other.metric == limit.metric && other.percentile == limit.percentile;
            match limits.iter_mut().find(same) {
                // `ttft=1s,ttft.p99=2s`: the lower one decides.
                Some(other) if other.seconds <= limit.seconds => {}
                Some(other) => *other = limit,
                None => limits.push(limit),
            }
        }
        Slo { limits }
    }

    /// The shortest limit in seconds.
    pub fn shortest_s(&self) -> Option<f64> {
        self.limits.iter().map(|limit| limit.seconds).reduce(f64::min)
    }

    fn on_requests(&self) -> impl Iterator<Item = &Limit> {
        self.limits.iter().filter(|limit| limit.percentile.is_none())
    }
}

/// `sorted` ends with the infinite samples.
fn judged(limit: &Limit, p: f64, sorted: &[f64]) -> Verdict {
    let seconds = percentile(sorted, p);
    let holding = match sorted.len() {
        0 => Holding::NoSamples,
        _ if seconds <= limit.seconds => Holding::Kept,
        _ => Holding::Broken,
    };
    Verdict {
        limit: limit.clone(),
        seconds,
        samples: sorted.len() as u64,
        interval: percentile_bounds(sorted, p),
        holding,
    }
}

/// Linear interpolation as in `stats/percentile`, for samples that may be infinite: a percentile between a finite sample and
/// an infinite one is infinite, one that is exactly a sample is that sample.
fn percentile(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let position = last as f64 * p / 100.0;
    let nearest = position.round();
    // A position such as 999.0000000000001 is meant to be whole.
    if (position - nearest).abs() < 1e-9 * position.max(1.0) {
        return sorted[(nearest as usize).min(last)];
    }
    crate::stats::percentile::linear(sorted, p)
}

#[cfg(test)]
mod tests;
