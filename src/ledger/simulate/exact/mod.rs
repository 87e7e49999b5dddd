//! A prefix cache in three tiers, as in vLLM with LMCache: blocks in HBM, chunks in DRAM and on disk, each with
//! least-recently-used eviction. Everything computed is written through to every tier. It holds hashes, no data.

use std::ops::AddAssign;

use serde::Serialize;

use super::chain::chain;
use super::lookup::Lookup;
use super::lru::{Lru, Touched};
use super::stack::Tier;

/// Prompt tokens by where they came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sources {
    pub hbm: u64,
    pub dram: u64,
    pub disk: u64,
    pub computed: u64,
    /// Those of DRAM and disk that were found behind another prefix.
    pub blended: u64,
}

impl Sources {
    pub fn cached(&self) -> u64 {
        self.hbm + self.dram + self.disk
    }

    pub fn total(&self) -> u64 {
        self.cached() + self.computed
    }
}

impl AddAssign for Sources {
    fn add_assign(&mut self, other: Sources) {
        self.hbm += other.hbm;
        self.dram += other.dram;
        self.disk += other.disk;
        self.computed += other.computed;
        self.blended += other.blended;
    }
}

/// Capacity of each tier in tokens; 0 means that there is no such tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSizes {
    pub hbm_tokens: u64,
    pub dram_tokens: u64,
    pub disk_tokens: u64,
    /// Tokens of one HBM block, and of one chunk in the tiers below.
    pub block_tokens: usize,
    pub chunk_tokens: usize,
    /// Chunks below HBM are also found behind a prefix that differs (CacheBlend).
    pub blend: bool,
}

impl CacheSizes {
    /// Whether there is a tier behind the engine.
    pub fn has_cache_server(&self) -> bool {
        self.dram_tokens > 0 || self.disk_tokens > 0
    }
}

#[derive(Clone, Debug)]
pub struct PrefixCache {
    sizes: CacheSizes,
    hbm: Lru,
    dram: Lru,
    disk: Lru,
    /// The chunks of the lower tiers by their content alone.
    blend_dram: Lru,
    blend_disk: Lru,
}

/// What the tiers held before a prompt was kept.
#[derive(Clone, Debug)]
pub struct Kept(Vec<(Tier, Touched)>);

impl PrefixCache {
    pub fn new(sizes: CacheSizes) -> PrefixCache {
        let entries = |tokens: u64, unit: usize| usize::try_from(tokens / unit as u64).unwrap_or(usize::MAX);
        let (dram, disk) = (
            entries(sizes.dram_tokens, sizes.chunk_tokens),
            entries(sizes.disk_tokens, sizes.chunk_tokens),
        );
        let blended = |entries| if sizes.blend { entries } else { 0 };
        PrefixCache {
            sizes,
            hbm: Lru::new(entries(sizes.hbm_tokens, sizes.block_tokens)),
            dram: Lru::new(dram),
            disk: Lru::new(disk),
            blend_dram: Lru::new(blended(dram)),
            blend_disk: Lru::new(blended(disk)),
        }
    }

    /// Where the tokens of a prompt come from, and what a cache server counts of them; afterwards all of them are cached as far
    /// as there is room. The last token is always computed, as an engine needs its logits.
    pub fn serve(&mut self, tokens: &[u32]) -> (Sources, Lookup) {
        let blocks = chain(tokens, self.sizes.block_tokens);
        let chunks = chain(tokens, self.sizes.chunk_tokens);
        let mut sources = self.find(tokens.len(), &blocks, &chunks);
        let mut lookup = self.look_up(&chunks);
        if sources.dram + sources.disk > 0 {
            let in_hbm = sources.hbm / self.sizes.chunk_tokens as u64;
            lookup.loaded = lookup.found_l1 + lookup.found_l2 - in_hbm;
        }
        if self.sizes.blend {
            let most = tokens.len().saturating_sub(1);
            let found = sources.cached() as usize;
            self.find_blended(&tokens[..most], found, &mut sources);
            sources.computed = tokens.len() as u64 - sources.cached();
        }
        let before = [self.dram.len(), self.disk.len()];
        self.keep(&blocks, &chunks);
        lookup.evicted_l1 = lookup.written_l1 - (self.dram.len() - before[0]) as u64;
        lookup.evicted_l2 = lookup.written_l2 - (self.disk.len() - before[1]) as u64;
        if self.sizes.blend {
            self.keep_blended(tokens);
        }
        (sources, lookup)
    }

    /// Where the tokens of a prompt would come from, without blending. `blocks` and `chunks` name its whole blocks and chunks;
    /// a name stands for all tokens up to the end of its unit.
    pub fn find<Name: Copy + Into<u64>>(&self, tokens: usize, blocks: &[Name], chunks: &[Name]) -> Sources {
        let mut sources = Sources::default();
        let most = tokens.saturating_sub(1);
        let found = blocks
            .iter()
            .take_while(|name| self.hbm.contains((**name).into()))
            .count();
        let mut at = (found * self.sizes.block_tokens).min(most / self.sizes.block_tokens * self.sizes.block_tokens);
        sources.hbm = at as u64;
        for (number, name) in chunks.iter().enumerate() {
            let name = (*name).into();
            let tier = match (self.dram.contains(name), self.disk.contains(name)) {
                (true, _) => &mut sources.dram,
                (false, true) => &mut sources.disk,
                (false, false) => break,
            };
            let end = ((number + 1) * self.sizes.chunk_tokens).min(most);
            *tier += end.saturating_sub(at) as u64;
            at = at.max(end);
        }
        sources.computed = tokens as u64 - sources.cached();
        sources
    }

    /// What a cache server finds of these chunks and writes of them. Without DRAM it only passes them on to the disk.
    pub fn look_up<Name: Copy + Into<u64>>(&self, chunks: &[Name]) -> Lookup {
        if !self.sizes.has_cache_server() {
            return Lookup {
                asked: chunks.len() as u64,
                ..Lookup::default()
            };
        }
        let in_dram = |name: &&Name| self.dram.contains((**name).into());
        let on_disk = |name: &&Name| self.disk.contains((**name).into());
        let found = chunks.iter().take_while(|name| in_dram(name) || on_disk(name)).count();
        let found_l1 = chunks.iter().take_while(in_dram).count();
        let missing = |chunks: &[Name]| chunks.iter().filter(|name| !in_dram(name)).count() as u64;
        let has_disk = self.sizes.disk_tokens > 0;
        Lookup {
            asked: chunks.len() as u64,
            found_l1: found_l1 as u64,
            found_l2: (found - found_l1) as u64,
            read_l2: missing(&chunks[..found]),
            written_l1: missing(chunks),
            written_l2: chunks.iter().filter(|name| has_disk && !on_disk(name)).count() as u64,
            ..Lookup::default()
        }
    }

    /// Empties the engine's own tier, as vLLM's `/reset_prefix_cache` does.
    pub fn clear_hbm(&mut self) {
        self.hbm.clear();
    }

    /// Empties DRAM and returns how many chunks it held. The disk keeps its chunks, as LMCache's L2 does.
    pub fn clear_dram(&mut self) -> u64 {
        let held = self.dram.len() as u64;
        self.dram.clear();
        self.blend_dram.clear();
        held
    }

    /// Chunks in DRAM and on disk.
    pub fn held_chunks(&self) -> (u64, u64) {
        (self.dram.len() as u64, self.disk.len() as u64)
    }

    /// Marks the prompt as used, its end first, as vLLM and LMCache do: then the end is evicted first. A prefix is of use
    /// without its end, but not the reverse.
    pub fn keep<Name: Copy + Into<u64>>(&mut self, blocks: &[Name], chunks: &[Name]) {
        self.touch_all(blocks, chunks, |_, _| ());
    }

    /// The same, to be taken back with [`PrefixCache::take_back`].
    pub fn keep_for_now<Name: Copy + Into<u64>>(&mut self, blocks: &[Name], chunks: &[Name]) -> Kept {
        let mut touched = Vec::new();
        self.touch_all(blocks, chunks, |tier, of| touched.extend(of.map(|of| (tier, of))));
        Kept(touched)
    }

    /// Undoes what was kept last.
    pub fn take_back(&mut self, kept: &Kept) {
        for (tier, touched) in kept.0.iter().rev() {
            let tier = match tier {
                Tier::Hbm => &mut self.hbm,
                Tier::L1 => &mut self.dram,
                Tier::L2 => &mut self.disk,
            };
            tier.untouch(touched);
        }
    }

    fn touch_all<Name: Copy + Into<u64>>(
        &mut self,
        blocks: &[Name],
        chunks: &[Name],
        mut note: impl FnMut(Tier, Option<Touched>),
    ) {
        for name in blocks.iter().rev() {
            note(Tier::Hbm, self.hbm.touch((*name).into()));
        }
        for name in chunks.iter().rev() {
            note(Tier::L1, self.dram.touch((*name).into()));
            note(Tier::L2, self.disk.touch((*name).into()));
        }
    }

    fn keep_blended(&mut self, tokens: &[u32]) {
        for chunk in tokens.chunks_exact(self.sizes.chunk_tokens).rev() {
            let hash = content(chunk);
            self.blend_dram.touch(hash);
            self.blend_disk.touch(hash);
        }
    }

    /// Looks for known chunks at every position from `begin` on, with a rolling hash.
    fn find_blended(&self, tokens: &[u32], begin: usize, sources: &mut Sources) {
        let window = self.sizes.chunk_tokens;
        let top = (1..window).fold(1_u64, |power, _| power.wrapping_mul(BASE));
        let mut at = begin;
        let mut hash = None;
        while at + window <= tokens.len() {
            let now = hash.unwrap_or_else(|| content(&tokens[at..at + window]));
            let (dram, disk) = (self.blend_dram.contains(now), self.blend_disk.contains(now));
            if dram || disk {
                *(if dram { &mut sources.dram } else { &mut sources.disk }) += window as u64;
                sources.blended += window as u64;
                at += window;
                hash = None;
                continue;
            }
            let without = now.wrapping_sub(digit(tokens[at]).wrapping_mul(top));
            hash = tokens
                .get(at + window)
                .map(|next| without.wrapping_mul(BASE).wrapping_add(digit(*next)));
            at += 1;
        }
    }
}

const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

fn digit(token: u32) -> u64 {
    (u64::from(token) + 1).wrapping_mul(0xff51_afd7_ed55_8ccd)
}

/// A polynomial over the tokens, so that a window can move on by one token.
fn content(tokens: &[u32]) -> u64 {
    tokens.iter().fold(0, |hash: u64, token| {
        hash.wrapping_mul(BASE).wrapping_add(digit(*token))
    })
}

#[cfg(test)]
mod tests;
