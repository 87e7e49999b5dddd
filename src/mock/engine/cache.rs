//! A prefix cache in three tiers, as in vLLM with LMCache: blocks in HBM, chunks in DRAM and on disk, each with
//! least-recently-used eviction. Everything computed is written through to every tier. It holds hashes, no data.

use super::lru::Lru;
use super::record::Sources;

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

#[derive(Debug)]
pub struct PrefixCache {
    sizes: CacheSizes,
    hbm: Lru,
    dram: Lru,
    disk: Lru,
    /// The chunks of the lower tiers by their content alone.
    blend_dram: Lru,
    blend_disk: Lru,
}

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

    /// Where the tokens of a prompt come from; afterwards all of them are cached as far as there is room. The last token
    /// is always computed, as an engine needs its logits.
    pub fn serve(&mut self, tokens: &[u32]) -> Sources {
        let mut sources = Sources::default();
        let most = tokens.len().saturating_sub(1);
        let blocks = chain(tokens, self.sizes.block_tokens);
        let chunks = chain(tokens, self.sizes.chunk_tokens);
        let found = blocks.iter().take_while(|hash| self.hbm.contains(**hash)).count();
        let mut at = (found * self.sizes.block_tokens).min(most / self.sizes.block_tokens * self.sizes.block_tokens);
        sources.hbm = at as u64;
        for (number, hash) in chunks.iter().enumerate() {
            let tier = match (self.dram.contains(*hash), self.disk.contains(*hash)) {
                (true, _) => &mut sources.dram,
                (false, true) => &mut sources.disk,
                (false, false) => break,
            };
            let end = ((number + 1) * self.sizes.chunk_tokens).min(most);
            *tier += end.saturating_sub(at) as u64;
            at = at.max(end);
        }
        if self.sizes.blend {
            self.find_blended(&tokens[..most], at, &mut sources);
        }
        sources.computed = tokens.len() as u64 - sources.cached();
        self.keep(tokens, &blocks, &chunks);
        sources
    }

    /// Marks the prompt as used, its end first, as vLLM and LMCache do: then the end is evicted first. A prefix is of use
    /// without its end, but not the reverse.
    fn keep(&mut self, tokens: &[u32], blocks: &[u64], chunks: &[u64]) {
        for hash in blocks.iter().rev() {
            self.hbm.touch(*hash);
        }
        for hash in chunks.iter().rev() {
            self.dram.touch(*hash);
            self.disk.touch(*hash);
        }
        if self.sizes.blend {
            for chunk in tokens.chunks_exact(self.sizes.chunk_tokens).rev() {
                let hash = content(chunk);
                self.blend_dram.touch(hash);
                self.blend_disk.touch(hash);
            }
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

/// The hash of each whole unit of `tokens` together with everything before it.
fn chain(tokens: &[u32], unit: usize) -> Vec<u64> {
    let mut before = 0x243f_6a88_85a3_08d3_u64;
    tokens
        .chunks_exact(unit)
        .map(|tokens| {
            before = tokens.iter().fold(before, |hash, token| {
                let mixed = (hash ^ u64::from(*token)).wrapping_mul(0x2545_f491_4f6c_dd1d);
                mixed ^ (mixed >> 29)
            });
            before
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(hbm: u64, dram: u64, disk: u64) -> CacheSizes {
        CacheSizes {
            hbm_tokens: hbm,
            dram_tokens: dram,
            disk_tokens: disk,
            block_tokens: 16,
            chunk_tokens: 256,
            blend: false,
        }
    }

    fn sources(hbm: u64, dram: u64, disk: u64, computed: u64) -> Sources {
        Sources {
            hbm,
            dram,
            disk,
            computed,
            blended: 0,
        }
    }

    /// A prompt of its own for each number.
    fn prompt(number: u32, length: u32) -> Vec<u32> {
        (0..length).map(|at| number * 100_000 + at).collect()
    }

    #[test]
    fn a_repeated_prompt_is_found_but_for_its_last_block() {
        let mut cache = PrefixCache::new(sizes(100_000, 0, 0));
        assert_eq!(cache.serve(&prompt(1, 1000)), sources(0, 0, 0, 1000));
        assert_eq!(cache.serve(&prompt(1, 1000)), sources(992, 0, 0, 8));
        assert_eq!(cache.serve(&prompt(1, 1024)), sources(992, 0, 0, 32));
        // All of it is cached, but the last token must be computed and a block is never half taken.
        assert_eq!(cache.serve(&prompt(1, 1024)), sources(1008, 0, 0, 16));
    }

    #[test]
    fn lower_tiers_supply_what_the_higher_ones_lost() {
        let mut cache = PrefixCache::new(sizes(1024, 2048, 1 << 20));
        for number in 1..=4 {
            cache.serve(&prompt(number, 1024));
        }
        // HBM holds prompt 4, DRAM 3 and 4, disk all.
        assert_eq!(cache.serve(&prompt(3, 1024)), sources(0, 1023, 0, 1));
        assert_eq!(cache.serve(&prompt(1, 1024)), sources(0, 0, 1023, 1));
        assert_eq!(cache.serve(&prompt(1, 1024)), sources(1008, 15, 0, 1));
        assert_eq!(cache.serve(&prompt(9, 1024)), sources(0, 0, 0, 1024));
    }

    #[test]
    fn what_differs_early_is_not_found() {
        let mut cache = PrefixCache::new(sizes(1 << 20, 1 << 20, 0));
        cache.serve(&prompt(1, 1024));
        let mut other = prompt(1, 1024);
        other[300] = 7;
        assert_eq!(cache.serve(&other), sources(288, 0, 0, 736));
        let mut cache = PrefixCache::new(sizes(0, 1 << 20, 0));
        cache.serve(&prompt(1, 1024));
        assert_eq!(cache.serve(&other), sources(0, 256, 0, 768));
    }

    /// prefix-suffix-tuner: a pool of prefixes 5 % larger than the tier, used in order, twice.
    fn tuner(mut cache: PrefixCache) -> Sources {
        const PREFIX: u32 = 6400;
        let request = |number: u32, pass: u32| -> Vec<u32> {
            let prefix = prompt(number, PREFIX);
            let breaker = prompt(1000 + pass * 500 + number, 32);
            [prefix, breaker, prompt(7000, 1568)].concat()
        };
        for number in 0..21 {
            cache.serve(&request(number, 0));
        }
        let mut sum = Sources::default();
        for number in 0..21 {
            let found = cache.serve(&request(number, 1));
            sum.hbm += found.hbm;
            sum.dram += found.dram;
            sum.disk += found.disk;
            sum.computed += found.computed;
            sum.blended += found.blended;
        }
        sum
    }

    #[test]
    fn the_tuner_sees_its_three_baselines() {
        let tier = 20 * 8000;
        // A request's last 64 tokens fill no chunk, so 20 requests take a little less than they have tokens.
        let dram_tier = 20 * 31 * 256;
        // 1: every request misses the tier that overflows.
        assert_eq!(tuner(PrefixCache::new(sizes(tier, 0, 0))), sources(0, 0, 0, 21 * 8000));
        // DRAM large enough, or disk below a DRAM that overflows: every prefix is found.
        let prefixes = 21 * 6400;
        assert_eq!(
            tuner(PrefixCache::new(sizes(tier, 1 << 30, 0))),
            sources(0, prefixes, 0, 21 * 1600)
        );
        assert_eq!(
            tuner(PrefixCache::new(sizes(8000, dram_tier, 1 << 30))),
            sources(0, 0, prefixes, 21 * 1600)
        );
        // 3: blended, the suffix is found too, in whole chunks; it is used all the time, so it is still in DRAM.
        let mut blend = sizes(8000, dram_tier, 1 << 30);
        blend.blend = true;
        let seen = tuner(PrefixCache::new(blend));
        assert_eq!(seen.disk, prefixes);
        assert!(seen.blended >= 21 * 5 * 256 && seen.dram == seen.blended, "{seen:?}");
    }
}
