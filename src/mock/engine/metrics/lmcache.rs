//! The families of an LMCache server, as in 0.5.6. It counts a lookup in one of two families, by whether its module for
//! blending did it (0.5.6 and 0.5.7). A lookup is for all whole chunks of a prompt, also for those that HBM has.

use super::{Counters, Page};
use crate::ledger::simulate::CacheSizes;

/// `model` is escaped. Without DRAM and disk only lookups are counted, of which nothing is found.
pub fn push(page: &mut Page, counters: &Counters, model: &str, sizes: &CacheSizes) {
    let labels = format!("model_name=\"{model}\",cache_salt=\"\"");
    lookups(page, counters, &labels, sizes);
    if sizes.has_cache_server() {
        chunks(page, counters, &labels, sizes);
    }
}

fn lookups(page: &mut Page, counters: &Counters, labels: &str, sizes: &CacheSizes) {
    let lookup = &counters.lookup;
    let tokens = |chunks: u64| chunks * sizes.chunk_tokens as u64;
    let (asked, l1, l2) = (tokens(lookup.asked), tokens(lookup.found_l1), tokens(lookup.found_l2));
    let mut count = |family: &str, counts: &[(&str, u64)]| {
        for (what, count) in counts {
            let name = format!("lmcache_{family}_lookup_{what}_tokens_total");
            page.counter(&name, labels, *count);
        }
    };
    let mp = |[asked, hit, l1, l2]: [u64; 4]| [("requested", asked), ("hit", hit), ("hit_l1", l1), ("hit_l2", l2)];
    if sizes.blend {
        count("mp", &mp([0; 4]));
        let hit = l1 + l2 + counters.sources.blended;
        count("blend", &[("requested", asked), ("hit", hit)]);
        return;
    }
    count("mp", &mp([asked, l1 + l2, l1, l2]));
    page.counter("lmcache_mp_lookups_requests_total", labels, counters.requests);
    let too_short = format!("{labels},reason=\"empty_chunk_hashes\"");
    let early = "lmcache_mp_lookup_early_exit_requests_total";
    page.counter(early, &too_short, counters.short_lookups);
}

/// Everything that is counted in chunks: an object each, as the engine has one rank and one group of layers.
fn chunks(page: &mut Page, counters: &Counters, labels: &str, sizes: &CacheSizes) {
    let lookup = &counters.lookup;
    if !sizes.blend {
        page.counter("lmcache_mp_lookup_hit_l1_keys_total", labels, lookup.found_l1);
        page.counter("lmcache_mp_lookup_hit_l2_keys_total", labels, lookup.found_l2);
    }
    let loaded = lookup.loaded + counters.sources.blended / sizes.chunk_tokens as u64;
    let of_worker = format!("{labels},worker_id=\"0\"");
    page.counter("lmcache_mp_num_chunks_loaded_total", &of_worker, loaded);
    let tag = "l1_tag=\"_default\"";
    page.counter("lmcache_mp_l1_write_chunks_total", tag, lookup.written_l1);
    let evicted = lookup.evicted_l1 + counters.cleared_chunks;
    page.counter("lmcache_mp_l1_evicted_chunks_total", tag, evicted);
    if sizes.disk_tokens > 0 {
        for (what, count) in [
            ("l2_prefetch_lookup_objects", lookup.asked),
            ("l2_prefetch_load_completed", lookup.read_l2),
            ("l2_store_completed_objects", lookup.written_l2),
            ("l2_evicted_objects", lookup.evicted_l2),
        ] {
            page.counter(&format!("lmcache_mp_{what}_chunks_total"), "", count);
        }
    }
    page.counter("lmcache_mp_event_bus_dropped_events_total", "", 0);
}
