//! The rows of a ledger, and the figure of each.

/// Keys of rows in the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    // The prompt tokens and their sources.
    Prompt,
    Computed,
    Hbm,
    /// Tiers that the engine has besides HBM and counts itself.
    EngineHost,
    EngineDisk,
    EngineP2p,
    EngineStorage,
    /// What a connector gave the engine, where no LMCache is known to be behind it.
    External,
    /// What LMCache gave the engine, and its parts.
    Lmcache,
    LmcacheL1,
    LmcacheL2,
    Blended,
    /// From any cache, where nothing tells which.
    Cached,
    // LMCache's own counters, which are no part of the sum.
    LookedUp,
    FoundL1,
    FoundL2,
    /// In either tier, where these are not told apart.
    Found,
    FoundBlended,
    FoundNotLoaded,
    Lookups,
    LookupsAgain,
    NotLookedUp,
    EarlyExits,
    ChunksLoaded,
    ChunksReloaded,
    ChunksStored,
    ChunksStoredL2,
    ChunksEvicted,
    ChunksRefused,
    LoadsRefused,
    LoadsFailed,
    ReadFailures,
    // The engine's.
    Preemptions,
}

impl Item {
    /// The tokens of a prompt, in the order of the report. `Lmcache` is the sum of the three after it.
    pub const SOURCES: [Item; 12] = [
        Item::Computed,
        Item::Hbm,
        Item::EngineHost,
        Item::EngineDisk,
        Item::EngineP2p,
        Item::EngineStorage,
        Item::External,
        Item::Lmcache,
        Item::LmcacheL1,
        Item::LmcacheL2,
        Item::Blended,
        Item::Cached,
    ];
    /// What LMCache and the engine did meanwhile.
    pub const WORK: [Item; 20] = [
        Item::LookedUp,
        Item::FoundL1,
        Item::FoundL2,
        Item::Found,
        Item::FoundBlended,
        Item::FoundNotLoaded,
        Item::Lookups,
        Item::LookupsAgain,
        Item::NotLookedUp,
        Item::EarlyExits,
        Item::ChunksLoaded,
        Item::ChunksReloaded,
        Item::ChunksStored,
        Item::ChunksStoredL2,
        Item::ChunksEvicted,
        Item::ChunksRefused,
        Item::LoadsRefused,
        Item::LoadsFailed,
        Item::ReadFailures,
        Item::Preemptions,
    ];

    /// The key and the label in the report.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Item::Prompt => ("prompt", "Prompt tokens"),
            Item::Computed => ("computed", "Computed"),
            Item::Hbm => ("hbm", "HBM"),
            Item::EngineHost => ("engine_host", "Engine, host RAM"),
            Item::EngineDisk => ("engine_disk", "Engine, disk"),
            Item::EngineP2p => ("engine_p2p", "Other engines"),
            Item::EngineStorage => ("engine_storage", "Engine, storage"),
            Item::External => ("external", "Cache behind it"),
            Item::Lmcache => ("lmcache", "LMCache"),
            Item::LmcacheL1 => ("lmcache_l1", "  of it L1"),
            Item::LmcacheL2 => ("lmcache_l2", "  of it L2"),
            Item::Blended => ("blended", "  of it blended"),
            Item::Cached => ("cached", "Any cache"),
            Item::LookedUp => ("looked_up", "Tokens looked up"),
            Item::FoundL1 => ("found_l1", "Found in L1"),
            Item::FoundL2 => ("found_l2", "Found on L2"),
            Item::Found => ("found", "Found in any tier"),
            Item::FoundBlended => ("found_blended", "Found to blend"),
            Item::FoundNotLoaded => ("found_not_loaded", "Found, not loaded"),
            Item::Lookups => ("lookups", "Lookups"),
            Item::LookupsAgain => ("lookups_again", "Lookups again"),
            Item::NotLookedUp => ("not_looked_up", "Requests without one"),
            Item::EarlyExits => ("early_exits", "Lookups of nothing"),
            Item::ChunksLoaded => ("chunks_loaded", "Chunks loaded"),
            Item::ChunksReloaded => ("chunks_reloaded", "Chunks loaded again"),
            Item::ChunksStored => ("chunks_stored", "Chunks stored"),
            Item::ChunksStoredL2 => ("chunks_stored_l2", "Chunks stored on L2"),
            Item::ChunksEvicted => ("chunks_evicted", "Chunks evicted"),
            Item::ChunksRefused => ("chunks_refused", "Stores refused"),
            Item::LoadsRefused => ("loads_refused", "Loads refused"),
            Item::LoadsFailed => ("loads_failed", "Loads failed"),
            Item::ReadFailures => ("read_failures", "Reads of L1 failed"),
            Item::Preemptions => ("preemptions", "Preemptions"),
        }
    }

    pub fn key(self) -> &'static str {
        self.names().0
    }

    pub fn label(self) -> &'static str {
        self.names().1
    }
}

/// A count that lies between two bounds, which are nearly always equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub min: u64,
    pub max: u64,
}

impl Range {
    pub fn exact(count: u64) -> Range {
        Range { min: count, max: count }
    }

    pub fn is_exact(self) -> bool {
        self.min == self.max
    }

    /// The count, if it is known.
    pub fn count(self) -> Option<u64> {
        self.is_exact().then_some(self.min)
    }

    /// The parts of this sum, of which each is at most its cap. `None` where the caps do not reach the sum.
    pub fn parts<const N: usize>(self, caps: [u64; N]) -> Option<[Range; N]> {
        let all = caps.iter().fold(0_u64, |sum, cap| sum.saturating_add(*cap));
        (all >= self.max).then(|| {
            caps.map(|cap| Range {
                min: self.min.saturating_sub(all - cap),
                max: cap.min(self.max),
            })
        })
    }
}

/// One row: its count, and the counter, usage field or difference that it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    pub range: Range,
    pub from: String,
}
