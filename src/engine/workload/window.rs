//! Requests in a fixed order with a limit on how many are in flight: all workloads but the chat. The next body is built
//! while the window is full, so that a free place is taken at once; no other body waits in memory.

use std::time::Duration;

use super::{Finished, Phase, Plan, Request, Step, Workload};
use crate::load::arrivals::{Arrivals, Next, Process};
use crate::report::banner::Banner;

/// The requests of a phase by number, each made when it is needed. Numbers are asked for in order.
pub trait Sequence: Send {
    fn banner(&self) -> Banner;
    fn tokens_per_answer(&self) -> u64;
    fn count(&self, phase: Phase) -> u64;
    /// The most measured requests in flight. Warmup requests go one by one.
    fn in_flight_max(&self) -> u64;
    fn request(&mut self, phase: Phase, number: u64) -> Request;
    /// Rest after the last warmup request ended.
    fn pause_after_warmup(&self) -> Duration {
        Duration::ZERO
    }
}

pub struct Window<S> {
    sequence: S,
    plan: Plan,
    phase: Phase,
    arrivals: Box<dyn Arrivals>,
    next: u64,
    in_flight: u64,
    prepared: Option<Request>,
    /// When the pause after the warmup ends, once it has begun.
    pause_ends: Option<Duration>,
}

impl<S: Sequence> Window<S> {
    /// `body_bytes` is the size of a measured body.
    pub fn new(sequence: S, body_bytes: usize) -> Window<S> {
        let requests = sequence.count(Phase::Measured);
        let plan = Plan {
            streams: sequence.in_flight_max().min(requests),
            tokens_per_answer: sequence.tokens_per_answer(),
            body_bytes: body_bytes as u64,
            requests,
            requests_per_second: None,
        };
        Window {
            arrivals: arrivals(&sequence, Phase::Warmup),
            sequence,
            plan,
            phase: Phase::Warmup,
            next: 0,
            in_flight: 0,
            prepared: None,
            pause_ends: None,
        }
    }

    /// What is left when every request was sent.
    fn ending(&mut self, elapsed: Duration) -> Step {
        let pause = self.sequence.pause_after_warmup();
        if self.phase == Phase::Measured || pause.is_zero() {
            return Step::Done;
        }
        if self.in_flight > 0 {
            return Step::Await;
        }
        let ends = *self.pause_ends.get_or_insert(elapsed + pause);
        if elapsed < ends {
            Step::SleepUntil(ends)
        } else {
            Step::Done
        }
    }
}

fn arrivals(sequence: &impl Sequence, phase: Phase) -> Box<dyn Arrivals> {
    let in_flight = match phase {
        Phase::Warmup => 1,
        Phase::Measured => sequence.in_flight_max(),
    };
    Process::Closed { in_flight }.start()
}

impl<S: Sequence> Workload for Window<S> {
    fn banner(&self) -> Banner {
        self.sequence.banner()
    }

    fn plan(&self) -> Plan {
        self.plan.clone()
    }

    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.arrivals = arrivals(&self.sequence, phase);
        self.next = 0;
        self.in_flight = 0;
        self.prepared = None;
        self.pause_ends = None;
    }

    fn step(&mut self, elapsed: Duration, finished: &[Finished]) -> Step {
        self.in_flight = self.in_flight.saturating_sub(finished.len() as u64);
        let (phase, number) = (self.phase, self.next);
        if number >= self.sequence.count(phase) {
            return self.ending(elapsed);
        }
        let wait = match self.arrivals.next(elapsed, self.in_flight) {
            Next::Now(arrival) => {
                let request = match self.prepared.take() {
                    Some(request) => request,
                    None => self.sequence.request(phase, number),
                };
                self.arrivals.advance();
                self.next += 1;
                self.in_flight += 1;
                return Step::Send(Request {
                    scheduled: arrival.due,
                    ..request
                });
            }
            Next::At(then) => Step::SleepUntil(then),
            Next::AfterEnd => Step::Await,
            Next::Over => return self.ending(elapsed),
        };
        self.prepared
            .get_or_insert_with(|| self.sequence.request(phase, number));
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers;

    impl Sequence for Numbers {
        fn banner(&self) -> Banner {
            Banner::new("numbers", 1)
        }

        fn tokens_per_answer(&self) -> u64 {
            1
        }

        fn count(&self, phase: Phase) -> u64 {
            if phase == Phase::Warmup { 2 } else { 4 }
        }

        fn in_flight_max(&self) -> u64 {
            3
        }

        fn request(&mut self, _: Phase, number: u64) -> Request {
            Request {
                id: number.to_string(),
                body: Vec::new(),
                max_tokens: 1,
                wants_text: false,
                scheduled: None,
            }
        }

        fn pause_after_warmup(&self) -> Duration {
            Duration::from_secs(5)
        }
    }

    fn sent(step: Step) -> String {
        match step {
            Step::Send(request) => request.id,
            other => panic!("{other:?}"),
        }
    }

    fn ended(id: &str) -> [Finished; 1] {
        [Finished {
            id: id.into(),
            succeeded: false,
            text: String::new(),
        }]
    }

    #[test]
    fn at_most_the_limit_is_in_flight_and_any_end_frees_a_place() {
        let mut window = Window::new(Numbers, 10);
        assert_eq!((window.plan().streams, window.plan().requests), (3, 4));
        window.begin(Phase::Measured);
        let now = Duration::ZERO;
        for id in ["0", "1", "2"] {
            assert_eq!(sent(window.step(now, &[])), id);
        }
        assert_eq!(window.step(now, &[]), Step::Await);
        assert_eq!(sent(window.step(now, &ended("1"))), "3");
        assert_eq!(window.step(now, &[]), Step::Done);
    }

    #[test]
    fn warmup_goes_one_by_one_and_rests_at_its_end() {
        let mut window = Window::new(Numbers, 10);
        window.begin(Phase::Warmup);
        let at = Duration::from_secs;
        assert_eq!(sent(window.step(at(0), &[])), "0");
        assert_eq!(window.step(at(0), &[]), Step::Await);
        assert_eq!(sent(window.step(at(1), &ended("0"))), "1");
        assert_eq!(window.step(at(1), &[]), Step::Await);
        assert_eq!(window.step(at(2), &ended("1")), Step::SleepUntil(at(7)));
        assert_eq!(window.step(at(7), &[]), Step::Done);
    }
}
