//! Cross-checks of a ledger: other counters of the same tokens, and the answers' own numbers.

use super::engine_rows::USAGE_PROMPT;
use super::{Basis, Figure, Item, Ledger, Settings, Usage, difference};
use crate::ledger::counters::Grown;
use crate::ledger::counters::cache::{HIT_L1, HIT_L2, LOADED};
use crate::ledger::counters::engine::{CACHED, EXTERNAL_HITS, HITS, PREFILL_COMPUTED, QUERIES};

/// Two numbers that should be equal, by their names.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub key: &'static str,
    /// What was compared: `one = other`.
    pub what: String,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Agrees,
    /// By so much the first is larger.
    Differs(i64),
}

impl Ledger {
    /// Checks what both sides of are known. `others` is known from here on.
    pub(super) fn check(&mut self, engine: Option<&Grown>, usage: &Usage, settings: &Settings) {
        let prompt = self.count(Item::Prompt);
        let is_counted = |figure: &Figure| matches!(self.basis, Basis::Engine(_)) && figure.from != USAGE_PROMPT;
        let is_counted = self.rows.get(&Item::Prompt).is_some_and(is_counted);
        if let (true, Some(prompt), Some(ours)) = (is_counted, prompt, usage.prompt()) {
            self.others = Some(difference(prompt, ours));
            self.compare("usage_prompt", "prompt = usage.prompt_tokens", prompt, ours);
        }
        if usage.failed == 0 && self.others == Some(0) {
            // Every prompt had its first token. What was looked up beyond them was looked up again (vLLM until July 2026).
            self.no_first_token = self.no_first_token.filter(|tokens| *tokens <= 0);
        }
        if let (Basis::Engine(_), Some(grown)) = (self.basis, engine) {
            self.check_engine(grown, prompt, usage);
        }
        let (l1, l2) = (self.count(Item::FoundL1), self.count(Item::FoundL2));
        let blended = self.count(Item::FoundBlended).unwrap_or(0);
        if let (Some(given), Some(l1), Some(l2)) = (self.range(Item::Lmcache), l1, l2) {
            let found = l1.saturating_add(l2).saturating_add(blended);
            let what = format!("lmcache is at most {HIT_L1} + {HIT_L2}");
            self.at_most("found", what, given.min, found);
        }
        if let (Some(given), Some(loaded), Some(chunk)) = (
            self.range(Item::Lmcache),
            self.count(Item::ChunksLoaded),
            settings.chunk_tokens,
        ) {
            let tokens = settings.chunks(loaded).saturating_mul(chunk);
            let what = format!("lmcache is at most {LOADED} * chunk");
            self.at_most("loaded", what, given.min, tokens);
        }
    }

    fn check_engine(&mut self, grown: &Grown, prompt: Option<u64>, usage: &Usage) {
        let computed = self.count(Item::Computed);
        let cached = prompt
            .zip(computed)
            .and_then(|(prompt, computed)| prompt.checked_sub(computed));
        if let (Some(queries), Some(prompt)) = (self.queries(grown), prompt) {
            self.compare("queries", format!("{QUERIES} = prompt"), queries, prompt);
        }
        if let (Some(sum), Some(computed)) = (grown.total(PREFILL_COMPUTED), computed) {
            self.compare(
                "prefill_computed",
                format!("{PREFILL_COMPUTED} = computed"),
                sum,
                computed,
            );
        }
        if let (Some(total), Some(cached)) = (grown.total(CACHED), cached) {
            self.compare("cached_total", format!("{CACHED} = prompt - computed"), total, cached);
        }
        if let (Some(ours), Some(cached), Some(0)) = (usage.cached(), cached, self.others) {
            let what = "usage cached_tokens = prompt - computed";
            self.compare("usage_cached", what, ours, cached);
        }
        if let (Some(hits), Some(external), Some(cached)) = (grown.total(HITS), grown.total(EXTERNAL_HITS), cached) {
            let what = format!("{HITS} + {EXTERNAL_HITS} = prompt - computed");
            self.compare("hits", what, hits.saturating_add(external), cached);
        }
    }

    fn compare(&mut self, key: &'static str, what: impl Into<String>, one: u64, other: u64) {
        let outcome = match difference(one, other) {
            0 => Outcome::Agrees,
            tokens => Outcome::Differs(tokens),
        };
        self.checks.push(Check {
            key,
            what: what.into(),
            outcome,
        });
    }

    fn at_most(&mut self, key: &'static str, what: String, one: u64, most: u64) {
        let outcome = match one <= most {
            true => Outcome::Agrees,
            false => Outcome::Differs(difference(one, most)),
        };
        self.checks.push(Check { key, what, outcome });
    }
}
