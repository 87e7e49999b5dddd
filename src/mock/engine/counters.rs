//! The page `/metrics`: the counters of vLLM and of an LMCache server that benchmarks read, and one of blended tokens.

use super::record::Sources;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    requests: u64,
    generation_tokens: u64,
    sources: Sources,
    lookup_tokens: u64,
}

impl Counters {
    /// Counts one completion.
    pub fn add(&mut self, sources: &Sources, generation_tokens: u64) {
        self.requests += 1;
        self.generation_tokens += generation_tokens;
        self.sources.hbm += sources.hbm;
        self.sources.dram += sources.dram;
        self.sources.disk += sources.disk;
        self.sources.computed += sources.computed;
        self.sources.blended += sources.blended;
        // The engine looks up in the cache server what it does not have itself.
        self.lookup_tokens += sources.total() - sources.hbm;
    }

    /// The page in the text format of Prometheus.
    pub fn render(&self, model: &str) -> String {
        let label = model.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let model = format!("engine=\"0\",model_name=\"{label}\"");
        let Counters {
            requests,
            generation_tokens,
            sources,
            lookup_tokens,
        } = self;
        let Sources {
            hbm,
            dram,
            disk,
            computed,
            blended,
        } = sources;
        let prompt = sources.total();
        let external = dram + disk;
        format!(
            "# TYPE vllm:prompt_tokens_total counter\n\
             vllm:prompt_tokens_total{{{model}}} {prompt}\n\
             # TYPE vllm:generation_tokens_total counter\n\
             vllm:generation_tokens_total{{{model}}} {generation_tokens}\n\
             # TYPE vllm:request_success_total counter\n\
             vllm:request_success_total{{{model},finished_reason=\"length\"}} {requests}\n\
             # TYPE vllm:prompt_tokens_by_source_total counter\n\
             vllm:prompt_tokens_by_source_total{{{model},source=\"local_compute\"}} {computed}\n\
             vllm:prompt_tokens_by_source_total{{{model},source=\"local_cache_hit\"}} {hbm}\n\
             vllm:prompt_tokens_by_source_total{{{model},source=\"external_kv_transfer\"}} {external}\n\
             # TYPE lmcache_mp_lookup_requested_tokens_total counter\n\
             lmcache_mp_lookup_requested_tokens_total {lookup_tokens}\n\
             # TYPE lmcache_mp_lookup_hit_l1_tokens_total counter\n\
             lmcache_mp_lookup_hit_l1_tokens_total {dram}\n\
             # TYPE lmcache_mp_lookup_hit_l2_tokens_total counter\n\
             lmcache_mp_lookup_hit_l2_tokens_total {disk}\n\
             # TYPE mock_blended_tokens_total counter\n\
             mock_blended_tokens_total {blended}\n"
        )
    }
}
