//! Where the prompt tokens of a phase came from, as the staircase asks for it.

use crate::engine::ask::server_counters::ServerCounters;
use crate::engine::bench::tracking::{Reading, Tracking};
use crate::engine::samples::phase::PhaseSamples;
use crate::error::Error;
use crate::ledger::balance::{Basis, Item, Ledger, Range};
use crate::ledger::staircase::{Span, Tokens};

/// Counts prompt tokens by tier around a phase. Nothing is read while requests are in flight.
pub trait Shares {
    /// What was sent before has settled; counting begins.
    fn begin(&mut self) -> Result<(), Error>;
    /// Where the prompt tokens of this phase came from, which was all that was sent since [`Shares::begin`].
    fn shares(&mut self, phase: &PhaseSamples) -> Result<Tokens, Error>;
}

/// By the servers' counters, read once nothing moves any more.
pub struct ByCounters {
    counters: ServerCounters,
    known: Tracking,
    before: Option<Reading>,
}

impl ByCounters {
    /// `None` where the engine has no counters.
    pub fn of(counters: &ServerCounters, known: Tracking) -> Option<ByCounters> {
        known.counts.then(|| ByCounters {
            counters: counters.clone(),
            known,
            before: None,
        })
    }
}

impl Shares for ByCounters {
    fn begin(&mut self) -> Result<(), Error> {
        self.before = Some(Reading::first(&self.counters));
        Ok(())
    }

    fn shares(&mut self, phase: &PhaseSamples) -> Result<Tokens, Error> {
        let before = self.before.take();
        let before = before.ok_or_else(|| Error::Internal("counters were not read before a phase".into()))?;
        let after = Reading::after(&self.counters, &before, &phase.usage);
        tokens(&self.known.between(&before, &after, &phase.usage))
    }
}

/// Tokens by tier. What a cache behind the engine gave counts as L1 where nothing tells its tiers apart.
fn tokens(ledger: &Ledger) -> Result<Tokens, Error> {
    if !matches!(ledger.basis, Basis::Engine(_)) {
        let voids = ledger.engine_voids.iter().map(|void| void.text());
        let why: Vec<String> = voids.chain(ledger.missing.iter().cloned()).collect();
        return Err(Error::Environment(format!(
            "the engine's counters do not say where the prompt tokens of a working set came from: {}",
            why.join("; ")
        )));
    }
    let count = |item| ledger.count(item).unwrap_or(0);
    let span = |item| ledger.range(item).map(|Range { min, max }| Span { min, max });
    let behind = span(Item::Lmcache).or(span(Item::External)).unwrap_or(Span::exactly(0));
    Ok(Tokens {
        prompt: count(Item::Prompt),
        computed: count(Item::Computed),
        hbm: count(Item::Hbm),
        l1: span(Item::LmcacheL1).unwrap_or(behind),
        l2: span(Item::LmcacheL2).unwrap_or(Span::exactly(0)),
    })
}

/// By the answers alone: what an engine without counters says of each request. It does not tell tiers apart, so all that was
/// cached counts as HBM.
pub struct ByAnswers;

impl Shares for ByAnswers {
    fn begin(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn shares(&mut self, phase: &PhaseSamples) -> Result<Tokens, Error> {
        let mut tokens = Tokens::default();
        for record in phase.records.iter().filter(|record| record.succeeded()) {
            let cached = record.cached_tokens().ok_or_else(|| {
                Error::Environment(
                    "the engine's answers do not say how many prompt tokens were cached, so --staircase cannot see a tier; \
                     start vLLM with --enable-prompt-tokens-details, SGLang with --enable-cache-report"
                        .into(),
                )
            })?;
            let prompt = record.input_tokens();
            tokens.prompt += prompt;
            tokens.hbm += cached.min(prompt);
            tokens.computed += prompt.saturating_sub(cached);
        }
        tokens.l1 = Span::exactly(0);
        tokens.l2 = Span::exactly(0);
        Ok(tokens)
    }
}
