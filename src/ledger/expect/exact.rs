//! A run on the mock engine, which serves each request in one step when it arrives. Only the order of arrivals is open.

use super::Seen;
use super::arrivals::{Arrived, repaired};
use super::play::{Input, Played, Timed, expected_request};
use crate::ledger::causes::History;
use crate::ledger::simulate::Exact;

/// Requests sent within this time of each other may arrive in either order.
const APART_NS: i64 = 100_000;
/// The same where a thread had to wait between its stamp and its write.
const FAR_APART_NS: i64 = 10_000_000;

/// In which order requests arrived that were sent almost at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    AsSent,
    Reversed,
    /// As the answers' counts of cached tokens and the counters show.
    ByAnswers,
}

/// The requests of each phase that were served, in the order in which they arrived.
pub type Orders = Vec<Vec<usize>>;

/// `seen` was counted of each phase; with `failed`, requests without a first token were served. What a search costs is taken from
/// `steps_left`.
pub fn orders(
    input: &Input,
    seen: &[Seen],
    arrivals: Arrivals,
    failed: bool,
    stack: &Exact,
    steps_left: &mut usize,
) -> Orders {
    let as_sent = || input.phases.iter().map(|requests| sent_order(requests, failed));
    match arrivals {
        Arrivals::AsSent => as_sent().collect(),
        Arrivals::Reversed => {
            let phases = input.phases.iter().zip(as_sent());
            phases.map(|(requests, order)| reversed(requests, order)).collect()
        }
        Arrivals::ByAnswers => by_answers(input, seen, stack, as_sent().collect(), steps_left),
    }
}

/// The state of a run between two phases.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    input: &'a Input,
    stack: Exact,
    history: History<'a>,
}

impl<'a> Run<'a> {
    pub fn new(input: &'a Input, stack: Exact) -> Run<'a> {
        Run {
            input,
            stack,
            history: History::new(&input.catalog),
        }
    }

    /// Plays the requests of a phase in this order. `keep` keeps each request.
    pub fn phase(&mut self, number: usize, order: &[usize], keep: bool) -> Played {
        let input = self.input;
        let requests = &input.phases[number];
        let mut played = Played::new(requests.len(), keep);
        let evicted = self.stack.evicted();
        for request in order.iter().copied() {
            let of = &requests[request];
            let entry = &input.catalog.entries[of.entry];
            let admitted = self.stack.serve(entry);
            let expected = expected_request(&input.units, &self.history, of.entry, entry, &admitted);
            self.history.sent(of.entry);
            if of.counts {
                played.add(request, of.cached_tokens, expected);
            }
        }
        played.evicted = self.stack.evicted() - evicted;
        played
    }
}

/// The orders of all phases. Requests of an earlier phase may show only in a later one in which order they arrived.
fn by_answers(input: &Input, seen: &[Seen], stack: &Exact, as_sent: Orders, steps_left: &mut usize) -> Orders {
    let all: Vec<Arrived> = as_sent
        .into_iter()
        .enumerate()
        .flat_map(|(phase, order)| order.into_iter().map(move |request| Arrived { phase, request }))
        .collect();
    let mut orders = vec![Vec::new(); input.phases.len()];
    for Arrived { phase, request } in repaired(input, seen, stack, &all, [APART_NS, FAR_APART_NS], steps_left) {
        orders[phase].push(request);
    }
    orders
}

/// Of those that may arrive next, the last one that was sent comes first.
fn reversed(requests: &[Timed], mut order: Vec<usize>) -> Vec<usize> {
    let mut from = 0;
    while from < order.len() {
        let open = (from + 1..order.len()).take_while(|at| {
            let mut others = order[from..*at].iter().map(|other| &requests[*other]);
            others.all(|other| may_overtake(&requests[order[*at]], other, APART_NS))
        });
        let to = from + 1 + open.count();
        order[from..to].reverse();
        from = to;
    }
    order
}

/// Whether a request may have arrived before one that was sent before it: at most so long after it, and before that was done.
pub fn may_overtake(request: &Timed, other: &Timed, apart_ns: i64) -> bool {
    request.sent_ns <= other.sent_ns.saturating_add(apart_ns).min(other.done_ns)
}

/// The requests that were served, in the order in which they were sent.
fn sent_order(requests: &[Timed], failed: bool) -> Vec<usize> {
    let served = |request: &usize| requests[*request].counts || failed;
    let mut order: Vec<usize> = (0..requests.len()).filter(served).collect();
    order.sort_by_key(|request| requests[*request].sent_ns);
    order
}

/// Whether any order but that of sending is possible.
pub fn has_other_orders(requests: &[Timed]) -> bool {
    !followers(requests, FAR_APART_NS).is_empty()
}

/// Requests that may well have arrived before the one that was sent before them.
pub fn overtakers(requests: &[Timed]) -> Vec<usize> {
    followers(requests, APART_NS)
}

fn followers(requests: &[Timed], apart_ns: i64) -> Vec<usize> {
    let order = sent_order(requests, true);
    let pairs = order.windows(2);
    let overtakes = |pair: &&[usize]| may_overtake(&requests[pair[1]], &requests[pair[0]], apart_ns);
    pairs.filter(overtakes).map(|pair| pair[1]).collect()
}
