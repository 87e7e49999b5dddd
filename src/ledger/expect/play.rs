//! One run through the simulator, with sums over each phase.

use super::{ExpectedRequest, Request, Seen};
use crate::ledger::causes::{Causes, History, Units};
use crate::ledger::simulate::{Admitted, Catalog, Counts, Entry, Missing, Served};

/// A request with the numbers that a simulation needs.
#[derive(Clone, Debug)]
pub struct Timed {
    pub entry: usize,
    pub sent_ns: i64,
    pub first_token_ns: i64,
    pub done_ns: i64,
    /// The servers count it: it had a first token.
    pub counts: bool,
    pub cached_tokens: Option<u64>,
}

impl Timed {
    /// Stamps are put in order, whatever the clock did.
    pub fn new(request: &Request, entry: usize) -> Timed {
        let done_ns = request.done_ns.max(request.sent_ns);
        let first = request.first_token_ns.unwrap_or(done_ns);
        Timed {
            entry,
            sent_ns: request.sent_ns,
            first_token_ns: first.clamp(request.sent_ns, done_ns),
            done_ns,
            counts: request.counts(),
            cached_tokens: request.cached_tokens,
        }
    }

    /// The same, with nothing to compare it with.
    pub fn unchecked(self) -> Timed {
        Timed {
            cached_tokens: None,
            ..self
        }
    }
}

/// What was simulated of a phase.
#[derive(Clone, Debug, Default)]
pub struct Played {
    pub served: Served,
    pub causes: Causes,
    pub possible: u64,
    /// Evictions from the first request to the last, and those before and behind, which the counters may have or not.
    pub evicted: u64,
    pub evicted_around: u64,
    pub stores_refused: u64,
    pub loads_refused: u64,
    /// HBM had lost blocks by the end of the phase, and L1 chunks.
    pub hbm_lost: bool,
    pub l1_lost: bool,
    /// Requests whose answers name another number of cached tokens.
    pub mismatched: u64,
    /// Each request, if asked for; absent for those that the servers do not count.
    pub requests: Vec<Option<ExpectedRequest>>,
}

impl Played {
    pub fn new(requests: usize, keep: bool) -> Played {
        Played {
            requests: vec![None; if keep { requests } else { 0 }],
            ..Played::default()
        }
    }

    /// Adds a request that the servers count.
    pub fn add(&mut self, request: usize, cached_tokens: Option<u64>, expected: ExpectedRequest) {
        let served = &expected.served;
        self.served.computed += served.computed;
        self.served.hbm += served.hbm;
        self.served.l1 += served.l1;
        self.served.l2 += served.l2;
        self.served.found_l1 += served.found_l1;
        self.served.found_l2 += served.found_l2;
        self.causes.add(&expected.causes);
        self.possible += expected.possible;
        self.mismatched += u64::from(cached_tokens.is_some_and(|cached| cached != served.cached()));
        if let Some(kept) = self.requests.get_mut(request) {
            *kept = Some(expected);
        }
    }

    /// Adds what the cache server did between two readings of its counts.
    pub fn add_counts(&mut self, before: Counts, after: Counts) {
        self.evicted += after.evicted - before.evicted;
        self.stores_refused += after.stores_refused - before.stores_refused;
        self.loads_refused += after.loads_refused - before.loads_refused;
    }

    /// Whether this gives what was counted.
    pub fn explains(&self, seen: &Seen) -> bool {
        let served = &self.served;
        let same = |seen: Option<u64>, simulated: u64| seen.is_none_or(|seen| seen == simulated);
        let evicted = self.evicted..=self.evicted + self.evicted_around;
        same(seen.computed, served.computed)
            && same(seen.hbm, served.hbm)
            && same(seen.external, served.l1 + served.l2)
            && same(seen.l1, served.l1)
            && same(seen.l2, served.l2)
            && same(seen.found_l1, served.found_l1)
            && same(seen.found_l2, served.found_l2)
            && same(seen.stores_refused_chunks, self.stores_refused)
            && same(seen.loads_refused_chunks, self.loads_refused)
            && seen.chunks_evicted.is_none_or(|seen| evicted.contains(&seen))
    }
}

/// What is known of a request that was admitted; to be called before it is added to the history.
pub fn expected_request(
    units: &Units,
    history: &History,
    entry: usize,
    of: &Entry,
    admitted: &Admitted,
) -> ExpectedRequest {
    let known = history.known(entry);
    let tokens = of.tokens() as u64;
    ExpectedRequest {
        served: admitted.served,
        causes: units.causes(tokens, &known, admitted),
        possible: units.possible(tokens, &known),
    }
}

/// A request that cannot be served from any tier, as it needs more blocks than there are.
pub fn computed_whole(entry: &Entry) -> Admitted {
    Admitted {
        served: Served {
            computed: entry.tokens() as u64,
            ..Served::default()
        },
        missing: Missing::NotStored,
    }
}

/// What all simulations of a run share.
#[derive(Clone, Debug)]
pub struct Input {
    pub catalog: Catalog,
    pub units: Units,
    pub phases: Vec<Vec<Timed>>,
}
