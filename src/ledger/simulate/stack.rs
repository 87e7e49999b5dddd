//! The tiers together: one request after another, from its admission to its end.

use std::collections::HashMap;
use std::fmt;

use super::exact::{CacheSizes, Kept, PrefixCache};
use super::hbm::Hbm;
use super::lmcache::{Counts, Found, Lmcache, Settings};
use super::lookup::Lookup;
use super::prompts::{Catalog, Entry};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    Hbm,
    L1,
    L2,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tier::Hbm => "HBM",
            Tier::L1 => "L1",
            Tier::L2 => "L2",
        })
    }
}

/// Prompt tokens of one request by where they come from. The first four add up to the prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    pub computed: u64,
    pub hbm: u64,
    pub l1: u64,
    pub l2: u64,
    /// What the cache server found, also where HBM had it: the prefix that L1 serves alone, and what L2 adds to it.
    pub found_l1: u64,
    pub found_l2: u64,
}

impl Served {
    /// What the engine reports as cached.
    pub fn cached(&self) -> u64 {
        self.hbm + self.l1 + self.l2
    }
}

/// Why the first chunk that was not found was not there. It says nothing about chunks that were never sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It was on L2, and L1 had no room to load it.
    NoRoomToLoad,
    /// No tier ever had it.
    NotStored,
    /// A request that computed it had not stored it yet.
    StorePending,
    /// The tier that lost it last.
    Evicted(Tier),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    pub served: Served,
    pub missing: Missing,
}

/// A cache in tiers. A request is named by a number of the caller's.
#[derive(Clone, Debug)]
pub enum Stack {
    Vllm(Vllm),
    Exact(Exact),
}

impl Stack {
    /// The cache server looks a prompt up, which is not admitted yet.
    pub fn look_up(&mut self, request: usize, entry: &Entry) {
        if let Stack::Vllm(vllm) = self {
            let _ = vllm.look_up(request, entry);
        }
    }

    /// Forgets the lookup of a request that is not going to be admitted.
    pub fn give_up(&mut self, request: usize, entry: &Entry) {
        if let Stack::Vllm(vllm) = self {
            vllm.give_up(request, entry);
        }
    }

    /// Looks a prompt up and starts to serve it; absent while the blocks that it needs are in use. What the cache server found at
    /// the first attempt counts, and what HBM has at the last one.
    pub fn admit(&mut self, request: usize, entry: &Entry) -> Option<Admitted> {
        match self {
            Stack::Vllm(vllm) => vllm.admit(request, entry),
            Stack::Exact(exact) => Some(exact.serve(entry)),
        }
    }

    /// The prefill of an admitted request is done, and its chunks are stored.
    pub fn stored(&mut self, request: usize, entry: &Entry) {
        if let Stack::Vllm(vllm) = self {
            vllm.stored(request, entry);
        }
    }

    /// The last token of an admitted request is out. `with_answer` if the answer's blocks are found by prompts to come.
    pub fn freed(&mut self, request: usize, entry: &Entry, with_answer: bool) {
        if let Stack::Vllm(vllm) = self {
            vllm.freed(request, entry, with_answer);
        }
    }

    /// A round of the cache server's eviction loop.
    pub fn tick(&mut self) {
        if let Stack::Vllm(vllm) = self {
            vllm.clock += 1;
            if let Some(lmcache) = &mut vllm.lmcache {
                lmcache.tick(vllm.clock);
            }
        }
    }

    /// Whether a tick would evict now.
    pub fn is_over(&self) -> bool {
        self.lmcache().is_some_and(Lmcache::is_over)
    }

    /// Whether a tick would have evicted at any time since the start.
    pub fn was_over(&self) -> bool {
        self.lmcache().is_some_and(Lmcache::was_over)
    }

    /// What the cache server evicted and refused since the start.
    pub fn counts(&self) -> Counts {
        self.lmcache().map(Lmcache::counts).unwrap_or_default()
    }

    /// Blocks that HBM lost since the start.
    pub fn hbm_losses(&self) -> u64 {
        match self {
            Stack::Vllm(vllm) => vllm.hbm.as_ref().map_or(0, Hbm::losses),
            Stack::Exact(_) => 0,
        }
    }

    fn lmcache(&self) -> Option<&Lmcache> {
        match self {
            Stack::Vllm(vllm) => vllm.lmcache.as_ref(),
            Stack::Exact(_) => None,
        }
    }
}

/// vLLM, with or without prefix caching and with or without LMCache.
#[derive(Clone, Debug)]
pub struct Vllm {
    block_tokens: usize,
    chunk_tokens: usize,
    hbm: Option<Hbm>,
    lmcache: Option<Lmcache>,
    looked_up: HashMap<usize, LookedUp>,
    admitted: HashMap<usize, Holds>,
    /// Counts events.
    clock: u64,
}

/// What the cache server found for a request that waits.
#[derive(Clone, Copy, Debug, Default)]
struct LookedUp {
    found: Found,
    /// The first chunk that was missing was being computed for another request.
    is_pending: bool,
}

/// What an admitted request holds.
#[derive(Clone, Debug)]
struct Holds {
    blocks: Vec<u32>,
    found: Found,
}

impl Vllm {
    /// `hbm_blocks` that may be used, absent without prefix caching; `lmcache` absent without a cache server; `foreign` chunks
    /// are in L1 from the start.
    pub fn new(catalog: &Catalog, hbm_blocks: Option<u32>, lmcache: Option<Settings>, foreign: u32) -> Vllm {
        Vllm {
            block_tokens: catalog.block_tokens,
            chunk_tokens: catalog.chunk_tokens,
            hbm: hbm_blocks.map(|blocks| Hbm::new(blocks, catalog.block_names)),
            lmcache: lmcache.map(|settings| Lmcache::new(settings, catalog.chunk_names, foreign)),
            looked_up: HashMap::new(),
            admitted: HashMap::new(),
            clock: 0,
        }
    }

    /// The scheduler asks the cache server when it looks at a request first, and asks no more while the request waits for blocks
    /// (LMCacheMPConnector, `maybe_submit_lookup_request`).
    fn look_up(&mut self, request: usize, entry: &Entry) -> LookedUp {
        if let Some(looked_up) = self.looked_up.get(&request) {
            return *looked_up;
        }
        let Some(lmcache) = &mut self.lmcache else {
            return LookedUp::default();
        };
        let found = lmcache.look_up(&entry.chunks);
        let missing = entry.chunks.get(found.chunks);
        let is_pending = missing.is_some_and(|chunk| !lmcache.was_stored(*chunk) && lmcache.is_pending(*chunk));
        lmcache.announce(&entry.chunks[found.chunks..]);
        let looked_up = LookedUp { found, is_pending };
        self.looked_up.insert(request, looked_up);
        looked_up
    }

    fn give_up(&mut self, request: usize, entry: &Entry) {
        if let Some(looked_up) = self.looked_up.remove(&request)
            && let Some(lmcache) = &mut self.lmcache
        {
            lmcache.give_up(&entry.chunks, &looked_up.found);
        }
    }

    fn admit(&mut self, request: usize, entry: &Entry) -> Option<Admitted> {
        let looked_up = self.look_up(request, entry);
        let tokens = entry.tokens();
        let own_blocks = &entry.blocks[..tokens / self.block_tokens];
        // The block with the last token is not looked up: the engine needs that token's logits.
        let asked = &entry.blocks[..tokens.saturating_sub(1) / self.block_tokens];
        let needed = tokens.div_ceil(self.block_tokens);
        let in_hbm = self.hbm.as_ref().map_or(0, |hbm| hbm.find(asked));
        if let Some(hbm) = &self.hbm
            && !hbm.fits(&asked[..in_hbm], needed)
        {
            return None;
        }
        self.clock += 1;
        self.looked_up.remove(&request);
        let found = looked_up.found;
        let missing = self.missing(entry, in_hbm, &looked_up);
        let mut blocks = Vec::new();
        if let Some(hbm) = &mut self.hbm {
            blocks = hbm.take(&asked[..in_hbm], needed, self.clock);
            hbm.name(&blocks, own_blocks);
        }
        self.admitted.insert(request, Holds { blocks, found });
        Some(Admitted {
            served: self.served(tokens as u64, in_hbm, &found),
            missing,
        })
    }

    fn served(&self, tokens: u64, in_hbm: usize, found: &Found) -> Served {
        let hbm = (in_hbm * self.block_tokens) as u64;
        let all = (found.chunks * self.chunk_tokens) as u64;
        let own = (found.own * self.chunk_tokens) as u64;
        let mut external = all.saturating_sub(hbm);
        if all == tokens && external > 0 {
            // The last token is computed for its logits.
            external -= 1;
        }
        let l1 = external.min(own.saturating_sub(hbm));
        Served {
            computed: tokens - hbm - external,
            hbm,
            l1,
            l2: external - l1,
            found_l1: own,
            found_l2: all - own,
        }
    }

    fn missing(&self, entry: &Entry, in_hbm: usize, looked_up: &LookedUp) -> Missing {
        let found = &looked_up.found;
        if found.no_room {
            return Missing::NoRoomToLoad;
        }
        if looked_up.is_pending {
            return Missing::StorePending;
        }
        let block = entry.blocks.get(in_hbm).zip(self.hbm.as_ref());
        let hbm = block.and_then(|(block, hbm)| hbm.lost_at(*block)).unwrap_or(0);
        let (mut l1, mut l2) = (0, 0);
        if let Some((chunk, lmcache)) = entry.chunks.get(found.chunks).zip(self.lmcache.as_ref()) {
            if !lmcache.was_stored(*chunk) {
                return Missing::NotStored;
            }
            (l1, l2) = lmcache.lost_at(*chunk);
        }
        let last = [(hbm, Tier::Hbm), (l1, Tier::L1), (l2, Tier::L2)];
        let last = last.into_iter().filter(|(at, _)| *at > 0).max_by_key(|(at, _)| *at);
        last.map_or(Missing::NotStored, |(_, tier)| Missing::Evicted(tier))
    }

    fn stored(&mut self, request: usize, entry: &Entry) {
        self.clock += 1;
        if let Some(lmcache) = &mut self.lmcache
            && let Some(holds) = self.admitted.get(&request)
        {
            lmcache.store(&entry.chunks, &holds.found, self.clock);
        }
    }

    fn freed(&mut self, request: usize, entry: &Entry, with_answer: bool) {
        self.clock += 1;
        let Some(mut holds) = self.admitted.remove(&request) else {
            return;
        };
        if let Some(hbm) = &mut self.hbm {
            let kept = usize::try_from(entry.prompt.answer_kept()).unwrap_or(usize::MAX);
            let blocks = entry.tokens().saturating_add(kept).div_ceil(self.block_tokens);
            hbm.grow(&mut holds.blocks, blocks, self.clock);
            let own = entry.tokens() / self.block_tokens;
            hbm.name(
                &holds.blocks,
                if with_answer {
                    &entry.blocks
                } else {
                    &entry.blocks[..own]
                },
            );
            hbm.release(&holds.blocks);
        }
        if let Some(lmcache) = &mut self.lmcache {
            lmcache.touch(&entry.chunks);
        }
    }
}

/// The mock engine: everything happens at once when a request arrives.
#[derive(Clone, Debug)]
pub struct Exact {
    sizes: CacheSizes,
    cache: PrefixCache,
    /// Chunks that L1 evicted.
    evicted: u64,
}

impl Exact {
    pub fn new(sizes: CacheSizes) -> Exact {
        Exact {
            sizes,
            cache: PrefixCache::new(sizes),
            evicted: 0,
        }
    }

    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// What a request would be served, without any effect.
    pub fn peek(&self, entry: &Entry) -> Served {
        self.served(entry, &self.cache.look_up(&entry.chunks))
    }

    fn served(&self, entry: &Entry, lookup: &Lookup) -> Served {
        let sources = self.cache.find(entry.tokens(), &entry.blocks, &entry.chunks);
        let chunk = self.sizes.chunk_tokens as u64;
        Served {
            computed: sources.computed,
            hbm: sources.hbm,
            l1: sources.dram,
            l2: sources.disk,
            found_l1: lookup.found_l1 * chunk,
            found_l2: lookup.found_l2 * chunk,
        }
    }

    /// Serves a request and keeps its prompt.
    pub fn serve(&mut self, entry: &Entry) -> Admitted {
        let lookup = self.cache.look_up(&entry.chunks);
        let served = self.served(entry, &lookup);
        let (before, _) = self.cache.held_chunks();
        self.cache.keep(&entry.blocks, &entry.chunks);
        let (after, _) = self.cache.held_chunks();
        self.evicted += lookup.written_l1 - (after - before);
        Admitted {
            served,
            missing: Missing::Evicted(self.largest()),
        }
    }

    /// Keeps a prompt until it is taken back.
    pub fn keep_for_now(&mut self, entry: &Entry) -> Kept {
        self.cache.keep_for_now(&entry.blocks, &entry.chunks)
    }

    /// Undoes what was kept last.
    pub fn take_back(&mut self, kept: &Kept) {
        self.cache.take_back(kept);
    }

    /// Every tier sees the same uses in the same order, so the largest one is the last to lose a prefix.
    fn largest(&self) -> Tier {
        let CacheSizes {
            hbm_tokens,
            dram_tokens,
            disk_tokens,
            ..
        } = self.sizes;
        match (disk_tokens >= dram_tokens.max(hbm_tokens), dram_tokens >= hbm_tokens) {
            (true, _) if disk_tokens > 0 => Tier::L2,
            (false, true) if dram_tokens > 0 => Tier::L1,
            _ => Tier::Hbm,
        }
    }
}
