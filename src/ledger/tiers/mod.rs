//! Sizes, units and policies of each tier, and who said so: the engine's page of metrics, the LMCache server's `/status` and
//! `/config`, or `--kv-tiers`, which goes before the servers, each key by itself.

use serde_json::Value;

use super::balance::{Prefetch, Settings};
use super::counters::{CacheConfig, EngineCounters};
use crate::units::GIB;

mod flag;
pub mod layout;
mod status;
#[cfg(test)]
mod tests;

pub use flag::{HbmSize, TierFlags};
pub use status::{l1_objects, stores_pending};

/// How a server names an eviction that happens exactly when room is needed: the mock engine's.
pub const EXACT_LRU: &str = "exact_lru";

/// Tokens of a block or chunk. More are a typing error or no answer of such a server.
pub const UNIT_TOKENS_MAX: u64 = 1 << 20;

/// Who said a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    Engine,
    Lmcache,
    Flag,
    #[default]
    Unknown,
}

impl Source {
    pub fn key(self) -> &'static str {
        match self {
            Source::Engine => "engine",
            Source::Lmcache => "lmcache",
            Source::Flag => "flag",
            Source::Unknown => "unknown",
        }
    }
}

/// A value and who said it.
#[derive(Clone, Debug, PartialEq)]
pub struct Known<T> {
    pub value: Option<T>,
    pub source: Source,
}

impl<T> Default for Known<T> {
    fn default() -> Known<T> {
        Known {
            value: None,
            source: Source::Unknown,
        }
    }
}

impl<T> Known<T> {
    fn of(value: Option<T>, source: Source) -> Known<T> {
        match value {
            Some(value) => Known {
                value: Some(value),
                source,
            },
            None => Known::default(),
        }
    }

    /// This, or the other where nobody said this.
    fn or(self, other: Known<T>) -> Known<T> {
        if self.value.is_some() { self } else { other }
    }
}

/// How the engine's own cache makes room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HbmPolicy {
    /// vLLM's free list of blocks.
    #[default]
    Vllm,
    /// The least recently used block goes, as the engine says on its page.
    ExactLru,
}

/// What there is behind L1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L2 {
    None,
    /// It has no limit that anybody knows.
    NoLimit,
    Bytes(u64),
}

/// What is known of the tiers before a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KvTiers {
    /// Tokens of a block of the engine, and those that all its blocks hold but the null block.
    pub block_tokens: Known<u64>,
    pub hbm_tokens: Known<u64>,
    pub hbm_policy: HbmPolicy,
    /// Whether the engine keeps prefixes.
    pub prefix_caching: Option<bool>,
    /// Layers differ in what they keep, so blocks are not all alike.
    pub is_hybrid: bool,
    /// Engines whose sizes are added up here.
    pub engines: u64,
    /// Tokens of a chunk of LMCache.
    pub chunk_tokens: Known<u64>,
    /// KV bytes of a token over all ranks.
    pub bytes_per_token: Known<u64>,
    pub ranks: Known<u64>,
    pub l1_bytes: Known<u64>,
    /// `LRU`, `exact_lru` or another word of the server.
    pub l1_policy: Known<String>,
    /// From this share of L1 on a share of its objects is evicted.
    pub watermark: Known<f64>,
    pub ratio: Known<f64>,
    pub l2: Known<L2>,
    pub prefetch: Prefetch,
    pub store_policy: Known<String>,
    /// What the reader of these values must know, in sentences.
    pub notes: Vec<String>,
}

/// What the tiers are made out of. `None` for what was not asked or did not answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers<'a> {
    pub engine: Option<&'a EngineCounters>,
    pub status: Option<&'a Value>,
    pub config: Option<&'a Value>,
    /// The name of our model, and others that LMCache may know it by, best first.
    pub models: &'a [String],
    /// `--tokens-per-gb-kvcache`, given or looked up.
    pub tokens_per_gb: Option<u64>,
}

impl KvTiers {
    pub fn of(answers: &Answers, flags: &TierFlags) -> KvTiers {
        let mut tiers = KvTiers::default();
        if let Some(status) = answers.status {
            tiers.add_status(status, answers.models);
        }
        if let Some(config) = answers.config {
            tiers.add_config(config);
        }
        let flag = |value| Known::of(value, Source::Flag);
        tiers.chunk_tokens = flag(flags.chunk_tokens).or(tiers.chunk_tokens);
        tiers.watermark = Known::of(flags.watermark, Source::Flag).or(tiers.watermark);
        tiers.ratio = Known::of(flags.ratio, Source::Flag).or(tiers.ratio);
        tiers.l1_bytes = flag(flags.l1_bytes).or(tiers.l1_bytes);
        tiers.l2 = Known::of(flags.l2, Source::Flag).or(tiers.l2);
        let per_token = answers.tokens_per_gb.and_then(|tokens| GIB.checked_div(tokens));
        // A rounded number, which may itself have been looked up: LMCache's own is exact.
        tiers.bytes_per_token = tiers.bytes_per_token.or(flag(per_token.filter(|bytes| *bytes > 0)));
        tiers.add_engine(answers.engine, flags);
        tiers
    }

    fn add_engine(&mut self, engine: Option<&EngineCounters>, flags: &TierFlags) {
        let configs = engine.map_or(&[][..], |engine| &engine.configs);
        let blocks: Vec<u64> = configs.iter().filter_map(|config| config.block_tokens).collect();
        let block = blocks.first().copied();
        let said = Known::of(block, Source::Engine);
        // What LMCache calls a block is the engine's block.
        let by_lmcache = std::mem::take(&mut self.block_tokens);
        self.block_tokens = Known::of(flags.block_tokens, Source::Flag).or(said).or(by_lmcache);
        if blocks.iter().any(|tokens| Some(*tokens) != block) {
            self.notes
                .push("The engines have blocks of different sizes; the first one's is used.".to_owned());
        }
        self.engines = (configs.len() as u64).max(engine.map_or(0, |engine| engine.engines() as u64));
        self.prefix_caching = configs
            .iter()
            .filter_map(|config| config.prefix_caching)
            .reduce(|all, one| all && one);
        self.is_hybrid = configs.iter().any(|config| config.is_hybrid);
        let is_exact = |config: &CacheConfig| config.eviction_policy.as_deref() == Some(EXACT_LRU);
        if !configs.is_empty() && configs.iter().all(is_exact) {
            self.hbm_policy = HbmPolicy::ExactLru;
        }
        let usable = configs.iter().map(|config| {
            let blocks = config.num_blocks?.saturating_sub(1);
            Some(blocks.saturating_mul(config.block_tokens?))
        });
        let usable = usable.reduce(|sum, one| Some(sum?.saturating_add(one?))).flatten();
        let by_engine = match configs.len() as u64 == self.engines {
            true => Known::of(usable, Source::Engine),
            false => Known::default(),
        };
        let by_flag = flags
            .hbm
            .and_then(|size| size.tokens(self.block_tokens.value, self.bytes_per_token.value));
        if flags.hbm.is_some() && by_flag.is_none() {
            let needed = match flags.hbm {
                Some(HbmSize::Blocks(_)) => "the tokens of a block: give block=",
                _ => "the bytes of a token: give --lmcache-url or --tokens-per-gb-kvcache",
            };
            self.notes.push(format!(
                "hbm of --kv-tiers cannot be counted in tokens without {needed}."
            ));
        }
        self.hbm_tokens = Known::of(by_flag, Source::Flag).or(by_engine);
        if self.engines > 1 {
            self.notes.push(format!(
                "HBM is that of {} engines together; a prefix is kept only by the engine that computed it.",
                self.engines
            ));
        }
    }

    /// Chunks of all ranks that fit in L1.
    pub fn l1_chunks(&self) -> Option<u64> {
        let chunk_bytes = self.chunk_tokens.value?.checked_mul(self.bytes_per_token.value?)?;
        self.l1_bytes.value?.checked_div(chunk_bytes)
    }

    /// What stays in L1 when it is evicted as soon as it has more.
    pub fn l1_keeps_bytes(&self) -> Option<f64> {
        Some(self.l1_bytes.value? as f64 * self.watermark.value?)
    }

    pub fn hbm_bytes(&self) -> Option<u64> {
        self.hbm_tokens.value?.checked_mul(self.bytes_per_token.value?)
    }

    /// Names of what nobody said and hits cannot be expected without. Without LMCache only HBM counts.
    pub fn unknown(&self, has_lmcache: bool) -> Vec<&'static str> {
        let engine = [
            ("hbm", self.hbm_tokens.value.is_none()),
            ("block", self.block_tokens.value.is_none()),
        ];
        let lmcache = [
            ("chunk", self.chunk_tokens.value.is_none()),
            ("l1", self.l1_bytes.value.is_none()),
            ("bytes per token", self.bytes_per_token.value.is_none()),
            ("watermark", self.watermark.value.is_none()),
            ("ratio", self.ratio.value.is_none()),
            ("l2", self.l2.value.is_none()),
        ];
        let lmcache = lmcache.into_iter().filter(|_| has_lmcache);
        let unknown = engine.into_iter().chain(lmcache).filter(|(_, is_unknown)| *is_unknown);
        unknown.map(|(name, _)| name).collect()
    }

    /// What a ledger over `seconds` is read with.
    pub fn settings(&self, seconds: f64, models: &[String]) -> Settings {
        Settings {
            seconds,
            chunk_tokens: self.chunk_tokens.value,
            block_tokens: self.block_tokens.value,
            ranks: self.ranks.value,
            prefetch: self.prefetch,
            models: models.to_vec(),
        }
    }
}
