//! A queue in virtual time that searches are tried on: Poisson arrivals, N servers, each request served in the same time
//! (M/D/N). Searches must find its capacity in spite of the noise of short probes.

use std::time::Duration;

use super::*;
use crate::load::arrivals::{End, Next, OpenLoop, Process, Shape};
use crate::load::probe::{Evidence, growth, judge};
use crate::load::slo::Slo;

pub struct Queue {
    pub servers: usize,
    pub service_s: f64,
    pub slo: Slo,
}

impl Queue {
    /// When requests are due, and when they end.
    fn served(&self, per_second: f64, seed: u64, duration_s: f64) -> Vec<(f64, f64)> {
        let open = OpenLoop {
            per_second,
            shape: Shape::Poisson,
            seed,
            ramp_up: Duration::ZERO,
            end: End {
                requests: None,
                duration: Some(Duration::from_secs_f64(duration_s)),
            },
        };
        let mut arrivals = Process::Open {
            open,
            max_in_flight: None,
        }
        .start();
        let mut free_s = vec![0.0f64; self.servers];
        let mut served = Vec::new();
        let mut now = Duration::ZERO;
        loop {
            match arrivals.next(now, 0) {
                Next::Now(arrival) => {
                    let due_s = arrival.due.unwrap().as_secs_f64();
                    // All take equally long, so servers become free in turn.
                    let turn = served.len() % self.servers;
                    let ended_s = due_s.max(free_s[turn]) + self.service_s;
                    free_s[turn] = ended_s;
                    served.push((due_s, ended_s));
                    arrivals.advance();
                }
                Next::At(then) => now = then,
                _ => return served,
            }
        }
    }

    /// A probe with a ramp of `ramp_s`, which does not count.
    pub fn probe(&self, per_second: f64, seed: u64, ramp_s: f64, window_s: f64) -> Outcome {
        let end_s = ramp_s + window_s;
        let served = self.served(per_second, seed, end_s);
        let in_window = |time_s: f64| (ramp_s..end_s).contains(&time_s);
        let due: Vec<(f64, f64)> = served.iter().copied().filter(|(due_s, _)| in_window(*due_s)).collect();
        let early = due.iter().filter(|(due_s, _)| *due_s < ramp_s + window_s / 2.0);
        let early: Vec<f64> = early.map(|(due_s, ended_s)| ended_s - due_s).collect();
        let mut latencies: Vec<f64> = due.iter().map(|(due_s, ended_s)| ended_s - due_s).collect();
        latencies.sort_by(f64::total_cmp);
        let verdicts = self.slo.verdicts(|_| latencies.clone(), 0);
        judge(&Evidence {
            verdicts: &verdicts,
            limit_s: self.slo.shortest_s().unwrap(),
            errors: 0,
            offered: Some(due.len() as u64),
            achieved: served.iter().filter(|(_, ended_s)| in_window(*ended_s)).count() as u64,
            in_flight: latencies.iter().sum::<f64>() / window_s,
            growth: growth(&early, due.len() as f64 / window_s, ramp_s, window_s),
            lags_s: &[],
            window_s,
        })
    }

    /// A whole search; the answer, and the number of probes of both kinds.
    pub fn search(&self, seed: u64, start: f64, ramp_s: f64, probe_s: f64, confirm_s: f64) -> (Search, Ended) {
        let mut search = Search::new(Settings {
            axis: Axis::Rate,
            start,
            probe_s: Some(probe_s),
            confirm_s: Some(confirm_s),
            requests: None,
        });
        loop {
            let (load, is_full) = match search.next(f64::INFINITY) {
                Action::Probe(load) => (load, false),
                Action::Confirm(load) => (load, true),
                Action::Done(ended) => return (search, ended),
            };
            let number = search.probes().len() as u64;
            let window_s = if is_full { confirm_s } else { probe_s };
            let outcome = self.probe(load, seed * 1000 + number, ramp_s, window_s);
            search.record(Probe { load, is_full, outcome });
        }
    }
}
