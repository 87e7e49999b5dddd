//! Where prompt tokens came from: reads the servers' counters around each phase and keeps what a cache saw of it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::engine::ask::discover::Engine;
use crate::engine::ask::server_counters::{ServerCounters, Snapshot};
use crate::engine::config::EngineConfig;
use crate::engine::report::ledger::PhaseLedger;
use crate::engine::samples::access::Accesses;
use crate::engine::samples::phase::PhaseSamples;
use crate::http::api_key::ApiKey;
use crate::ledger::balance::{Ledger, Usage};
use crate::ledger::counters::EngineCounters;
use crate::ledger::expect::Start;
use crate::ledger::tiers::{Answers, KvTiers, TierFlags, l1_objects};

/// What is known of the tiers, and what each phase came to.
pub(super) struct Tracking {
    pub tiers: KvTiers,
    /// Why no hits are expected, whatever is counted.
    pub unexpected: Option<String>,
    pub phases: Vec<Tracked>,
    /// Whether the engine has counters that are known.
    pub counts: bool,
    /// What the caches held before the first phase.
    pub start: Start,
    /// Whether an LMCache server is known, or given by `--kv-tiers`.
    has_cache: bool,
    models: Vec<String>,
}

/// One phase.
pub(super) struct Tracked {
    /// `warmup` or `measured`.
    pub name: &'static str,
    pub ledger: Ledger,
    /// Whether the counters were still changing when they were last read.
    pub unsettled: bool,
    pub accesses: Accesses,
}

/// The counters at one moment.
pub(super) struct Reading {
    pub snapshot: Snapshot,
    at: Instant,
}

impl Tracking {
    /// Asks the servers what tiers they have.
    pub fn begin(config: &EngineConfig, key: &ApiKey, counters: &ServerCounters) -> Tracking {
        let flags = config.tiers.sizes.unwrap_or_default();
        let (status, about) = counters.cache_facts();
        let mut models = vec![config.model.clone()];
        if status.is_some() {
            let base_url = config.base_url();
            let engine = Engine {
                base_url: &base_url,
                key,
            };
            // LMCache knows a model by the path it was loaded from.
            models.extend(engine.other_names(&config.model).unwrap_or_default());
        }
        let snapshot = counters.read();
        let tokens_per_gb = u64::try_from(config.tokens_per_gb_kvcache).ok();
        let tiers = KvTiers::of(
            &Answers {
                engine: snapshot.moment.engine.as_ref(),
                status: status.as_ref(),
                config: about.as_ref(),
                models: &models,
                tokens_per_gb: tokens_per_gb.filter(|tokens| *tokens > 0),
            },
            &flags,
        );
        let engine = snapshot.moment.engine.as_ref();
        Tracking {
            counts: engine.is_some_and(|engine| engine.naming.is_some()),
            start: start(&snapshot, status.as_ref(), config.tiers.clear),
            has_cache: config.has_lmcache() || flags.l1_bytes.is_some() || flags.l2.is_some(),
            unexpected: unexpected(config, &flags, engine),
            tiers,
            phases: Vec::new(),
            models,
        }
    }

    pub fn has_cache(&self) -> bool {
        self.has_cache
    }

    /// Whether hits can be expected, so that prompts are to be kept.
    pub fn expects_hits(&self) -> bool {
        self.unexpected.is_none()
    }

    /// What was counted from `before` to `after`, between which only these answers came.
    pub fn between(&self, before: &Reading, after: &Reading, usage: &Usage) -> Ledger {
        let seconds = after
            .at
            .saturating_duration_since(before.at)
            .max(Duration::from_millis(1));
        let settings = self.tiers.settings(seconds.as_secs_f64(), &self.models);
        Ledger::between(&before.snapshot.moment, &after.snapshot.moment, usage, &settings)
    }

    /// Takes a phase that ran from `before` to `after`, and its accesses out of `samples`.
    pub fn add(&mut self, name: &'static str, before: &Reading, after: &Reading, samples: &mut PhaseSamples) {
        self.phases.push(Tracked {
            name,
            ledger: self.between(before, after, &samples.usage),
            unsettled: after.snapshot.unsettled,
            accesses: std::mem::take(&mut samples.accesses),
        });
    }
}

impl Tracked {
    pub fn ledger(&self) -> PhaseLedger<'_> {
        PhaseLedger {
            phase: self.name,
            ledger: &self.ledger,
            settled: !self.unsettled,
        }
    }
}

impl Reading {
    /// Reads before anything is sent.
    pub fn first(counters: &ServerCounters) -> Reading {
        Reading::now(counters.read_settled(None))
    }

    /// Reads after the requests of `usage`.
    pub fn after(counters: &ServerCounters, before: &Reading, usage: &Usage) -> Reading {
        Reading::now(counters.read_settled(Some((&before.snapshot, usage))))
    }

    pub fn now(snapshot: Snapshot) -> Reading {
        Reading {
            snapshot,
            at: Instant::now(),
        }
    }
}

/// Why no hits are expected. An engine that says nothing, and of which nobody says anything, is not worth the questions.
fn unexpected(config: &EngineConfig, flags: &TierFlags, engine: Option<&EngineCounters>) -> Option<String> {
    let counts = engine.is_some_and(|engine| engine.naming.is_some());
    let is_told = config.tiers.sizes.is_some() || config.tiers.clear;
    if flags.off {
        Some("--kv-tiers off".to_owned())
    } else if !counts && !is_told {
        Some("the engine has no counters that are known, and --kv-tiers says nothing of its tiers".to_owned())
    } else {
        None
    }
}

/// Servers that have served nothing hold nothing, but for what an earlier run left on L2.
fn start(snapshot: &Snapshot, status: Option<&Value>, is_cleared: bool) -> Start {
    let served = snapshot.engine.as_ref().filter(|counts| !counts.is_empty());
    let is_new = served.is_some_and(|counts| counts.values().all(|count| *count == Some(0.0)));
    let l1_chunks = status.and_then(l1_objects);
    let holds_none = status.is_none() || l1_chunks == Some(0);
    if (is_new || is_cleared) && holds_none {
        Start::Empty
    } else {
        Start::Unknown { l1_chunks }
    }
}
