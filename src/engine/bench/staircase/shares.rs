//! Where the prompt tokens of a phase came from, as the staircase asks for it.

use crate::engine::ask::server_counters::ServerCounters;
use crate::engine::bench::tracking::{Reading, Tracking};
use crate::engine::samples::phase::PhaseSamples;
use crate::error::Error;
use crate::ledger::balance::{Balance, Basis, Item, Ledger, Range};
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

/// Tokens by tier. What was neither computed nor in HBM came from below: from LMCache's L2 as far as LMCache says so, and all else
/// counts as L1, be it of LMCache, blended, of a cache that tells no tiers, or of the engine's own tiers.
fn tokens(ledger: &Ledger) -> Result<Tokens, Error> {
    let (prompt, computed) = (ledger.count(Item::Prompt), ledger.count(Item::Computed));
    let is_told = computed.is_some() || ledger.balance != Balance::Unknown;
    let Some(prompt) = prompt.filter(|_| is_told && matches!(ledger.basis, Basis::Engine(_))) else {
        let voids = ledger.engine_voids.iter().map(|void| void.text());
        let why: Vec<String> = voids.chain(ledger.missing.iter().cloned()).collect();
        return Err(Error::Environment(format!(
            "the engine's counters do not say where the prompt tokens of a working set came from: {}",
            why.join("; ")
        )));
    };
    let computed = computed.unwrap_or(0);
    let count = |item| ledger.count(item).unwrap_or(0);
    // An engine that does not tell its tiers apart: as with its answers.
    let hbm = count(Item::Hbm).saturating_add(count(Item::Cached));
    let unexplained = ledger.unexplained().unwrap_or(0);
    let below = i128::from(prompt) - i128::from(unexplained) - i128::from(computed) - i128::from(hbm);
    let below = u64::try_from(below).unwrap_or(0);
    let l2 = ledger.range(Item::LmcacheL2).unwrap_or(Range::exact(0));
    Ok(Tokens {
        prompt,
        computed,
        hbm,
        l1: Span {
            min: below.saturating_sub(l2.max),
            max: below.saturating_sub(l2.min),
        },
        l2: Span {
            min: l2.min,
            max: l2.max,
        },
        doubtful: unexplained
            .unsigned_abs()
            .saturating_add(ledger.others.unwrap_or(0).unsigned_abs()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::balance::{Figure, Settings, Usage};
    use crate::ledger::counters::{Moment, Naming};

    /// A ledger of an engine with counters, of these rows.
    fn ledger(balance: Balance, rows: &[(Item, u64, u64)]) -> Ledger {
        let (nothing, usage) = (Moment::default(), Usage::default());
        let mut ledger = Ledger::between(&nothing, &nothing, &usage, &Settings::default());
        ledger.basis = Basis::Engine(Naming::VllmBySource);
        ledger.balance = balance;
        ledger.rows = rows
            .iter()
            .map(|(item, min, max)| {
                let range = Range { min: *min, max: *max };
                (
                    *item,
                    Figure {
                        range,
                        from: String::new(),
                    },
                )
            })
            .collect();
        ledger
    }

    fn spans(ledger: &Ledger) -> (u64, u64, [u64; 2], [u64; 2]) {
        let tokens = tokens(ledger).unwrap();
        let ends = |span: Span| [span.min, span.max];
        (tokens.computed, tokens.hbm, ends(tokens.l1), ends(tokens.l2))
    }

    #[test]
    fn every_token_of_a_ledger_is_one_of_a_tier() {
        let of = |rows: &[(Item, u64, u64)]| {
            let all = [&[(Item::Prompt, 1_000, 1_000), (Item::Computed, 100, 100)], rows].concat();
            spans(&ledger(Balance::Exact, &all))
        };
        assert_eq!(of(&[(Item::Cached, 900, 900)]), (100, 900, [0, 0], [0, 0]));
        let (hbm, l2) = ((Item::Hbm, 300, 300), (Item::LmcacheL2, 100, 250));
        assert_eq!(of(&[hbm, (Item::External, 600, 600)]), (100, 300, [600, 600], [0, 0]));
        for own in [Item::EngineHost, Item::EngineDisk, Item::EngineP2p, Item::EngineStorage] {
            assert_eq!(of(&[hbm, (own, 600, 600)]), (100, 300, [600, 600], [0, 0]));
            // Beside LMCache.
            let both = [
                hbm,
                (own, 50, 50),
                (Item::Lmcache, 550, 550),
                (Item::LmcacheL1, 300, 450),
                l2,
            ];
            assert_eq!(of(&both), (100, 300, [350, 500], [100, 250]));
        }
        let blended = [
            hbm,
            (Item::Lmcache, 600, 600),
            (Item::LmcacheL1, 400, 400),
            (Item::Blended, 200, 200),
        ];
        assert_eq!(of(&blended), (100, 300, [600, 600], [0, 0]));
    }

    #[test]
    fn what_is_not_of_this_run_is_doubtful() {
        let rows = [
            (Item::Prompt, 1_000, 1_000),
            (Item::Computed, 100, 100),
            (Item::Hbm, 300, 300),
            (Item::External, 550, 550),
        ];
        let mut off = ledger(Balance::Off(50), &rows);
        assert_eq!(tokens(&off).unwrap().doubtful, 50);
        // What no source has is of no tier.
        assert_eq!(spans(&off).2, [550, 550]);
        off.others = Some(-7);
        assert_eq!(tokens(&off).unwrap().doubtful, 57);
        let mut ours = ledger(Balance::Exact, &rows);
        ours.others = Some(0);
        assert_eq!(tokens(&ours).unwrap().doubtful, 0);
        let unknown = ledger(Balance::Unknown, &rows[..1]);
        assert!(tokens(&unknown).unwrap_err().to_string().contains("do not say where"));
    }
}
