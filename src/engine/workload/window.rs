//! Requests in a fixed order with a limit on how many are in flight: all workloads but the chat. The next body is built
//! while the window is full, so that a free place is taken at once; no other body waits in memory.

use std::time::Duration;

use super::{Conclusion, Finished, Moment, Phase, Plan, Request, Skipped, Step, Workload};
use crate::engine::ask::lookups::LookupCounts;
use crate::error::Error;
use crate::load::arrivals::{Arrivals, Next, Process};
use crate::load::offer::{Offer, OwnPace};
use crate::report::banner::Banner;

/// The requests of a phase by number, each made when it is needed. They are asked for in order.
pub trait Sequence: Send {
    fn banner(&self) -> Banner;
    fn counts(&self) -> Counts;
    fn request(&mut self, phase: Phase, number: u64) -> Request;
    /// A request of the phase has ended.
    fn ended(&mut self, phase: Phase, request: &Finished) {
        let _ = (phase, request);
    }
    /// See [`Workload::notes`].
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
    /// See [`Workload::watches_lookups`].
    fn watches_lookups(&self) -> bool {
        false
    }
    /// See [`Workload::looked_up`].
    fn looked_up(&mut self, at: Moment, counts: Option<LookupCounts>) -> Result<(), Error> {
        let _ = (at, counts);
        Ok(())
    }
    /// See [`Workload::conclude`].
    fn conclude(&mut self, partial: bool) -> Conclusion {
        let _ = partial;
        Conclusion::default()
    }
    /// Whether there are requests beyond those that `counts` says, each unlike the ones before.
    fn is_endless(&self) -> bool {
        false
    }
    /// How long to wait after the last warmup request has ended.
    fn pause_after_warmup(&self) -> Duration {
        Duration::ZERO
    }
}

/// How many requests there are, and how many at a time.
#[derive(Clone, Copy)]
pub struct Counts {
    /// Requests of the warmup, and the most of them in flight.
    pub warmup: u64,
    pub warmup_in_flight: u64,
    pub measured: u64,
    /// The most measured requests in flight.
    pub in_flight: u64,
    pub tokens_per_answer: u64,
}

pub struct Window<S> {
    sequence: S,
    counts: Counts,
    body_bytes: u64,
    phase: Phase,
    offer: Option<Offer>,
    arrivals: Box<dyn Arrivals>,
    next: u64,
    in_flight: u64,
    prepared: Option<Request>,
    /// At the last step.
    elapsed: Duration,
    /// Whether the request that is due had to wait for a place.
    held: bool,
    /// When the pause after the warmup ends; set once it has begun.
    pause_ends: Option<Duration>,
}

impl Counts {
    fn own_pace(&self) -> OwnPace {
        OwnPace::Closed {
            in_flight: self.in_flight,
            requests: self.measured,
        }
    }

    fn arrivals(&self, phase: Phase, offer: Option<&Offer>) -> Box<dyn Arrivals> {
        let in_flight = match (phase, offer) {
            (Phase::Warmup, _) => self.warmup_in_flight,
            (Phase::Measured, Some(offer)) => return offer.start(self.own_pace()),
            (Phase::Measured, None) => self.in_flight,
        };
        Process::Closed { in_flight }.start()
    }
}

impl<S: Sequence> Window<S> {
    /// `body_bytes` is the size of a measured body.
    pub fn new(sequence: S, body_bytes: usize) -> Window<S> {
        let counts = sequence.counts();
        Window {
            sequence,
            counts,
            body_bytes: body_bytes as u64,
            arrivals: counts.arrivals(Phase::Warmup, None),
            phase: Phase::Warmup,
            offer: None,
            next: 0,
            in_flight: 0,
            prepared: None,
            elapsed: Duration::ZERO,
            held: false,
            pause_ends: None,
        }
    }

    /// The request of this number. A list that is used up starts again, and says so in the names of requests.
    fn request(&mut self, number: u64) -> Request {
        let count = self.counts.measured.max(1);
        if self.phase == Phase::Warmup || number < count || self.sequence.is_endless() {
            return self.sequence.request(self.phase, number);
        }
        let mut request = self.sequence.request(self.phase, number % count);
        request.id = format!("{}#{}", request.id, number / count + 1);
        request
    }

    fn take(&mut self, finished: &[Finished]) {
        self.in_flight = self.in_flight.saturating_sub(finished.len() as u64);
        let phase = self.phase;
        finished.iter().for_each(|request| self.sequence.ended(phase, request));
    }

    /// The step when every request has been sent.
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

impl<S: Sequence> Workload for Window<S> {
    fn banner(&self) -> Banner {
        self.sequence.banner()
    }

    fn plan(&self) -> Plan {
        Plan {
            streams: self.counts.in_flight.min(self.counts.measured),
            tokens_per_answer: self.counts.tokens_per_answer,
            body_bytes: self.body_bytes,
            requests: self.counts.measured,
            requests_per_second: None,
        }
        .offered(self.offer.as_ref(), self.counts.own_pace())
    }

    fn offer(&mut self, offer: Offer) {
        self.offer = Some(offer);
    }

    fn notes(&self) -> Vec<String> {
        self.sequence.notes()
    }

    fn watches_lookups(&self) -> bool {
        self.sequence.watches_lookups()
    }

    fn looked_up(&mut self, at: Moment, counts: Option<LookupCounts>) -> Result<(), Error> {
        self.sequence.looked_up(at, counts)
    }

    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.arrivals = self.counts.arrivals(phase, self.offer.as_ref());
        self.held = false;
        self.next = 0;
        self.in_flight = 0;
        self.prepared = None;
        self.pause_ends = None;
    }

    fn step(&mut self, elapsed: Duration, finished: &[Finished]) -> Step {
        self.take(finished);
        self.elapsed = elapsed;
        let number = self.next;
        let count = match (self.phase, &self.offer) {
            (Phase::Warmup, _) => self.counts.warmup,
            (Phase::Measured, None) => self.counts.measured,
            // The arrivals know their end.
            (Phase::Measured, Some(_)) => u64::MAX,
        };
        if number >= count {
            return self.ending(elapsed);
        }
        let wait = match self.arrivals.next(elapsed, self.in_flight) {
            Next::Now(arrival) => {
                let request = match self.prepared.take() {
                    Some(request) => request,
                    None => self.request(number),
                };
                self.arrivals.advance();
                self.next += 1;
                self.in_flight += 1;
                let held = std::mem::take(&mut self.held);
                return Step::Send(request.due(arrival.due, elapsed, held));
            }
            Next::At(then) => Step::SleepUntil(then),
            Next::AtOrEnd(then) => Step::AwaitUntil(then),
            Next::AfterEnd => {
                self.held = true;
                Step::Await
            }
            Next::Over => return self.ending(elapsed),
        };
        if self.prepared.is_none() {
            self.prepared = Some(self.request(number));
        }
        wait
    }

    fn skipped(&self) -> Skipped {
        let list = self.counts.measured.max(1);
        let is_listed = self.phase == Phase::Measured && !self.sequence.is_endless();
        Skipped {
            unsent: self.arrivals.unsent(self.elapsed),
            repeats: if is_listed {
                self.next.saturating_sub(1) / list
            } else {
                0
            },
            used_up: self.arrivals.is_used_up(),
            ..Skipped::default()
        }
    }

    fn end(&mut self, finished: &[Finished]) {
        self.take(finished);
    }

    fn conclude(&mut self, partial: bool) -> Conclusion {
        self.sequence.conclude(partial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{finished, offer};

    struct Numbers;

    impl Sequence for Numbers {
        fn banner(&self) -> Banner {
            Banner::new("numbers", 1)
        }

        fn counts(&self) -> Counts {
            Counts {
                warmup: 2,
                warmup_in_flight: 1,
                measured: 4,
                in_flight: 3,
                tokens_per_answer: 1,
            }
        }

        fn request(&mut self, _: Phase, number: u64) -> Request {
            Request::new(number.to_string(), Vec::new(), 1)
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
        [finished(id, "")]
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
    fn while_a_closed_loop_ramps_up_an_end_makes_room() {
        let mut window = Window::new(Numbers, 10);
        let flags = ["--max-concurrency", "2", "--ramp-up", "60s", "--duration", "10s"];
        window.offer(offer(&flags));
        window.begin(Phase::Measured);
        let at = Duration::from_secs;
        assert_eq!(sent(window.step(at(0), &[])), "0");
        assert_eq!(window.step(at(0), &[]), Step::AwaitUntil(at(60)));
        assert_eq!(sent(window.step(at(1), &ended("0"))), "1");
        assert!(!window.skipped().used_up);
    }

    #[test]
    fn a_number_of_requests_is_used_up_with_the_last_one() {
        let mut window = Window::new(Numbers, 10);
        let flags = [
            "--request-rate",
            "1",
            "--arrival",
            "constant",
            "--num-requests",
            "2",
            "--duration",
            "9s",
        ];
        window.offer(offer(&flags));
        window.begin(Phase::Measured);
        for (second, used_up) in [(0, false), (1, true)] {
            sent(window.step(Duration::from_secs(second), &[]));
            assert_eq!(window.skipped().used_up, used_up);
        }
    }

    #[test]
    fn warmup_goes_one_by_one_and_pauses_at_its_end() {
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
