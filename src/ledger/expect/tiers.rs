//! The tiers of a run as the simulator needs them.

use crate::ledger::causes::Units;
use crate::ledger::simulate::{CacheSizes, Catalog, Entry, Exact, Prompt, Settings, Stack, Tier, Vllm};

/// The most blocks that are simulated, so that their lists fit into memory. No real engine has as many.
const UNITS_MAX: u64 = 1 << 24;

/// By whose rules tiers are filled and emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// vLLM, with LMCache if L1 is there.
    Vllm,
    /// The mock engine.
    Exact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    Unknown,
    /// There is no such tier. HBM is absent if prefix caching is off.
    Absent,
    NoLimit,
    /// Blocks that may be used, or chunks.
    Units(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tiers {
    pub rule: Rule,
    pub block_tokens: u64,
    /// In blocks, without vLLM's null block.
    pub hbm: Capacity,
    pub chunk_tokens: u64,
    /// In chunks.
    pub l1: Capacity,
    pub l2: Capacity,
    /// LMCache's `trigger_watermark`, `eviction_ratio` and whether its `prefetch_policy` is `retain`.
    pub watermark: f64,
    pub ratio: f64,
    pub retain: bool,
}

impl Tiers {
    /// The tiers from the engine down, and how large they are.
    pub fn all(&self) -> [(Tier, Capacity); 3] {
        [(Tier::Hbm, self.hbm), (Tier::L1, self.l1), (Tier::L2, self.l2)]
    }

    /// Tiers of unknown capacity.
    pub fn unknown(&self) -> impl Iterator<Item = Tier> {
        let unknown = self
            .all()
            .into_iter()
            .filter(|(_, capacity)| *capacity == Capacity::Unknown);
        unknown.map(|(tier, _)| tier)
    }

    /// Whether L1 evicts from its watermark on.
    pub fn has_watermark(&self) -> bool {
        self.rule == Rule::Vllm && matches!(self.l1, Capacity::Units(_))
    }

    /// Without prefix caching all that is kept is in chunks.
    pub fn units(&self) -> Units {
        let no_chunks = self.l1 == Capacity::Absent && (self.rule == Rule::Vllm || self.l2 == Capacity::Absent);
        let chunk_tokens = (!no_chunks).then_some(self.chunk_tokens.max(1));
        let in_chunks = chunk_tokens.filter(|_| self.hbm == Capacity::Absent);
        Units {
            block_tokens: in_chunks.unwrap_or(self.block_tokens.max(1)),
            chunk_tokens,
        }
    }

    /// The distinct prompts, in the units of these tiers, and the entry of each.
    pub fn catalog<'a>(&self, prompts: impl Iterator<Item = &'a Prompt>) -> (Catalog, Vec<usize>) {
        let units = self.units();
        let size = |tokens: u64| usize::try_from(tokens).unwrap_or(usize::MAX);
        // Nothing is as long as a chunk if there are none.
        let chunk_tokens = units.chunk_tokens.unwrap_or(u64::MAX);
        Catalog::new(size(units.block_tokens), size(chunk_tokens), prompts)
    }

    /// Empty tiers. `needed_blocks` are the blocks that all requests take together: a pool of more is never full.
    /// `foreign_chunks` are in L1 that no request asks for.
    pub fn stack(&self, catalog: &Catalog, needed_blocks: u64, foreign_chunks: u64) -> Stack {
        match self.rule {
            Rule::Exact => Stack::Exact(Exact::new(self.sizes())),
            Rule::Vllm => {
                let blocks = match self.hbm {
                    Capacity::Absent => None,
                    Capacity::Units(blocks) => Some(blocks.min(needed_blocks).min(UNITS_MAX) as u32),
                    Capacity::NoLimit | Capacity::Unknown => Some(needed_blocks.min(UNITS_MAX) as u32),
                };
                let chunks = |capacity: Capacity| match capacity {
                    Capacity::Absent => Some(0),
                    Capacity::Units(chunks) => u32::try_from(chunks).ok(),
                    Capacity::NoLimit | Capacity::Unknown => None,
                };
                let settings = Settings {
                    l1_chunks: chunks(self.l1),
                    watermark: self.watermark,
                    ratio: self.ratio,
                    retain: self.retain,
                    l2_chunks: chunks(self.l2),
                };
                let lmcache = (self.l1 != Capacity::Absent).then_some(settings);
                Stack::Vllm(Vllm::new(
                    catalog,
                    blocks,
                    lmcache,
                    foreign_chunks.min(UNITS_MAX) as u32,
                ))
            }
        }
    }

    fn sizes(&self) -> CacheSizes {
        let tokens = |capacity: Capacity, unit: u64| match capacity {
            Capacity::Absent => 0,
            Capacity::Units(units) => units.saturating_mul(unit),
            Capacity::NoLimit | Capacity::Unknown => u64::MAX,
        };
        let (block, chunk) = (self.units().block_tokens, self.chunk_tokens.max(1));
        CacheSizes {
            hbm_tokens: tokens(self.hbm, block),
            dram_tokens: tokens(self.l1, chunk),
            disk_tokens: tokens(self.l2, chunk),
            block_tokens: usize::try_from(block).unwrap_or(usize::MAX),
            chunk_tokens: usize::try_from(chunk).unwrap_or(usize::MAX),
            blend: false,
        }
    }
}

/// Blocks that requests with these entries take together.
pub fn blocks_needed<'a>(units: &Units, entries: impl Iterator<Item = &'a Entry>) -> u64 {
    let blocks = entries.map(|entry| {
        let tokens = (entry.tokens() as u64).saturating_add(entry.prompt.answer_kept());
        tokens.div_ceil(units.block_tokens)
    });
    blocks.fold(1, u64::saturating_add)
}
