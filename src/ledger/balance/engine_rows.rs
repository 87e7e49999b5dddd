//! The rows that the engine's counters give, or without them the answers.

use super::{Balance, Item, Ledger, Range, Settings, Usage, difference};
use crate::ledger::counters::engine::{
    BY_SOURCE, BY_TIER, ENDED, EXTERNAL_HITS, GPU_HITS, GPU_QUERIES, HITS, PREEMPTIONS, PROMPT, QUERIES, SGLANG_CACHED,
    SGLANG_PROMPT, SGLANG_RETRACTED,
};
use crate::ledger::counters::{Grown, Naming, key};

/// Below this share of the prompt tokens, lookups are counted in blocks: the smallest block has 8 tokens.
const BLOCKS_SHARE_MAX: f64 = 0.2;
/// Where the engine's own tiers and what is behind its connector are told apart.
const TIERS: [(&str, Item); 3] = [
    ("host", Item::EngineHost),
    ("disk", Item::EngineDisk),
    ("p2p", Item::EngineP2p),
];
const UNSPECIFIED: &str = "external_unspecified";
pub(super) const USAGE_PROMPT: &str = "usage.prompt_tokens of our answers";
const USAGE_CACHED: &str = "usage.prompt_tokens_details.cached_tokens of our answers";

/// The tokens that came through the engine's connector from where it does not say, and the counter that says so.
pub struct Given {
    pub range: Range,
    pub from: String,
}

impl Ledger {
    /// What came from behind a connector is returned: LMCache's counters name it.
    pub(super) fn add_engine(
        &mut self,
        grown: &Grown,
        naming: Naming,
        usage: &Usage,
        settings: &Settings,
    ) -> Option<Given> {
        let family = if naming == Naming::Sglang {
            SGLANG_PROMPT
        } else {
            PROMPT
        };
        let prompt = grown.total(family);
        match (prompt, usage.prompt()) {
            (Some(count), _) => self.put_count(Item::Prompt, count, family),
            (None, from_usage) => {
                self.missing.push(family.to_owned());
                if let Some(count) = from_usage {
                    self.put_count(Item::Prompt, count, USAGE_PROMPT);
                }
            }
        }
        let preemptions = if naming == Naming::Sglang {
            SGLANG_RETRACTED
        } else {
            PREEMPTIONS
        };
        if let Some(count) = grown.total(preemptions) {
            self.put_count(Item::Preemptions, count, preemptions);
        }
        match naming {
            Naming::VllmBySource => self.add_sources(grown),
            Naming::VllmByCache => {
                let hits = self.put_counter(Item::Hbm, grown.total(HITS), HITS);
                self.note_queries(self.queries(grown));
                self.add_difference(grown, hits, HITS, usage)
            }
            Naming::VllmGpuCache => {
                let unit = self.tokens_of_a_hit(grown, settings);
                let times = |count: Option<u64>| Some(count?.saturating_mul(unit));
                let hits = self.put_counter(Item::Hbm, times(grown.total(GPU_HITS)), GPU_HITS);
                self.note_queries(times(grown.total(GPU_QUERIES)));
                self.add_difference(grown, hits, GPU_HITS, usage)
            }
            Naming::Sglang => {
                self.add_sglang(grown);
                None
            }
        }
    }

    /// Requests that ended, as the engine counts them.
    pub(super) fn ended(grown: Option<&Grown>) -> Option<u64> {
        grown?.total(ENDED)
    }

    fn add_sources(&mut self, grown: &Grown) -> Option<Given> {
        let source = |value| (grown.of(BY_SOURCE, "source", value), key(BY_SOURCE, "source", value));
        let (count, from) = source("local_compute");
        let computed = self.put_counter(Item::Computed, count, from);
        let (count, from) = source("local_cache_hit");
        let hbm = self.put_counter(Item::Hbm, count, from);
        let (external, from) = source("external_kv_transfer");
        if external.is_none() {
            self.missing.push(from.clone());
        }
        if let (Some(prompt), Some(computed), Some(hbm), Some(external)) =
            (self.count(Item::Prompt), computed, hbm, external)
        {
            let sources = computed.saturating_add(hbm).saturating_add(external);
            self.balance = match difference(prompt, sources) {
                0 => Balance::Exact,
                tokens => Balance::Off(tokens),
            };
        }
        self.note_queries_of_sources(self.queries(grown));
        Some(self.add_tiers(grown, Range::exact(external?), from))
    }

    /// Splits what came through the connector by the tier that the engine says. It counts these earlier, so they can have more.
    fn add_tiers(&mut self, grown: &Grown, external: Range, from: String) -> Given {
        let tier = |value| grown.of(BY_TIER, "source", value).unwrap_or(0);
        let caps = [tier("host"), tier("disk"), tier("p2p"), tier(UNSPECIFIED)];
        let own = caps[..3].iter().any(|count| *count > 0);
        let Some(parts) = external.parts(caps).filter(|_| own) else {
            return Given { range: external, from };
        };
        for ((value, item), range) in TIERS.into_iter().zip(parts) {
            if range.max > 0 {
                self.put(item, range, key(BY_TIER, "source", value));
            }
        }
        Given {
            range: parts[3],
            from: key(BY_TIER, "source", UNSPECIFIED),
        }
    }

    /// Tokens that were looked up in HBM. An engine that keeps no prefixes has the counter too, and leaves it at 0.
    pub(super) fn queries(&self, grown: &Grown) -> Option<u64> {
        let looks_up = |queries: &u64| *queries > 0 || self.count(Item::Prompt) == Some(0);
        grown.total(QUERIES).filter(looks_up)
    }

    fn note_queries_of_sources(&mut self, queries: Option<u64>) {
        if let (Some(queries), Some(prompt)) = (queries, self.count(Item::Prompt)) {
            self.no_first_token = Some(difference(queries, prompt));
        }
    }

    /// Lookups beyond the prompts are those of requests without a first token, or were counted again in every step.
    fn note_queries(&mut self, queries: Option<u64>) {
        self.note_queries_of_sources(queries);
        self.recounted = u64::try_from(self.no_first_token.unwrap_or(0)).unwrap_or(0);
    }

    /// The first releases counted blocks under the same names.
    fn tokens_of_a_hit(&self, grown: &Grown, settings: &Settings) -> u64 {
        let (Some(queries), Some(prompt)) = (grown.total(GPU_QUERIES), self.count(Item::Prompt)) else {
            return 1;
        };
        let in_blocks = queries > 0 && (queries as f64) < BLOCKS_SHARE_MAX * prompt as f64;
        settings.block_tokens.filter(|_| in_blocks).unwrap_or(1)
    }

    /// Names without computed tokens: they are what the caches leave of the prompts.
    fn add_difference(&mut self, grown: &Grown, hits: Option<u64>, hits_family: &str, usage: &Usage) -> Option<Given> {
        let by_usage = || {
            let cached = usage.cached().filter(|_| self.count(Item::Prompt) == usage.prompt())?;
            cached.checked_sub(hits?)
        };
        let (external, from) = match (grown.total(EXTERNAL_HITS), by_usage()) {
            (Some(count), _) => (count, EXTERNAL_HITS.to_owned()),
            (None, Some(count)) => (count, format!("{USAGE_CACHED} - {hits_family}")),
            (None, None) => {
                self.missing
                    .push(format!("{EXTERNAL_HITS}, or {USAGE_CACHED} of all prompts"));
                return None;
            }
        };
        let range = Range::exact(external);
        if let (Some(prompt), Some(hits)) = (self.count(Item::Prompt), hits) {
            match prompt.checked_sub(hits.saturating_add(external)) {
                Some(computed) => {
                    self.put_count(Item::Computed, computed, "prompt tokens - hits of both caches");
                    self.balance = Balance::Derived;
                }
                None => self.balance = Balance::Off(difference(prompt, hits.saturating_add(external))),
            }
        }
        Some(Given { range, from })
    }

    fn add_sglang(&mut self, grown: &Grown) {
        let mut cached = 0_u64;
        let (mut of_any_tier, mut storage) = (Vec::new(), Vec::new());
        for (counter, count) in grown.parts(SGLANG_CACHED) {
            cached = cached.saturating_add(count);
            let is = |source| counter == key(SGLANG_CACHED, "cache_source", source);
            if counter == SGLANG_CACHED || is("total") {
                // No label in older releases, and this value without the hierarchical cache.
                of_any_tier.push((counter, count));
            } else if is("device") {
                self.put_count(Item::Hbm, count, counter);
            } else if is("host") {
                self.put_count(Item::EngineHost, count, counter);
            } else {
                // One backend for each value, such as `storage_file`.
                storage.push((counter, count));
            }
        }
        for (item, parts) in [(Item::Cached, of_any_tier), (Item::EngineStorage, storage)] {
            if !parts.is_empty() {
                let from: Vec<&str> = parts.iter().map(|(counter, _)| *counter).collect();
                let count = parts.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
                self.put_count(item, count, from.join(" + "));
            }
        }
        if grown.total(SGLANG_CACHED).is_none() && !grown.is_read(SGLANG_CACHED) {
            self.missing.push(SGLANG_CACHED.to_owned());
            return;
        }
        self.compute(cached, "prompt tokens - cached tokens");
    }

    /// Without counters of the engine: what its answers say.
    pub(super) fn add_usage(&mut self, usage: &Usage) {
        if let Some(prompt) = usage.prompt() {
            self.put_count(Item::Prompt, prompt, USAGE_PROMPT);
        }
        if let Some(cached) = usage.cached() {
            self.put_count(Item::Cached, cached, USAGE_CACHED);
            self.compute(cached, "usage.prompt_tokens - cached_tokens");
        }
    }

    fn compute(&mut self, cached: u64, from: &str) {
        let Some(prompt) = self.count(Item::Prompt) else {
            return;
        };
        match prompt.checked_sub(cached) {
            Some(computed) => {
                self.put_count(Item::Computed, computed, from);
                self.balance = Balance::Derived;
            }
            None => self.balance = Balance::Off(difference(prompt, cached)),
        }
    }
}
