//! The order in which requests arrived that were sent almost at once, as their answers and the engine's counters show it.

use super::Seen;
use super::exact::may_overtake;
use super::play::{Input, Timed};
use crate::ledger::simulate::{Entry, Exact, Kept, Served};

/// How far behind a request its overtaking shows: an order matters when one of two prefixes is evicted, not before.
const SPAN: usize = 256;
/// How many others a request overtakes at most.
const REACH: usize = 8;
/// A change is good if so many more requests are as their answers say.
const ENOUGH: usize = 64;
/// Blocks and chunks that are looked up or kept at most, and requests that are added up; some seconds of work.
pub const STEPS_MAX: usize = 10_000_000;

/// A request of a phase, by their numbers.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    pub phase: usize,
    pub request: usize,
}

/// The order in which the requests of all phases were sent, with some that overtook others, so that they are served what their
/// answers say and each phase adds up to what was counted. `apart_ns` is how long after another one a request may have been sent
/// that overtook it: the next is tried where the one before explains less than everything.
pub fn repaired(
    input: &Input,
    seen: &[Seen],
    stack: &Exact,
    as_sent: &[Arrived],
    apart_ns: [i64; 2],
    steps_left: &mut usize,
) -> Vec<Arrived> {
    let mut best: Option<(u64, Vec<Arrived>)> = None;
    for apart_ns in apart_ns {
        let mut repair = Repair {
            input,
            seen,
            stack: stack.clone(),
            order: as_sent.to_vec(),
            apart_ns,
            steps: Vec::new(),
            steps_left: *steps_left,
        };
        repair.search(as_sent);
        *steps_left = repair.steps_left;
        let distance = repair.distance();
        if best.as_ref().is_none_or(|(least, _)| distance < *least) {
            best = Some((distance, repair.order));
        }
        if distance == 0 {
            break;
        }
    }
    best.map(|(_, order)| order).unwrap_or_default()
}

struct Repair<'a> {
    input: &'a Input,
    seen: &'a [Seen],
    stack: Exact,
    order: Vec<Arrived>,
    apart_ns: i64,
    /// What was kept of the first ones in this order, and what they were served.
    steps: Vec<(Kept, Served)>,
    steps_left: usize,
}

impl<'a> Repair<'a> {
    /// Few overtake on a real connection, so one change that explains all is looked for first, then each alone: at the first
    /// request that is not as its answer says, the latest change that mends it is made. Answers do not tell the tiers apart; for
    /// these, one change after the other that brings the sums nearer to those counted is made.
    fn search(&mut self, as_sent: &[Arrived]) {
        self.run();
        // It tries all pairs, so in a long run it must not take the work of what follows.
        let kept_back = self.steps_left / 4 * 3;
        self.steps_left -= kept_back;
        let is_explained = self.approach() && self.distance() == 0;
        self.steps_left += kept_back;
        if is_explained {
            return;
        }
        self.rewind(0);
        self.order = as_sent.to_vec();
        while !self.run_as_answered(usize::MAX) {
            if !self.mend() {
                // It stays as it is, and what follows is compared all the same.
                self.keep_next();
            }
        }
        while self.distance() > 0 && self.approach() {}
    }

    /// Serves requests until one is not as its answer says, and up to the place `end`. True if none is left.
    fn run_as_answered(&mut self, end: usize) -> bool {
        let end = self.order.len().min(end);
        while self.steps.len() < end && self.is_as_answered() {
            self.keep_next();
        }
        self.steps.len() == self.order.len()
    }

    /// Tries, from the request on that is not as its answer says and backwards, to let another one overtake.
    fn mend(&mut self) -> bool {
        if self.steps_left == 0 {
            return false;
        }
        let wrong = self.steps.len();
        let enough = self.order.len().min(wrong + ENOUGH);
        let mut best: Option<(usize, usize, usize)> = None;
        for to in (wrong.saturating_sub(SPAN)..=wrong).rev() {
            self.rewind(to);
            for from in to + 1..self.order.len().min(to + 1 + REACH) {
                if !self.may_move(from, to) {
                    break;
                }
                self.order[to..=from].rotate_right(1);
                self.run_as_answered(enough);
                let reached = self.steps.len();
                self.rewind(to);
                self.order[to..=from].rotate_left(1);
                if reached > best.map_or(wrong, |(reached, ..)| reached) {
                    best = Some((reached, to, from));
                }
            }
            if self.steps_left == 0 || best.is_some_and(|(reached, ..)| reached >= enough) {
                break;
            }
        }
        if let Some((_, to, from)) = best {
            self.rewind(to);
            self.order[to..=from].rotate_right(1);
        }
        while self.steps.len() < wrong {
            self.keep_next();
        }
        best.is_some()
    }

    /// Lets the one request overtake that brings the sums nearest to those counted. False if none brings them nearer.
    fn approach(&mut self) -> bool {
        let mut best = self.distance();
        let mut change = None;
        for to in (0..self.order.len().saturating_sub(1)).rev() {
            if best == 0 || self.steps_left == 0 {
                break;
            }
            self.rewind(to);
            if !self.may_move(to + 1, to) {
                continue;
            }
            self.order.swap(to, to + 1);
            self.run();
            let distance = self.distance();
            self.rewind(to);
            self.order.swap(to, to + 1);
            if distance < best {
                best = distance;
                change = Some(to);
            }
        }
        if let Some(to) = change {
            self.rewind(to);
            self.order.swap(to, to + 1);
        }
        self.run();
        change.is_some()
    }

    /// How far each phase is from what was counted, in tokens, and from what the answers say.
    fn distance(&mut self) -> u64 {
        self.spend(self.steps.len());
        let mut sums = vec![Served::default(); self.seen.len()];
        let mut wrong = 0;
        for ((_, served), arrived) in self.steps.iter().zip(&self.order) {
            let of = self.timed(*arrived);
            if !of.counts {
                continue;
            }
            let sum = &mut sums[arrived.phase];
            sum.computed += served.computed;
            sum.hbm += served.hbm;
            sum.l1 += served.l1;
            sum.l2 += served.l2;
            sum.found_l1 += served.found_l1;
            sum.found_l2 += served.found_l2;
            wrong += of.cached_tokens.map_or(0, |said| said.abs_diff(served.cached()));
        }
        let off = |seen: Option<u64>, sum: u64| seen.map_or(0, |seen| seen.abs_diff(sum));
        let phases = self.seen.iter().zip(&sums).map(|(seen, sum)| {
            off(seen.computed, sum.computed)
                + off(seen.hbm, sum.hbm)
                + off(seen.external, sum.l1 + sum.l2)
                + off(seen.l1, sum.l1)
                + off(seen.l2, sum.l2)
                + off(seen.found_l1, sum.found_l1)
                + off(seen.found_l2, sum.found_l2)
        });
        wrong + phases.sum::<u64>()
    }

    fn may_move(&self, from: usize, to: usize) -> bool {
        let request = self.timed(self.order[from]);
        let mut others = self.order[to..from].iter();
        others.all(|other| may_overtake(request, self.timed(*other), self.apart_ns))
    }

    fn timed(&self, arrived: Arrived) -> &'a Timed {
        &self.input.phases[arrived.phase][arrived.request]
    }

    fn run(&mut self) {
        while self.steps.len() < self.order.len() {
            self.keep_next();
        }
    }

    fn is_as_answered(&mut self) -> bool {
        let said = self.timed(self.order[self.steps.len()]).cached_tokens;
        let entry = self.next();
        self.spend(units(entry));
        said.is_none_or(|said| said == self.stack.peek(entry).cached())
    }

    fn keep_next(&mut self) {
        let entry = self.next();
        self.spend(units(entry));
        let served = self.stack.peek(entry);
        self.steps.push((self.stack.keep_for_now(entry), served));
    }

    fn spend(&mut self, steps: usize) {
        self.steps_left = self.steps_left.saturating_sub(steps);
    }

    fn rewind(&mut self, to: usize) {
        while self.steps.len() > to
            && let Some((kept, _)) = self.steps.pop()
        {
            let entry = self.next();
            self.spend(units(entry));
            self.stack.take_back(&kept);
        }
    }

    fn next(&self) -> &'a Entry {
        &self.input.catalog.entries[self.timed(self.order[self.steps.len()]).entry]
    }
}

/// The blocks of a prompt, and its chunks, which two tiers keep.
fn units(entry: &Entry) -> usize {
    entry.blocks.len() + 2 * entry.chunks.len()
}
