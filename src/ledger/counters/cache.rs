//! The counters of LMCache: those of its server since 0.5.0, or those of an LMCache inside the engine (`LMCacheConnectorV1`).

use super::page::{Grown, PageCounts};
use crate::http::prometheus::Families;

pub const LOOKUPS: &str = "lmcache_mp_lookups_requests_total";
pub const EARLY_EXITS: &str = "lmcache_mp_lookup_early_exit_requests_total";
pub const REQUESTED: &str = "lmcache_mp_lookup_requested_tokens_total";
pub const HIT: &str = "lmcache_mp_lookup_hit_tokens_total";
pub const HIT_L1: &str = "lmcache_mp_lookup_hit_l1_tokens_total";
pub const HIT_L2: &str = "lmcache_mp_lookup_hit_l2_tokens_total";
pub const LOADED: &str = "lmcache_mp_num_chunks_loaded_total";
pub const BLEND_REQUESTED: &str = "lmcache_blend_lookup_requested_tokens_total";
pub const BLEND_HIT: &str = "lmcache_blend_lookup_hit_tokens_total";
pub const RETRIEVES: &str = "lmcache_mp_num_finished_retrieves_total";
pub const L1_WRITTEN: &str = "lmcache_mp_l1_write_chunks_total";
pub const L1_EVICTED: &str = "lmcache_mp_l1_evicted_chunks_total";
pub const L1_REFUSED: &str = "lmcache_mp_l1_allocation_failure_chunks_total";
pub const L1_UNREADABLE: &str = "lmcache_mp_l1_read_failure_chunks_total";
pub const L2_LOADED: &str = "lmcache_mp_l2_prefetch_load_completed_chunks_total";
pub const L2_FAILED: &str = "lmcache_mp_l2_prefetch_failure_chunks_total";
pub const L2_STORED: &str = "lmcache_mp_l2_store_completed_objects_chunks_total";
pub const DROPPED: &str = "lmcache_mp_event_bus_dropped_events_total";

pub const MODEL: &str = "model_name";
const WHOLE: [&str; 6] = [RETRIEVES, L1_WRITTEN, L1_EVICTED, L2_LOADED, L2_STORED, DROPPED];
const SPLIT: [(&str, &str); 12] = [
    (LOOKUPS, MODEL),
    (EARLY_EXITS, MODEL),
    (REQUESTED, MODEL),
    (HIT, MODEL),
    (HIT_L1, MODEL),
    (HIT_L2, MODEL),
    (LOADED, MODEL),
    (BLEND_REQUESTED, MODEL),
    (BLEND_HIT, MODEL),
    (L1_REFUSED, "during"),
    (L1_UNREADABLE, "reason"),
    (L2_FAILED, "reason"),
];
/// Its labels have an id that every start of the server makes anew.
const LIFE: [&str; 1] = ["target_info"];

/// Names of LMCache inside the engine. Whether they end in `_total` depends on how the engine exports them.
pub const INSIDE_LOOKED_UP: [&str; 2] = ["lmcache:num_lookup_tokens_total", "lmcache:num_lookup_tokens"];
pub const INSIDE_FOUND: [&str; 2] = ["lmcache:num_lookup_hits_total", "lmcache:num_lookup_hits"];
/// What was asked to be loaded, after a lookup found it.
pub const INSIDE_REQUESTED: [&str; 2] = ["lmcache:num_requested_tokens_total", "lmcache:num_requested_tokens"];
pub const INSIDE_HIT: [&str; 2] = ["lmcache:num_hit_tokens_total", "lmcache:num_hit_tokens"];

/// The names on a server's page.
pub fn names() -> impl Iterator<Item = &'static str> {
    let split = SPLIT.into_iter().map(|(family, _)| family);
    WHOLE.into_iter().chain(split).chain(LIFE)
}

/// The names on an engine's page.
pub fn inside_names() -> impl Iterator<Item = &'static str> {
    let all = [INSIDE_LOOKED_UP, INSIDE_FOUND, INSIDE_REQUESTED, INSIDE_HIT];
    all.into_iter().flatten()
}

/// What LMCache has counted. A counter that a server has not yet counted is not on its page, which stands for 0.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheCounters {
    /// Whether it is inside the engines, and has no tiers that it counts by themselves.
    pub is_inside: bool,
    pages: Vec<PageCounts>,
}

impl CacheCounters {
    pub fn of_server(url: &str, families: &Families, problems: &mut Vec<String>) -> CacheCounters {
        let mut counts = PageCounts::read(url, families, &WHOLE, &SPLIT, problems);
        counts.add_life(families, &LIFE);
        CacheCounters {
            is_inside: false,
            pages: vec![counts],
        }
    }

    /// `None` where no engine's page has counters of LMCache.
    pub fn inside_engines(pages: &[(&str, Families)], problems: &mut Vec<String>) -> Option<CacheCounters> {
        let names: Vec<&str> = inside_names().collect();
        let read = |(url, families): &(&str, Families)| PageCounts::read(url, families, &names, &[], problems);
        let pages: Vec<PageCounts> = pages.iter().map(read).collect();
        let has_any = pages.iter().any(|page| !page.is_empty());
        has_any.then_some(CacheCounters { is_inside: true, pages })
    }

    /// What was counted in the `seconds` since `earlier`; `None` where that is of other servers.
    pub fn since(&self, earlier: &CacheCounters, seconds: f64) -> Option<Grown> {
        let same = self.is_inside == earlier.is_inside && self.pages.len() == earlier.pages.len();
        same.then(|| Grown::between(&earlier.pages, &self.pages, seconds, true))
    }
}
