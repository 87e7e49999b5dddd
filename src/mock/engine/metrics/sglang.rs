//! The families of SGLang with its hierarchical cache (`--enable-metrics`): HBM is the device's part, DRAM the host's, and the
//! disk the storage. The names are those of its documentation.

use super::{Counters, Page};
use crate::ledger::simulate::CacheSizes;

/// `model` is escaped.
pub fn push(page: &mut Page, counters: &Counters, model: &str, sizes: &CacheSizes) {
    let labels = format!("model_name=\"{model}\"");
    let (sources, lookup) = (&counters.sources, &counters.lookup);
    page.counter("sglang:prompt_tokens_total", &labels, sources.total());
    page.counter("sglang:generation_tokens_total", &labels, counters.generation_tokens);
    page.counter("sglang:num_requests_total", &labels, counters.requests);
    let by = |name: &str, value: &str| format!("{labels},{name}=\"{value}\"");
    let cached = [
        ("device", sources.hbm),
        ("host", sources.dram),
        ("storage_file", sources.disk),
    ];
    let cached = cached.map(|(source, tokens)| (by("cache_source", source), tokens));
    page.labelled("sglang:cached_tokens_total", &cached);
    let prefill = [
        ("prefill_compute", sources.computed),
        ("prefill_cache", sources.cached()),
    ];
    let prefill = prefill.map(|(mode, tokens)| (by("mode", mode), tokens));
    page.labelled("sglang:realtime_tokens_total", &prefill);
    let tokens = |chunks: u64| chunks * sizes.chunk_tokens as u64;
    page.counter("sglang:load_back_tokens_total", &labels, sources.dram + sources.disk);
    page.counter("sglang:prefetched_tokens_total", &labels, tokens(lookup.read_l2));
    page.counter("sglang:backuped_tokens_total", &labels, tokens(lookup.written_l2));
    page.counter("sglang:num_retracted_requests_total", &labels, 0);
    for (name, value) in [
        ("max_total_num_tokens", sizes.hbm_tokens),
        ("page_size", sizes.block_tokens as u64),
        ("hicache_host_total_tokens", sizes.dram_tokens),
    ] {
        page.family(&format!("sglang:{name}"), "gauge", &[(&labels, value)]);
    }
}
