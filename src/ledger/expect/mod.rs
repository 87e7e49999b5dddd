//! What each tier should have served of each phase, from the prompts and the stamps of a run: the simulator fed with
//! estimated times, over the variants that these times leave open. Each figure is an interval beside what was counted.

mod answers;
mod arrivals;
mod exact;
mod interval;
mod outlook;
mod pending;
mod play;
mod tiers;
mod variants;
mod vllm;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::ledger::causes::Causes;
use crate::ledger::simulate::{Prompt, Served, Tier};

pub use answers::with_answers;
pub use interval::expect;
pub use outlook::{Outlook, outlook};
pub use tiers::{Capacity, Rule, Tiers};

/// A request as the client saw it. Stamps are of one clock for all phases.
#[derive(Clone, Debug)]
pub struct Request {
    pub prompt: Prompt,
    pub sent_ns: i64,
    pub first_token_ns: Option<i64>,
    pub done_ns: i64,
    pub succeeded: bool,
    /// As its answer says (`usage.prompt_tokens_details.cached_tokens`).
    pub cached_tokens: Option<u64>,
}

impl Request {
    /// Whether the servers count it: it had a first token.
    pub fn counts(&self) -> bool {
        self.succeeded || self.first_token_ns.is_some()
    }
}

/// A part of a run. Parts follow each other on the same servers.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    pub requests: Vec<Request>,
    pub seen: Seen,
    /// Why this phase cannot be predicted, if the caller knows: preemptions, other clients, a restart.
    pub not_predicted: Option<String>,
}

/// What the servers counted in a phase, in tokens and in chunks; absent where they did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub computed: Option<u64>,
    pub hbm: Option<u64>,
    /// All that the cache server supplied, and its parts where they are known exactly.
    pub external: Option<u64>,
    pub l1: Option<u64>,
    pub l2: Option<u64>,
    /// Tokens found by lookups, whether loaded or not.
    pub found_l1: Option<u64>,
    pub found_l2: Option<u64>,
    /// For capacity, without chunks that passed through L1.
    pub chunks_evicted: Option<u64>,
    pub stores_refused_chunks: Option<u64>,
    pub loads_refused_chunks: Option<u64>,
}

/// What the caches held before the first phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Empty,
    Unknown {
        /// What L1 held, if the cache server says so.
        l1_chunks: Option<u64>,
    },
}

impl Start {
    pub fn is_unknown(self) -> bool {
        self != Start::Empty
    }
}

/// When the cache server's eviction loop runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticks {
    Unknown,
    /// At this time of the requests' clock, and every 1.001 s before and after it.
    At(i64),
}

/// One figure of a phase, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Absent where only bounds are known.
    pub expected: Option<u64>,
    pub min: u64,
    pub max: u64,
    pub seen: Option<u64>,
}

impl Row {
    /// Whether what was seen is in the interval; also if nothing was seen.
    pub fn holds(&self) -> bool {
        self.seen.is_none_or(|seen| (self.min..=self.max).contains(&seen))
    }
}

/// One request as expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpectedRequest {
    pub served: Served,
    pub causes: Causes,
    /// The most that could have been cached of it.
    pub possible: u64,
}

/// What makes an interval wide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is not known when the cache server evicted.
    TickPhase,
    /// Requests in flight together, which the engine may have admitted in another order.
    InFlight {
        requests: u64,
    },
    UnknownCapacity(Tier),
    /// The caches were not empty at the start.
    UnknownStart,
    /// An earlier phase went otherwise than any variant, so what the caches held is not known exactly.
    UnknownState,
    /// The engine may know answers by other tokens than those of the next prompt.
    Answers,
    /// Requests without a first token, which may have changed the caches.
    Failed {
        requests: u64,
    },
    /// Not all variants were simulated, to save time.
    FewerVariants {
        simulated: u64,
        of: u64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::TickPhase => f.write_str("the times at which L1 evicts are not known exactly"),
            Reason::InFlight { requests } => write!(f, "requests were in flight together ({requests})"),
            Reason::UnknownCapacity(tier) => write!(f, "the capacity of {tier} is unknown"),
            Reason::UnknownStart => f.write_str("the caches may not have been empty at the start"),
            Reason::UnknownState => {
                f.write_str("an earlier phase differs from all variants, so the caches' state is unknown")
            }
            Reason::Answers => f.write_str("answers may have other token ids in the next prompt"),
            Reason::Failed { requests } => write!(
                f,
                "requests without a first token ({requests}) may have changed the caches"
            ),
            Reason::FewerVariants { simulated, of } => {
                write!(f, "{simulated} of {of} variants were simulated, to save time")
            }
        }
    }
}

/// Whether a simulated variant gives exactly what was counted, in this phase and in all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// There is nothing to compare with.
    NotChecked,
    /// The figures are those of one of so many variants that do.
    Explained {
        variants: u64,
    },
    Differs,
}

/// A phase as expected.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Prompt tokens of the requests that count.
    pub prompt: u64,
    pub computed: Row,
    pub hbm: Row,
    pub l1: Row,
    pub l2: Row,
    /// In the order of the phase's requests; absent for those that the servers do not count, and where only bounds are known.
    pub requests: Vec<Option<ExpectedRequest>>,
    pub causes: Option<Causes>,
    /// The most that could have been cached: everything sent before, in whole blocks and chunks, with endless tiers.
    pub possible: u64,
    pub width: Vec<Reason>,
    /// HBM and L1, if they had lost something by the end of the phase.
    pub overflowed: Vec<Tier>,
    pub fit: Fit,
    pub not_predicted: Option<String>,
}

impl Expected {
    /// The figures of this phase, from the engine down.
    pub fn rows(&self) -> [&Row; 4] {
        [&self.computed, &self.hbm, &self.l1, &self.l2]
    }

    /// What was seen is outside of the intervals, or there is none.
    fn leaves_unknown_state(&self) -> bool {
        self.not_predicted.is_some() || self.rows().iter().any(|row| !row.holds())
    }
}
