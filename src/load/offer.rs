//! A load as its flags describe it: at which rate or with how many in flight, how long, and from when on it is measured.

use std::fmt;
use std::time::Duration;

use super::arrivals::{Arrivals, ClosedLoop, End, OpenLoop, Process, Shape, from_seconds};

/// Takes the place of a workload's own pacing.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Requests per second of an open loop.
    pub per_second: Option<f64>,
    pub shape: Shape,
    /// The most requests in flight; without a rate, the number that a closed loop keeps.
    pub max_concurrency: Option<u64>,
    /// Requests in all, those of the lead-in included.
    pub requests: Option<u64>,
    /// How long requests are measured, after the lead-in.
    pub measured: Option<Duration>,
    pub ramp_up: Duration,
    /// Time after the ramp in which requests are not measured yet.
    pub warmup: Duration,
    pub seed: u64,
}

/// The pacing of a workload, for what an offer leaves open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OwnPace {
    /// Requests in flight, and requests in all.
    Closed { in_flight: u64, requests: u64 },
    /// Evenly spaced requests for so many seconds.
    Rate { per_second: f64, seconds: f64 },
}

/// What was asked for, as a part of a sentence.
impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.per_second, self.max_concurrency) {
            (Some(per_second), limit) => {
                write!(f, "{per_second} requests/s ({})", self.shape)?;
                limit.map_or(Ok(()), |limit| write!(f, ", at most {limit} in flight"))?;
            }
            (None, Some(in_flight)) => write!(f, "{in_flight} in flight")?,
            (None, None) => f.write_str("the workload's own pace")?,
        }
        f.write_str(&self.phases())
    }
}

impl Offer {
    /// Its phases and its end, each after a comma.
    pub fn phases(&self) -> String {
        let times = [
            (self.ramp_up, "ramp"),
            (self.warmup, "warm-up"),
            (self.measured.unwrap_or_default(), "measured"),
        ];
        let times = times.into_iter().filter(|(time, _)| !time.is_zero());
        let times = times.map(|(time, what)| format!(", {time:?} {what}"));
        let requests = self.requests.map(|requests| {
            let plural = if requests == 1 { "" } else { "s" };
            format!(", {requests} request{plural}")
        });
        times.chain(requests).collect()
    }

    /// How long after the beginning requests are first measured.
    pub fn lead_in(&self) -> Duration {
        self.ramp_up + self.warmup
    }

    /// How long requests are sent, where that is known.
    pub fn sending(&self) -> Option<Duration> {
        let by_time = self.measured.map(|measured| self.lead_in() + measured);
        let by_count = self.requests.zip(self.per_second).map(|(requests, per_second)| {
            from_seconds(requests as f64 / per_second + self.ramp_up.as_secs_f64() / 2.0)
        });
        by_time.into_iter().chain(by_count).min()
    }

    /// The same load at another rate.
    pub fn at_rate(&self, per_second: f64) -> Offer {
        Offer {
            per_second: Some(per_second),
            ..self.clone()
        }
    }

    /// A closed loop with so many requests in flight.
    pub fn at_concurrency(&self, in_flight: u64) -> Offer {
        Offer {
            per_second: None,
            max_concurrency: Some(in_flight),
            ..self.clone()
        }
    }

    /// The rate at which requests are due; `None` in a closed loop.
    pub fn rate(&self, own: OwnPace) -> Option<f64> {
        match (self.per_second, self.max_concurrency, own) {
            (Some(per_second), ..) => Some(per_second),
            (None, None, OwnPace::Rate { per_second, .. }) => Some(per_second),
            _ => None,
        }
    }

    /// When no more requests are sent.
    pub fn end(&self, own: OwnPace) -> End {
        let duration = self.measured.map(|measured| self.lead_in() + measured);
        if self.requests.is_some() || duration.is_some() {
            return End {
                requests: self.requests,
                duration,
            };
        }
        match own {
            OwnPace::Closed { requests, .. } => End {
                requests: Some(requests),
                duration: None,
            },
            OwnPace::Rate { seconds, .. } => End {
                requests: None,
                duration: Some(self.lead_in().saturating_add(from_seconds(seconds))),
            },
        }
    }

    /// The process at its first arrival.
    pub fn start(&self, own: OwnPace) -> Box<dyn Arrivals> {
        let end = self.end(own);
        let Some(per_second) = self.rate(own) else {
            let own_limit = match own {
                OwnPace::Closed { in_flight, .. } => in_flight,
                OwnPace::Rate { .. } => u64::MAX,
            };
            return Process::ClosedLoop(ClosedLoop {
                in_flight: self.max_concurrency.unwrap_or(own_limit),
                ramp_up: self.ramp_up,
                end,
            })
            .start();
        };
        let shape = if self.per_second.is_some() {
            self.shape
        } else {
            Shape::Constant
        };
        let open = OpenLoop {
            per_second,
            shape,
            seed: self.seed,
            ramp_up: self.ramp_up,
            end,
        };
        Process::Open {
            open,
            max_in_flight: self.max_concurrency,
        }
        .start()
    }
}
