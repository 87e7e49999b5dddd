//! The families of vLLM 0.32.0 that say where prompt tokens came from, with what its connector to LMCache reports: the tokens
//! from behind the engine are of no named tier. Older releases have some of them.

use super::{Counters, EVICTION_POLICY, MetricsOf, Page};
use crate::ledger::simulate::CacheSizes;
use crate::mock::engine::config::Config;

/// `model` is escaped.
pub fn push(page: &mut Page, counters: &Counters, model: &str, config: &Config) {
    let labels = format!("engine=\"0\",model_name=\"{model}\"");
    let (prompt, requests) = (counters.sources.total(), counters.requests);
    page.counter("vllm:prompt_tokens_total", &labels, prompt);
    page.counter("vllm:generation_tokens_total", &labels, counters.generation_tokens);
    let by_length = format!("{labels},finished_reason=\"length\"");
    page.counter("vllm:request_success_total", &by_length, requests);
    match config.metrics {
        MetricsOf::VllmGpu => hits(page, "gpu_prefix_cache", &labels, in_hbm(counters, &config.cache)),
        MetricsOf::VllmHits => lookups(page, counters, &labels, &config.cache),
        _ => {
            sources(page, counters, &labels);
            lookups(page, counters, &labels, &config.cache);
        }
    }
    page.histogram("vllm:request_prompt_tokens", &labels, requests, prompt);
    page.counter("vllm:num_preemptions_total", &labels, 0);
    cache_config(page, &config.cache);
}

/// Where tokens came from, which older releases do not count.
fn sources(page: &mut Page, counters: &Counters, labels: &str) {
    let sources = &counters.sources;
    let external = sources.dram + sources.disk;
    by_source(
        page,
        "vllm:prompt_tokens_by_source_total",
        labels,
        &[
            ("local_compute", sources.computed),
            ("local_cache_hit", sources.hbm),
            ("external_kv_transfer", external),
        ],
    );
    page.counter("vllm:prompt_tokens_cached_total", labels, sources.cached());
    by_source(
        page,
        "vllm:prompt_tokens_cached_by_source_total",
        labels,
        &[
            ("device", sources.hbm),
            ("host", 0),
            ("p2p", 0),
            ("disk", 0),
            ("external_unspecified", external),
        ],
    );
    let computed = "vllm:request_prefill_kv_computed_tokens";
    page.histogram(computed, labels, counters.requests, sources.computed);
}

fn lookups(page: &mut Page, counters: &Counters, labels: &str, sizes: &CacheSizes) {
    let sources = &counters.sources;
    hits(page, "prefix_cache", labels, in_hbm(counters, sizes));
    let beyond = match sizes.has_cache_server() {
        true => sources.total() - sources.hbm,
        false => 0,
    };
    hits(
        page,
        "external_prefix_cache",
        labels,
        [beyond, sources.dram + sources.disk],
    );
}

/// Tokens looked up in HBM and found there. vLLM does not look up without a prefix cache, nor beyond it without a connector.
fn in_hbm(counters: &Counters, sizes: &CacheSizes) -> [u64; 2] {
    let sources = &counters.sources;
    match sizes.hbm_tokens {
        0 => [0, 0],
        _ => [sources.total(), sources.hbm],
    }
}

fn hits(page: &mut Page, cache: &str, labels: &str, [queries, hits]: [u64; 2]) {
    page.counter(&format!("vllm:{cache}_queries_total"), labels, queries);
    page.counter(&format!("vllm:{cache}_hits_total"), labels, hits);
}

fn by_source(page: &mut Page, name: &str, labels: &str, counts: &[(&str, u64)]) {
    let samples = counts
        .iter()
        .map(|(source, count)| (format!("{labels},source=\"{source}\""), *count));
    page.labelled(name, &samples.collect::<Vec<_>>());
}

/// The size of HBM. vLLM counts its null block, which holds no prompt; the mock without a prefix cache has that one alone.
fn cache_config(page: &mut Page, sizes: &CacheSizes) {
    let block = sizes.block_tokens as u64;
    let blocks = sizes.hbm_tokens / block + 1;
    let caches = if sizes.hbm_tokens > 0 { "True" } else { "False" };
    let size = blocks * block;
    let labels = format!(
        "block_size=\"{block}\",enable_prefix_caching=\"{caches}\",engine=\"0\",eviction_policy=\"{EVICTION_POLICY}\",\
         kv_cache_size_tokens=\"{size}\",num_gpu_blocks=\"{blocks}\""
    );
    page.family("vllm:cache_config_info", "gauge", &[(&labels, 1)]);
}
