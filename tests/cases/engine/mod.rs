//! `engine` against scripted servers, recorded streams and the mock engine. No test depends on a sleep.

mod custom;
mod endings;
mod endpoint;
mod evidence;
mod faults;
mod hints;
mod interrupts;
mod ledger;
mod ledger_clear;
mod ledger_flags;
mod ledger_pages;
mod ledger_reading;
mod load;
mod numbers;
mod pacing;
mod rag;
mod recorded;
mod runs;
mod searches;
mod staircase;
mod steps;
mod streamed;
mod streams;
mod tier_pressure;
mod tls;
mod vocabulary;

use std::sync::Arc;
use std::time::Duration;

use lmcache_bench::engine::api_key::engine_key;
use lmcache_bench::engine::args::Endpoint;
use lmcache_bench::engine::run::live::Live;
use lmcache_bench::engine::run::runner::Runner;
use lmcache_bench::engine::samples::phase::PhaseSamples;
use lmcache_bench::engine::samples::record::Record;
use lmcache_bench::engine::timestamp::Clock;
use lmcache_bench::engine::wire::line::Timeouts;
use lmcache_bench::engine::wire::target::Target;
use lmcache_bench::engine::workload::{Finished, Phase, Plan, Request, Step, Workload};
use lmcache_bench::report::banner::Banner;

/// A workload that sends its requests in order, at most `window` in flight.
pub struct Listed {
    requests: std::vec::IntoIter<Request>,
    window: usize,
    in_flight: usize,
    pub finished: Vec<Finished>,
}

impl Listed {
    pub fn new(bodies: &[String], window: usize) -> Listed {
        let requests: Vec<Request> = bodies
            .iter()
            .enumerate()
            .map(|(number, body)| Request {
                wants_text: true,
                ..Request::new(format!("r{number}"), body.clone().into_bytes(), 8)
            })
            .collect();
        Listed {
            requests: requests.into_iter(),
            window,
            in_flight: 0,
            finished: Vec::new(),
        }
    }
}

impl Workload for Listed {
    fn banner(&self) -> Banner {
        Banner::new("listed", 0)
    }

    fn plan(&self) -> Plan {
        Plan {
            streams: self.window as u64,
            tokens_per_answer: 8,
            body_bytes: 0,
            requests: self.requests.len() as u64,
            requests_per_second: None,
        }
    }

    fn begin(&mut self, _: Phase) {}

    fn step(&mut self, _: Duration, finished: &[Finished]) -> Step {
        self.in_flight -= finished.len();
        self.finished.extend_from_slice(finished);
        if self.in_flight == self.window {
            return Step::Await;
        }
        let Some(request) = self.requests.next() else {
            return if self.in_flight > 0 { Step::Await } else { Step::Done };
        };
        self.in_flight += 1;
        Step::Send(request)
    }
}

pub fn timeouts() -> Timeouts {
    let long = Duration::from_secs(60);
    Timeouts {
        connect: long,
        first_token: long,
        stall: long,
        total: long,
    }
}

pub fn runner(url: &str, timeouts: Timeouts) -> Runner {
    let target = Target::new(&format!("{url}/v1"), Endpoint::Chat, &engine_key("sk-test".into())).unwrap();
    Runner::new(Clock::start(), Arc::new(target), timeouts, Arc::new(Live::default()))
}

/// Runs one phase with these request bodies.
pub fn run(url: &str, workload: &mut Listed) -> PhaseSamples {
    let mut runner = runner(url, timeouts());
    runner.open(workload.window).unwrap();
    runner.run(workload, Phase::Measured)
}

/// Sends one request.
pub fn run_one(url: &str, timeouts: Timeouts) -> Record {
    let mut workload = Listed::new(&["{}".to_owned()], 1);
    let mut runner = runner(url, timeouts);
    let samples = runner.run(&mut workload, Phase::Measured);
    samples.records.into_iter().next().unwrap()
}
