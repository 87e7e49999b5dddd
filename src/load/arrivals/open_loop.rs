//! Open-loop arrivals: requests come by a schedule, whether or not earlier ones have ended.
//!
//! A process of mean gap 1 gives the places u(0) <= u(1) <= .. on an axis of expected arrivals; the rate maps them to times. At
//! a rate R with a ramp of S seconds, the expected number of arrivals up to t is R t^2 / (2 S) below S and R (t - S/2) from
//! there on, so arrival n is due at sqrt(2 S u / R) if u(n) < R S / 2, and else at u / R + S / 2.

use std::fmt;
use std::time::Duration;

use super::{Arrival, Arrivals, End, Next, from_seconds};
use crate::python::number::float;
use crate::python::quote::quoted;
use crate::stats::random::SplitMix64;

/// Requests per second.
pub const PER_SECOND_MAX: f64 = 1e6;
const BURSTINESS_MIN: f64 = 0.001;
const BURSTINESS_MAX: f64 = 1e6;
/// The stream of arrivals, far from those of users, which count from 0.
const STREAM: u64 = 1 << 32;
/// [`Arrivals::unsent`] draws at most as many gaps.
const COUNTED_MAX: u64 = 10_000_000;

/// How the gaps between arrivals are distributed. Their mean is one over the rate in each case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// All equal; the first arrival is at 0.
    Constant,
    /// Exponential; the first arrival comes after the first gap.
    Poisson,
    /// Gamma of this shape, as in vLLM's benchmark: 1 is Poisson, below that arrivals come in bursts, above it more evenly.
    Gamma { burstiness: f64 },
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Constant => f.write_str("constant"),
            Shape::Poisson => f.write_str("poisson"),
            Shape::Gamma { burstiness } => write!(f, "gamma, burstiness {burstiness}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenLoop {
    /// Above 0, at most [`PER_SECOND_MAX`].
    pub per_second: f64,
    pub shape: Shape,
    /// Of the gaps alone: requests do not change with it.
    pub seed: u64,
    /// The rate rises linearly from 0 over this time.
    pub ramp_up: Duration,
    pub end: End,
}

impl OpenLoop {
    /// When the arrival at place `u` of the axis of expected arrivals is due.
    fn due(&self, u: f64) -> Duration {
        let (rate, ramp_s) = (self.per_second, self.ramp_up.as_secs_f64());
        let seconds = match u < rate * ramp_s / 2.0 {
            true => (2.0 * ramp_s * u / rate).sqrt(),
            false => u / rate + ramp_s / 2.0,
        };
        from_seconds(seconds)
    }
}

/// A rate as typed, in requests per second.
pub fn rate(text: &str) -> Result<f64, String> {
    let value = float(text)?;
    if value > 0.0 && value <= PER_SECOND_MAX {
        return Ok(value);
    }
    Err(format!(
        "a rate must be above 0 and at most {PER_SECOND_MAX} requests per second, got {}",
        quoted(text)
    ))
}

/// A burstiness as typed.
pub fn burstiness(text: &str) -> Result<f64, String> {
    let value = float(text)?;
    if (BURSTINESS_MIN..=BURSTINESS_MAX).contains(&value) {
        return Ok(value);
    }
    Err(format!(
        "burstiness must be {BURSTINESS_MIN} to {BURSTINESS_MAX} (1 is Poisson, lower comes in bursts), got {}",
        quoted(text)
    ))
}

#[derive(Clone)]
pub(super) struct Open {
    settings: OpenLoop,
    random: SplitMix64,
    number: u64,
    /// The place of the current arrival.
    u: f64,
    due: Duration,
}

impl Open {
    pub(super) fn new(settings: OpenLoop) -> Open {
        let mut open = Open {
            settings,
            random: SplitMix64::stream(settings.seed, STREAM),
            number: 0,
            u: 0.0,
            due: Duration::ZERO,
        };
        open.place();
        open
    }

    /// Sets the place and the time of arrival `number`.
    fn place(&mut self) {
        match self.settings.shape {
            // Not a sum, which would drift.
            Shape::Constant => self.u = self.number as f64,
            Shape::Poisson => self.u += self.random.exponential(),
            Shape::Gamma { burstiness } => self.u += self.random.gamma(burstiness) / burstiness,
        }
        self.due = self.settings.due(self.u);
    }
}

impl Arrivals for Open {
    fn next(&self, elapsed: Duration, _: u64) -> Next {
        let Open { number, due, .. } = *self;
        if self.settings.end.is_past(number, due.max(elapsed)) {
            return Next::Over;
        }
        if elapsed < due {
            return Next::At(due);
        }
        Next::Now(Arrival { number, due: Some(due) })
    }

    fn advance(&mut self) {
        self.number += 1;
        self.place();
    }

    fn is_used_up(&self) -> bool {
        self.settings.end.is_used_up(self.number)
    }

    fn unsent(&self, until: Duration) -> u64 {
        let mut ahead = self.clone();
        while ahead.due <= until
            && !self.settings.end.is_past(ahead.number, ahead.due)
            && ahead.number - self.number < COUNTED_MAX
        {
            ahead.advance();
        }
        ahead.number - self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::arrivals::Process;
    use crate::load::arrivals::testing::schedule;
    use crate::stats::ks;

    fn open(per_second: f64, shape: Shape) -> OpenLoop {
        OpenLoop {
            per_second,
            shape,
            seed: 42,
            ramp_up: Duration::ZERO,
            end: End {
                requests: Some(6000),
                duration: None,
            },
        }
    }

    fn times(open: OpenLoop) -> Vec<Duration> {
        schedule(Process::Open {
            open,
            max_in_flight: None,
        })
    }

    /// Gaps in units of their expected mean, the first from 0.
    fn gaps(open: OpenLoop) -> Vec<f64> {
        let mut last = 0.0;
        let gap = |time: &Duration| {
            let gap = time.as_secs_f64() - last;
            last = time.as_secs_f64();
            gap * open.per_second
        };
        times(open).iter().map(gap).collect()
    }

    #[test]
    fn poisson_gaps_are_exponential_at_any_rate() {
        for (rate, seed) in [(200.0, 42), (0.5, 1), (9999.0, 2)] {
            let gaps = gaps(OpenLoop {
                seed,
                ..open(rate, Shape::Poisson)
            });
            assert_eq!(gaps.len(), 6000);
            let p = ks::p_value(&gaps, |x| 1.0 - (-x).exp());
            assert!(p > 0.01, "{rate}: {p}");
            let mean = gaps.iter().sum::<f64>() / 6000.0;
            assert!((mean - 1.0).abs() < 0.05, "{mean}");
        }
    }

    #[test]
    fn gamma_gaps_keep_the_rate_and_have_the_variance_of_their_shape() {
        let erlang = gaps(open(50.0, Shape::Gamma { burstiness: 2.0 }));
        assert!(ks::p_value(&erlang, |x| 1.0 - (-2.0 * x).exp() * (1.0 + 2.0 * x)) > 0.01);
        for burstiness in [0.25, 1.0, 4.0, 100.0] {
            let gaps = gaps(open(50.0, Shape::Gamma { burstiness }));
            let mean = gaps.iter().sum::<f64>() / 6000.0;
            let variance = gaps.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 6000.0;
            assert!((mean - 1.0).abs() < 5.0 / (6000.0 * burstiness).sqrt(), "{mean}");
            assert!((variance * burstiness - 1.0).abs() < 0.35, "{burstiness}: {variance}");
        }
        // Shape 1 is exponential, although drawn in another way.
        let one = gaps(open(50.0, Shape::Gamma { burstiness: 1.0 }));
        assert!(ks::p_value(&one, |x| 1.0 - (-x).exp()) > 0.01);
    }

    #[test]
    fn the_seed_decides() {
        let poisson = open(200.0, Shape::Poisson);
        assert_eq!(times(poisson), times(poisson));
        assert_ne!(times(poisson), times(OpenLoop { seed: 43, ..poisson }));
        // Twice the rate is the same sequence in half the time.
        let (slow, fast) = (times(poisson), times(open(400.0, Shape::Poisson)));
        assert!((slow[5999].as_secs_f64() / fast[5999].as_secs_f64() - 2.0).abs() < 1e-6);
    }

    #[test]
    fn constant_arrivals_are_exact_multiples() {
        let times = times(open(200.0, Shape::Constant));
        let exact = |n: usize| Duration::from_micros(5000 * n as u64);
        assert!(times.iter().enumerate().all(|(n, time)| *time == exact(n)));
    }

    #[test]
    fn the_rate_rises_linearly_in_the_ramp() {
        // 10 s to 100/s: 100 t^2 / 20 arrivals up to t, 500 in the ramp, then 100 each second.
        for (shape, tolerance) in [(Shape::Constant, 1.0), (Shape::Poisson, 5.0 * 1000f64.sqrt())] {
            let times = times(OpenLoop {
                ramp_up: Duration::from_secs(10),
                ..open(100.0, shape)
            });
            let up_to = |s: u64| times.iter().filter(|t| **t < Duration::from_secs(s)).count() as f64;
            for (second, count) in [(2, 20.0), (5, 125.0), (10, 500.0), (11, 600.0), (15, 1000.0)] {
                assert!(
                    (up_to(second) - count).abs() <= tolerance,
                    "{second}: {}",
                    up_to(second)
                );
            }
        }
        let ramp = OpenLoop {
            ramp_up: Duration::from_secs(10),
            ..open(100.0, Shape::Constant)
        };
        assert_eq!(
            [0.0, 125.0, 500.0, 600.0].map(|u| ramp.due(u).as_secs_f64()),
            [0.0, 5.0, 10.0, 11.0]
        );
    }

    #[test]
    fn whichever_end_comes_first_ends_it() {
        let end = |requests, seconds| End {
            requests,
            duration: Some(Duration::from_secs(seconds)),
        };
        let of = |end| {
            times(OpenLoop {
                end,
                ..open(10.0, Shape::Constant)
            })
        };
        assert_eq!(of(end(Some(25), 100)).len(), 25);
        assert_eq!(
            of(end(Some(25), 2)).len(),
            20,
            "the arrival at 2 s is not before the end"
        );
        assert_eq!(of(end(None, 2)).len(), 20);
        assert_eq!(of(end(Some(0), 2)).len(), 0);
        // Too late: what was due and not sent is left out, and can be counted.
        let open = Process::Open {
            open: OpenLoop {
                end: end(None, 2),
                ..open(10.0, Shape::Constant)
            },
            max_in_flight: None,
        };
        let arrivals = open.start();
        assert_eq!(arrivals.next(Duration::from_secs(2), 0), Next::Over);
        assert_eq!(arrivals.unsent(Duration::from_millis(1000)), 11);
        assert_eq!(arrivals.unsent(Duration::from_secs(9)), 20);
    }

    #[test]
    fn rates_so_low_that_time_ends_first_do_not_panic() {
        let times = Open::new(OpenLoop {
            per_second: 1e-300,
            ..open(1.0, Shape::Poisson)
        });
        assert_eq!(times.next(Duration::ZERO, 0), Next::At(Duration::MAX));
    }

    #[test]
    fn impossible_numbers_are_refused_with_the_bounds() {
        for text in ["0", "-1", "nan", "inf", "1e9", "-0.0"] {
            let refusal = rate(text).unwrap_err();
            let want = "a rate must be above 0 and at most 1000000 requests per second, got";
            assert_eq!(refusal, format!("{want} '{text}'"));
        }
        assert_eq!(rate("x").unwrap_err(), "invalid float value: 'x'; give a number");
        assert_eq!((rate("0.25"), rate("1e6")), (Ok(0.25), Ok(1e6)));
        for text in ["0", "-2", "nan", "inf", "1e7"] {
            assert!(
                burstiness(text)
                    .unwrap_err()
                    .starts_with("burstiness must be 0.001 to 1000000")
            );
        }
        assert_eq!(burstiness("0.5"), Ok(0.5));
    }
}
