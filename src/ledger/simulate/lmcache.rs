//! The cache server: L1 in memory and L2 behind it (LMCache's `lmcache server`, default policies). Chunks are numbered, and
//! a number stands for all tokens up to the end of its chunk.

use super::order::Order;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Chunks that L1 holds; no limit if absent.
    pub l1_chunks: Option<u32>,
    /// Share of L1 from which on a tick evicts, and the share of its chunks that goes.
    pub watermark: f64,
    pub ratio: f64,
    /// Chunks loaded from L2 stay in L1 (`prefetch_policy` = `retain`); else they leave it after the transfer.
    pub retain: bool,
    /// Chunks that L2 holds, 0 if there is no L2, no limit if absent.
    pub l2_chunks: Option<u32>,
}

/// What a lookup found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Chunks from the first on without a gap.
    pub chunks: usize,
    /// Those that L1 serves alone.
    pub own: usize,
    /// Chunks to load from L2.
    pub load: u32,
    /// More was on L2, but L1 had no room to load it.
    pub no_room: bool,
}

#[derive(Clone, Debug)]
pub struct Lmcache {
    settings: Settings,
    /// The oldest chunk is first.
    l1: Order,
    l2: Order,
    /// Chunks that pass through L1 on their way from L2.
    temporary: u32,
    /// The largest `used` so far.
    peak: u32,
    /// Requests that were looked up and have not stored yet, by the chunks that they will store.
    pending: Vec<u32>,
    /// Whether a chunk was ever stored, and when L1 and L2 lost it last (0: never).
    stored: Vec<bool>,
    l1_lost_at: Vec<u64>,
    l2_lost_at: Vec<u64>,
    counts: Counts,
}

/// Chunks, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub evicted: u64,
    pub stores_refused: u64,
    pub loads_refused: u64,
}

impl Lmcache {
    /// For chunks below `names`. `foreign` further chunks are in L1 from the start, which no request asks for.
    pub fn new(settings: Settings, names: u32, foreign: u32) -> Lmcache {
        let all = names.saturating_add(foreign).min(u32::MAX - 1);
        let mut l1 = Order::new(all);
        (names..all).for_each(|chunk| l1.push_back(chunk));
        Lmcache {
            settings,
            l2: Order::new(names),
            temporary: 0,
            peak: l1.len(),
            l1,
            pending: vec![0; names as usize],
            stored: vec![false; names as usize],
            l1_lost_at: vec![0; all as usize],
            l2_lost_at: vec![0; names as usize],
            counts: Counts::default(),
        }
    }

    /// Looks for chunks, and makes room in L1 for those that must be loaded.
    pub fn look_up(&mut self, chunks: &[u32]) -> Found {
        let there = |chunk: &&u32| self.l1.contains(**chunk) || self.l2.contains(**chunk);
        let found = chunks.iter().take_while(there).count();
        let in_l1 = |chunk: &&u32| self.l1.contains(**chunk);
        let own = chunks[..found].iter().take_while(in_l1).count();
        let load = chunks[own..found].iter().filter(|chunk| !in_l1(chunk)).count() as u32;
        if load > self.room() {
            self.counts.loads_refused += u64::from(load);
            return Found {
                chunks: own,
                own,
                load: 0,
                no_room: true,
            };
        }
        self.temporary += load;
        self.peak = self.peak.max(self.used());
        Found {
            chunks: found,
            own,
            load,
            no_room: false,
        }
    }

    /// Announces chunks that a request will store.
    pub fn announce(&mut self, chunks: &[u32]) {
        for chunk in chunks {
            self.pending[*chunk as usize] += 1;
        }
    }

    /// Ends a lookup whose request will not be served.
    pub fn give_up(&mut self, chunks: &[u32], found: &Found) {
        self.temporary -= found.load;
        for chunk in &chunks[found.chunks..] {
            self.pending[*chunk as usize] -= 1;
        }
    }

    /// Ends the transfers of a request: what was loaded leaves L1, and the chunks behind those found are stored, all new ones
    /// of them or none. They are on L2 a little later (30 to 50 ms with `fs`). Until then they are the newest of L1, so that
    /// no lookup can tell, and here they are on L2 at once. A prompt that the engine computes in several steps is stored in as
    /// many parts there, and in one here, as no server tells the size of a step; that differs only if L1 refuses a part.
    pub fn store(&mut self, chunks: &[u32], found: &Found, now: u64) {
        self.temporary -= found.load;
        if self.settings.retain {
            for chunk in chunks[found.own..found.chunks].iter().rev() {
                // One that L1 had at the lookup may have been evicted since, and then no room is kept for it.
                if !self.l1.contains(*chunk) && self.room() > 0 {
                    self.l1.push_back(*chunk);
                }
            }
        }
        self.touch_l2(&chunks[found.own..found.chunks], now);
        let behind = &chunks[found.chunks..];
        for chunk in behind {
            self.pending[*chunk as usize] -= 1;
        }
        let new: Vec<u32> = behind
            .iter()
            .filter(|chunk| !self.l1.contains(**chunk))
            .copied()
            .collect();
        if new.len() as u64 > u64::from(self.room()) {
            self.counts.stores_refused += new.len() as u64;
            return;
        }
        for chunk in new.iter().rev() {
            self.l1.push_back(*chunk);
            self.stored[*chunk as usize] = true;
        }
        self.peak = self.peak.max(self.used());
        self.touch_l2(&new, now);
    }

    /// Marks the chunks of a request that ended as used, its end first.
    pub fn touch(&mut self, chunks: &[u32]) {
        for chunk in chunks.iter().rev() {
            if self.l1.remove(*chunk) {
                self.l1.push_back(*chunk);
            }
        }
    }

    /// Whether a tick would evict now.
    pub fn is_over(&self) -> bool {
        let Some(room) = self.settings.l1_chunks else {
            return false;
        };
        self.l1.len() > 0 && f64::from(self.used()) / f64::from(room.max(1)) >= self.settings.watermark
    }

    /// Whether ticks would have evicted at any time so far, had there been any.
    pub fn was_over(&self) -> bool {
        let room = self.settings.l1_chunks.map(|room| f64::from(room.max(1)));
        room.is_some_and(|room| f64::from(self.peak) / room >= self.settings.watermark)
    }

    /// One round of the eviction loop, which LMCache runs about once a second. There it skips chunks that are being read at
    /// that moment; replays of recorded runs come out right without that.
    pub fn tick(&mut self, now: u64) {
        if !self.is_over() {
            return;
        }
        let share = (f64::from(self.used()) * self.settings.ratio) as u32;
        for _ in 0..share.max(1) {
            let Some(chunk) = self.l1.pop_front() else {
                return;
            };
            self.l1_lost_at[chunk as usize] = now;
            self.counts.evicted += 1;
        }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Chunks in L1, those that pass through it included.
    pub fn used(&self) -> u32 {
        self.l1.len() + self.temporary
    }

    pub fn was_stored(&self, chunk: u32) -> bool {
        self.stored[chunk as usize]
    }

    pub fn is_pending(&self, chunk: u32) -> bool {
        self.pending[chunk as usize] > 0
    }

    /// When L1 and L2 last lost a chunk; 0 if they never did.
    pub fn lost_at(&self, chunk: u32) -> (u64, u64) {
        (self.l1_lost_at[chunk as usize], self.l2_lost_at[chunk as usize])
    }

    fn room(&self) -> u32 {
        let room = self.settings.l1_chunks.unwrap_or(u32::MAX);
        room.saturating_sub(self.used())
    }

    /// Writes chunks to L2 or marks them as used, their end first.
    fn touch_l2(&mut self, chunks: &[u32], now: u64) {
        let most = self.settings.l2_chunks.unwrap_or(u32::MAX);
        if most == 0 {
            return;
        }
        for chunk in chunks.iter().rev() {
            self.l2.remove(*chunk);
            self.l2.push_back(*chunk);
            if self.l2.len() > most
                && let Some(oldest) = self.l2.pop_front()
            {
                self.l2_lost_at[oldest as usize] = now;
            }
        }
    }
}
