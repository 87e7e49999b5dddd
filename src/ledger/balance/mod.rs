//! The ledger of a phase: prompt tokens by where they came from, out of what the servers counted between two moments and what
//! our own answers said. Rows that nothing tells are absent, and what is not told apart is a range.

use std::collections::BTreeMap;

use crate::ledger::counters::{Moment, Naming, Void};

mod cache_rows;
mod checks;
mod engine_rows;
mod item;
#[cfg(test)]
mod tests;

pub use checks::{Check, Outcome};
pub use item::{Figure, Item, Range};

/// Sums over our own successful answers of a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Successful answers.
    pub requests: u64,
    /// Requests that failed or were cut off; the engine may have counted their prompts.
    pub failed: u64,
    /// Answers that said how long their prompt was, and the sum of that.
    pub with_prompt: u64,
    pub prompt_tokens: u64,
    /// Answers that said how much of it was cached, and the sum of that.
    pub with_cached: u64,
    pub cached_tokens: u64,
}

impl Usage {
    fn prompt(&self) -> Option<u64> {
        (self.with_prompt == self.requests).then_some(self.prompt_tokens)
    }

    /// An engine may leave the number out of an answer where it is 0, so one that gives it is enough.
    fn cached(&self) -> Option<u64> {
        (self.with_cached > 0 || self.requests == 0).then_some(self.cached_tokens)
    }
}

/// What else the counts are read with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Between the two moments.
    pub seconds: f64,
    /// Tokens of a chunk of LMCache, and of a block of the engine.
    pub chunk_tokens: Option<u64>,
    pub block_tokens: Option<u64>,
    /// LMCache counts an object for each rank of the engine and chunk.
    pub ranks: Option<u64>,
    pub prefetch: Prefetch,
    /// Names of our model, as LMCache may know it.
    pub models: Vec<String>,
}

impl Settings {
    /// Chunks of this many objects.
    fn chunks(&self, objects: u64) -> u64 {
        objects / self.ranks.unwrap_or(1).max(1)
    }
}

/// What happens in L1 with chunks that were loaded from L2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefetch {
    /// They are dropped after the transfer, which counts as eviction.
    Dropped,
    /// They stay.
    Retained,
    #[default]
    Unknown,
}

/// What the rows were made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    Engine(Naming),
    /// The engine has no counters that are known: the answers' own numbers.
    Usage,
    /// The engine's counters say nothing about this phase.
    Void,
}

/// Whether the sources add up to the prompt tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    Exact,
    /// Tokens that no source has; negative where the sources have more than there were.
    Off(i64),
    /// The computed tokens are not counted: they are what the caches leave.
    Derived,
    Unknown,
}

/// How the tokens that LMCache gave are known by tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Split {
    Exact,
    Interval,
    /// The clause says why.
    Unknown(String),
    /// LMCache gave nothing, or nothing is known of an LMCache.
    Nothing,
}

/// Lookups of other engines at the same LMCache server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// At least so many tokens of the phase's lookups were asked for by others.
    pub looked_up: u64,
    /// Other models that were looked up.
    pub models: Vec<String>,
    /// Whether the rows of tokens are those of our model alone.
    pub is_separate: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    pub basis: Basis,
    /// Our successful answers, and our requests that failed.
    pub requests: u64,
    pub failed: u64,
    pub rows: BTreeMap<Item, Figure>,
    pub balance: Balance,
    pub split: Split,
    /// Prompt tokens that are not of our answers; negative where our answers have more than the engine counted.
    pub others: Option<i64>,
    /// Tokens of requests that the engine admitted and that gave no first token; negative where requests passed the cache by.
    pub no_first_token: Option<i64>,
    pub checks: Vec<Check>,
    /// Counters of the engine and of LMCache that went back or grew beyond reason.
    pub engine_voids: Vec<Void>,
    pub cache_voids: Vec<Void>,
    /// Counters that no page gave, or that could not be read.
    pub missing: Vec<String>,
    /// Events that LMCache did not count: its rows are lower bounds.
    pub dropped_events: u64,
    pub shared: Option<Shared>,
    /// Tokens by which lookups in the engine's own cache exceed the prompts, in names that count lookups again in every step.
    pub recounted: u64,
}

impl Ledger {
    /// What was counted from `before` to `after`. `usage` is of the answers in between.
    pub fn between(before: &Moment, after: &Moment, usage: &Usage, settings: &Settings) -> Ledger {
        let mut ledger = Ledger {
            basis: Basis::Usage,
            requests: usage.requests,
            failed: usage.failed,
            rows: BTreeMap::new(),
            balance: Balance::Unknown,
            split: Split::Nothing,
            others: None,
            no_first_token: None,
            checks: Vec::new(),
            engine_voids: Vec::new(),
            cache_voids: Vec::new(),
            missing: Vec::new(),
            dropped_events: 0,
            shared: None,
            recounted: 0,
        };
        let engine = match (&before.engine, &after.engine) {
            (Some(before), Some(after)) => after.since(before, settings.seconds),
            _ => None,
        };
        let cache = match (&before.cache, &after.cache) {
            (Some(before), Some(after)) => after.since(before, settings.seconds),
            _ => None,
        };
        if before.engine.is_some() != after.engine.is_some() {
            ledger.missing.push("the engine's page, before or after".to_owned());
        }
        if before.cache.is_some() != after.cache.is_some() {
            ledger
                .missing
                .push("the LMCache server's page, before or after".to_owned());
        }
        let is_counted = |moment: &Moment| moment.engine.as_ref().is_some_and(|engine| engine.naming.is_some());
        let given = match &engine {
            Some((grown, _)) if !grown.voids.is_empty() => {
                ledger.basis = Basis::Void;
                ledger.engine_voids.clone_from(&grown.voids);
                None
            }
            Some((grown, naming)) => {
                ledger.basis = Basis::Engine(*naming);
                ledger.add_engine(grown, *naming, usage, settings)
            }
            None if is_counted(before) || is_counted(after) => {
                ledger.basis = Basis::Void;
                None
            }
            None => {
                ledger.add_usage(usage);
                None
            }
        };
        let counted = engine.as_ref().filter(|(grown, _)| grown.voids.is_empty());
        let engine = counted.map(|(grown, _)| grown);
        match cache {
            Some(grown) if grown.voids.is_empty() => {
                let is_inside = after.cache.as_ref().is_some_and(|cache| cache.is_inside);
                ledger.add_cache(&grown, is_inside, given, engine, usage, settings);
            }
            other => {
                ledger.cache_voids = other.map(|grown| grown.voids).unwrap_or_default();
                ledger.add_external(given);
            }
        }
        ledger.check(engine, usage, settings);
        ledger
    }

    pub fn range(&self, item: Item) -> Option<Range> {
        self.rows.get(&item).map(|figure| figure.range)
    }

    /// A count that is known exactly.
    pub fn count(&self, item: Item) -> Option<u64> {
        self.range(item)?.count()
    }

    /// The tokens that no source has.
    pub fn unexplained(&self) -> Option<i64> {
        match self.balance {
            Balance::Exact | Balance::Derived => Some(0),
            Balance::Off(tokens) => Some(tokens),
            Balance::Unknown => None,
        }
    }

    fn put(&mut self, item: Item, range: Range, from: impl Into<String>) {
        let from = from.into();
        self.rows.insert(item, Figure { range, from });
    }

    fn put_count(&mut self, item: Item, count: u64, from: impl Into<String>) {
        self.put(item, Range::exact(count), from);
    }

    /// A row of one counter, which is missing where it is `None`.
    fn put_counter(&mut self, item: Item, count: Option<u64>, counter: impl Into<String>) -> Option<u64> {
        match count {
            Some(count) => self.put_count(item, count, counter),
            None => self.missing.push(counter.into()),
        }
        count
    }
}

/// `a - b` of two counts.
fn difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(if a > b { i64::MAX } else { i64::MIN })
}
