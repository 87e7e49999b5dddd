//! Prompts of which some belong to sessions: a session's next request waits for the answer to the one before, and for its
//! delay. Otherwise the order is that of the file.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use super::prompts::Prompts;
use crate::engine::workload::window::Sequence;
use crate::engine::workload::{Conclusion, Finished, Phase, Plan, Request, Skipped, Step, Workload};
use crate::load::arrivals::{Arrivals, Next, Process};
use crate::load::offer::{Offer, OwnPace};
use crate::report::banner::Banner;

pub(super) struct Sessions {
    prompts: Prompts,
    body_bytes: u64,
    /// By number: the session's next request.
    followers: Vec<Option<u32>>,
    /// By number: whether another request comes before it in its session.
    follows: Vec<bool>,
    phase: Phase,
    offer: Option<Offer>,
    arrivals: Box<dyn Arrivals>,
    /// Whether the request that is due had to wait for a place or for its session.
    held: bool,
    /// At the last step.
    elapsed: Duration,
    /// Requests before this one were looked at in the order of the file.
    next: usize,
    /// Followers that may be sent.
    ready: BinaryHeap<Reverse<u32>>,
    /// Followers whose delay is not over, with its end.
    delayed: BinaryHeap<Reverse<(Duration, u32)>>,
    in_flight: HashMap<String, u32>,
    has_delays: bool,
    unsent: usize,
    /// The request that is likely to be next, made while there was time.
    prepared: Option<(u32, Request)>,
}

impl Sessions {
    pub(super) fn new(prompts: Prompts) -> Sessions {
        let count = prompts.loaded.items.len();
        let (mut followers, mut follows) = (vec![None; count], vec![false; count]);
        let mut last_of: Vec<Option<usize>> = vec![None; prompts.loaded.sessions as usize];
        for (number, item) in prompts.loaded.items.iter().enumerate() {
            let Some(session) = item.session else { continue };
            if let Some(before) = last_of[session as usize].replace(number) {
                followers[before] = Some(number as u32);
                follows[number] = true;
            }
        }
        Sessions {
            body_bytes: prompts.body_bytes() as u64,
            followers,
            follows,
            phase: Phase::Warmup,
            offer: None,
            arrivals: Sessions::arrivals(&prompts, None),
            held: false,
            elapsed: Duration::ZERO,
            next: 0,
            ready: BinaryHeap::new(),
            delayed: BinaryHeap::new(),
            in_flight: HashMap::new(),
            has_delays: prompts.loaded.items.iter().any(|item| item.delay_us > 0),
            unsent: count,
            prepared: None,
            prompts,
        }
    }

    fn arrivals(prompts: &Prompts, offer: Option<&Offer>) -> Box<dyn Arrivals> {
        let in_flight = prompts.in_flight;
        match offer {
            Some(offer) => offer.start(Sessions::own_pace(prompts)),
            None => Process::Closed { in_flight }.start(),
        }
    }

    fn own_pace(prompts: &Prompts) -> OwnPace {
        OwnPace::Closed {
            in_flight: prompts.in_flight,
            requests: prompts.loaded.items.len() as u64,
        }
    }

    /// Requests that can be in flight at the same time.
    fn streams(&self) -> u64 {
        let first = self.follows.iter().filter(|follows| !**follows).count() as u64;
        self.prompts.in_flight.min(first)
    }

    fn take(&mut self, elapsed: Duration, finished: &[Finished]) {
        for request in finished {
            let number = self.in_flight.remove(&request.id);
            let Some(follower) = number.and_then(|number| self.followers[number as usize]) else {
                continue;
            };
            let delay = Duration::from_micros(self.prompts.loaded.items[follower as usize].delay_us);
            self.delayed.push(Reverse((elapsed + delay, follower)));
        }
        while let Some(Reverse((ends, follower))) = self.delayed.peek().copied()
            && ends <= elapsed
        {
            self.delayed.pop();
            self.ready.push(Reverse(follower));
        }
    }

    /// The first request of the file that may be sent.
    fn first_ready(&mut self) -> Option<u32> {
        while self.follows.get(self.next) == Some(&true) {
            self.next += 1;
        }
        let opening = (self.next < self.follows.len()).then_some(self.next as u32);
        let follower = self.ready.peek().map(|Reverse(number)| *number);
        match (opening, follower) {
            (Some(opening), Some(follower)) => Some(opening.min(follower)),
            (opening, follower) => opening.or(follower),
        }
    }

    fn send(&mut self, number: u32, due: Option<Duration>) -> Step {
        if self.next == number as usize {
            self.next += 1;
        } else {
            self.ready.pop();
        }
        let request = match self.prepared.take() {
            Some((prepared, request)) if prepared == number => request,
            _ => self.prompts.make(number as usize),
        };
        self.arrivals.advance();
        self.unsent -= 1;
        self.in_flight.insert(request.id.clone(), number);
        Step::Send(request.due(due, self.elapsed, std::mem::take(&mut self.held)))
    }

    fn prepare(&mut self) {
        if let Some(number) = self.first_ready()
            && self.prepared.as_ref().is_none_or(|(prepared, _)| *prepared != number)
        {
            self.prepared = Some((number, self.prompts.make(number as usize)));
        }
    }

    /// What to wait for when no request may be sent, although one more could be in flight.
    fn wait(&self) -> Step {
        let ends = self.delayed.peek().map(|Reverse((ends, _))| *ends);
        // At the end of the phase nothing is left to wait for.
        let over = self
            .offer
            .as_ref()
            .and_then(|offer| offer.end(Sessions::own_pace(&self.prompts)).duration);
        match ends.map(|ends| over.map_or(ends, |over| over.min(ends))) {
            None => Step::Await,
            Some(ends) if self.in_flight.is_empty() => Step::SleepUntil(ends),
            Some(ends) => Step::AwaitUntil(ends),
        }
    }
}

impl Workload for Sessions {
    fn banner(&self) -> Banner {
        self.prompts.banner()
    }

    fn plan(&self) -> Plan {
        let counts = self.prompts.counts();
        Plan {
            streams: self.streams(),
            tokens_per_answer: counts.tokens_per_answer,
            body_bytes: self.body_bytes,
            requests: counts.measured,
            requests_per_second: None,
        }
        .offered(self.offer.as_ref(), Sessions::own_pace(&self.prompts))
    }

    /// A file with sessions does not start again: its end is the end of the phase.
    fn offer(&mut self, offer: Offer) {
        self.offer = Some(offer);
    }

    fn skipped(&self) -> Skipped {
        Skipped {
            unsent: self.arrivals.unsent(self.elapsed).min(self.unsent as u64),
            used_up: self.unsent == 0 || self.arrivals.is_used_up(),
            ..Skipped::default()
        }
    }

    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.arrivals = Sessions::arrivals(&self.prompts, self.offer.as_ref());
        self.held = false;
        self.next = 0;
        self.ready.clear();
        self.delayed.clear();
        self.in_flight.clear();
        self.unsent = self.follows.len();
        self.prepared = None;
    }

    fn step(&mut self, elapsed: Duration, finished: &[Finished]) -> Step {
        if self.phase == Phase::Warmup {
            return Step::Done;
        }
        self.elapsed = elapsed;
        self.take(elapsed, finished);
        if self.unsent == 0 {
            return Step::Done;
        }
        match self.arrivals.next(elapsed, self.in_flight.len() as u64) {
            Next::Now(arrival) => match self.first_ready() {
                Some(number) => self.send(number, arrival.due),
                None => {
                    self.held = true;
                    self.wait()
                }
            },
            // The pause of a session begins when the end of its request is seen.
            Next::At(then) if self.has_delays && !self.in_flight.is_empty() => Step::AwaitUntil(then),
            Next::At(then) => Step::SleepUntil(then),
            Next::AtOrEnd(then) => Step::AwaitUntil(then),
            Next::AfterEnd => {
                self.held = true;
                self.prepare();
                Step::Await
            }
            Next::Over => Step::Done,
        }
    }

    fn conclude(&mut self, _: bool) -> Conclusion {
        self.prompts.conclusion()
    }
}
