//! A run on vLLM with LMCache in simulated time. What the client's stamps do not say is estimated: when a request was
//! admitted and its chunks were stored, and when L1 evicted.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::play::{Input, Played, Timed, computed_whole, expected_request};
use super::variants::overlapping;
use crate::ledger::causes::History;
use crate::ledger::simulate::Stack;
use crate::stats::random::SplitMix64;

const MS: i64 = 1_000_000;
/// From sending to the first look of the scheduler, as measured on vLLM 0.32.0 with LMCache 0.5.6.
const ADMITTED_AFTER_NS: i64 = 30 * MS;
/// From the first token until its chunks are in L1.
const STORED_AFTER_NS: i64 = 10 * MS;
/// The same on a busy machine: the request after it is looked up before.
const STORED_LATE_AFTER_NS: i64 = 100 * MS;
/// LMCache's eviction loop sleeps for a second; the rest is its work.
pub const TICK_PERIOD_NS: i64 = 1_001 * MS;
/// What a round of it takes longer on a busy machine, at most; up to 90 ms were seen on two cores with a load of 4.
const TICK_DELAY_NS: u64 = 50 * MS as u64;
/// Counters are read within this time of the last answer.
const COUNTED_WITHIN_NS: i64 = 5_000 * MS;

/// What stamps leave open about a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Requests are admitted in the order in which they were sent, else in that of their first tokens.
    pub by_sent: bool,
    /// A request is admitted when the one before it has its first token, else as soon as it fits.
    pub one_prefill: bool,
    /// The engine knows answers by the tokens of the prompts that follow.
    pub answers: bool,
    /// Requests without a first token were served.
    pub failed: bool,
    /// L1 had other chunks at the start.
    pub foreign: bool,
    /// The cache server looks up at once, also for requests that wait for others, and stores late.
    pub slow: bool,
}

impl Mode {
    pub const USUAL: Mode = Mode {
        by_sent: false,
        one_prefill: false,
        answers: true,
        failed: false,
        foreign: false,
        slow: false,
    };
}

/// The eviction loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticking {
    /// When it evicts next.
    pub next_ns: i64,
    /// Its rounds take longer by amounts that are drawn from this number; absent on a machine that is idle.
    pub delays: Option<u64>,
}

impl Ticking {
    /// Goes on by this many rounds.
    fn advance(&mut self, rounds: i64) -> Option<()> {
        let delay = self.delays.as_mut().map_or(0, |state| {
            *state = SplitMix64::new(*state).next_u64();
            (*state % TICK_DELAY_NS) as i64
        });
        self.next_ns = self.next_ns.checked_add(TICK_PERIOD_NS.saturating_mul(rounds))?;
        self.next_ns = self.next_ns.checked_add(delay)?;
        Some(())
    }
}

/// The state of a run between two phases.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    input: &'a Input,
    mode: Mode,
    stack: Stack,
    history: History<'a>,
    /// When L1 evicts; absent if it never does.
    ticking: Option<Ticking>,
    /// Evictions since the last phase.
    evicted_since: u64,
    /// The cache server is slow in the phase that is played; with one request in flight it keeps up.
    is_slow: bool,
}

impl<'a> Run<'a> {
    pub fn new(input: &'a Input, mode: Mode, stack: Stack, ticking: Option<Ticking>) -> Run<'a> {
        Run {
            input,
            mode,
            stack,
            history: History::new(&input.catalog),
            ticking,
            evicted_since: 0,
            is_slow: false,
        }
    }

    /// Whether a tick would have had any effect so far.
    pub fn was_over(&self) -> bool {
        self.stack.was_over()
    }

    /// Plays a phase, and the pause behind it, with its ticks moved by `shift_ns`. `keep` keeps each request.
    pub fn phase(&mut self, number: usize, shift_ns: i64, keep: bool) -> Played {
        let requests = &self.input.phases[number];
        self.is_slow = self.mode.slow && overlapping(requests) > 0;
        let order = self.order(requests);
        let begins_ns = order.iter().map(|request| ready_ns(&requests[*request])).min();
        self.move_ticks(shift_ns);
        let before = self.stack.counts().evicted;
        self.ticks_until(begins_ns.unwrap_or(i64::MIN));
        let mut playing = Playing {
            requests,
            events: BinaryHeap::new(),
            now: begins_ns.unwrap_or(i64::MIN),
            played: Played::new(requests.len(), keep),
        };
        playing.played.evicted_around = std::mem::take(&mut self.evicted_since) + self.stack.counts().evicted - before;
        let mut played = self.play(playing, &order);
        played.hbm_lost = self.stack.hbm_losses() > 0;
        played.l1_lost = self.stack.counts().evicted > 0;
        self.pause(number, &mut played);
        self.move_ticks(-shift_ns);
        played
    }

    /// The requests that are played, in the order of their admission.
    fn order(&self, requests: &[Timed]) -> Vec<usize> {
        let played = |request: &usize| requests[*request].counts || self.mode.failed;
        let mut order: Vec<usize> = (0..requests.len()).filter(played).collect();
        order.sort_by_key(|request| {
            let of = &requests[*request];
            match self.mode.by_sent {
                true => (of.sent_ns, of.first_token_ns),
                false => (of.first_token_ns, of.sent_ns),
            }
        });
        order
    }

    fn play(&mut self, mut playing: Playing<'a>, order: &[usize]) -> Played {
        let before = self.stack.counts();
        if self.is_slow {
            let lookups = order
                .iter()
                .map(|request| (ready_ns(&playing.requests[*request]), *request));
            let lookups = lookups.map(|(at, request)| Reverse((at, Step::LookUp, request)));
            playing.events.extend(lookups);
        }
        let mut prefilled_ns = i64::MIN;
        for request in order {
            let of = &playing.requests[*request];
            let mut ready = ready_ns(of);
            if self.mode.one_prefill && prefilled_ns < of.first_token_ns {
                ready = ready.max(prefilled_ns);
            }
            playing.now = playing.now.max(ready);
            while playing.has_event() {
                self.next_event(&mut playing);
            }
            self.ticks_until(playing.now);
            self.admit(*request, &mut playing);
            prefilled_ns = self.stored_ns(of);
        }
        while self.next_event(&mut playing) {}
        let mut played = playing.played;
        played.add_counts(before, self.stack.counts());
        played
    }

    /// Admits a request now or as soon as its blocks are free.
    fn admit(&mut self, request: usize, playing: &mut Playing<'a>) {
        let of = &playing.requests[request];
        let entry = &self.input.catalog.entries[of.entry];
        let admitted = loop {
            if let Some(admitted) = self.stack.admit(request, entry) {
                let stored_ns = self.stored_ns(of).max(playing.now);
                playing.events.push(Reverse((stored_ns, Step::Store, request)));
                break admitted;
            }
            if !self.next_event(playing) {
                self.stack.give_up(request, entry);
                break computed_whole(entry);
            }
        };
        let expected = expected_request(&self.input.units, &self.history, of.entry, entry, &admitted);
        self.history.sent(of.entry);
        if of.counts {
            playing.played.add(request, of.cached_tokens, expected);
        }
    }

    /// Carries out the next event, with the ticks before it. False if there is none.
    fn next_event(&mut self, playing: &mut Playing) -> bool {
        let Some(Reverse((at, step, request))) = playing.events.pop() else {
            return false;
        };
        self.ticks_until(at);
        playing.now = playing.now.max(at);
        let of = &playing.requests[request];
        let entry = &self.input.catalog.entries[of.entry];
        match step {
            Step::LookUp => self.stack.look_up(request, entry),
            Step::Store => {
                self.stack.stored(request, entry);
                playing.events.push(Reverse((of.done_ns.max(at), Step::End, request)));
            }
            Step::End => {
                self.stack.freed(request, entry, self.mode.answers);
                if self.mode.answers {
                    self.history.answered(of.entry);
                }
            }
        }
        true
    }

    /// When a request's chunks are stored. On a server that keeps up it is before its end, so that a request that is sent then
    /// finds them.
    fn stored_ns(&self, of: &Timed) -> i64 {
        match self.is_slow {
            true => of.first_token_ns.saturating_add(STORED_LATE_AFTER_NS),
            false => of.first_token_ns.saturating_add(STORED_AFTER_NS).min(of.done_ns),
        }
    }

    /// What L1 evicts between a phase and the next one may be counted in either, and some time after the last one in that.
    fn pause(&mut self, number: usize, played: &mut Played) {
        let before = self.stack.counts().evicted;
        let following = &self.input.phases[number + 1..];
        let next = following.iter().flatten().map(ready_ns).min();
        let last = self.input.phases[number].iter().map(|of| of.done_ns).max();
        let counted = last.map(|last| last.saturating_add(COUNTED_WITHIN_NS));
        self.ticks_until(next.or(counted).unwrap_or(i64::MIN));
        self.evicted_since = self.stack.counts().evicted - before;
        played.evicted_around += self.evicted_since;
    }

    fn ticks_until(&mut self, now: i64) {
        while let Some(mut ticking) = self.ticking.filter(|ticking| ticking.next_ns <= now) {
            let mut rounds = 1;
            if self.stack.is_over() {
                self.stack.tick();
            } else {
                // None of the ticks until then does anything.
                rounds += now.saturating_sub(ticking.next_ns) / TICK_PERIOD_NS;
            }
            self.ticking = ticking.advance(rounds).map(|()| ticking);
        }
    }

    fn move_ticks(&mut self, shift_ns: i64) {
        if let Some(ticking) = &mut self.ticking {
            ticking.next_ns = ticking.next_ns.saturating_add(shift_ns);
        }
    }
}

/// What becomes of a request besides its admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Store,
    End,
    LookUp,
}

/// A phase that is being played.
struct Playing<'a> {
    requests: &'a [Timed],
    /// The earliest first.
    events: BinaryHeap<Reverse<(i64, Step, usize)>>,
    now: i64,
    played: Played,
}

impl Playing<'_> {
    fn has_event(&self) -> bool {
        let next = self.events.peek();
        next.is_some_and(|Reverse((at, ..))| *at <= self.now)
    }
}

/// When a request may be admitted. It is before its first token, also on an engine that is faster than the one measured.
fn ready_ns(of: &Timed) -> i64 {
    let half = of.sent_ns.midpoint(of.first_token_ns);
    of.sent_ns.saturating_add(ADMITTED_AFTER_NS).min(half)
}
