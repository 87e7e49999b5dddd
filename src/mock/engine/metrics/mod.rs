//! The page `/metrics` in the text format of Prometheus: the counters of an engine and of an LMCache server that benchmarks read.
//! Everything is counted when a request has arrived and its place in the cache is known.

use super::config::Config;
use crate::choices;
use crate::ledger::simulate::{Lookup, Sources};
use crate::ledger::tiers::EXACT_LRU;

mod lmcache;
mod sglang;
mod vllm;

choices! {
    /// Whose page the mock has. It also decides by which request its caches are cleared.
    #[derive(Default)]
    pub enum MetricsOf ("page of metrics") {
        /// vLLM 0.32.0.
        #[default]
        Vllm = "vllm",
        /// A vLLM that counts no sources: releases before pull request 33290.
        VllmHits = "vllm-hits",
        /// The first releases of V1, which count hits of HBM alone.
        VllmGpu = "vllm-gpu",
        Sglang = "sglang",
        None = "none",
    }
}

/// What the eviction of the mock is called where servers name theirs: the entry used least recently goes, when room is needed.
pub const EVICTION_POLICY: &str = EXACT_LRU;

/// Sums over all completions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    requests: u64,
    generation_tokens: u64,
    sources: Sources,
    lookup: Lookup,
    /// Lookups of prompts that are shorter than a chunk.
    short_lookups: u64,
    /// Chunks that left DRAM because it was cleared.
    cleared_chunks: u64,
}

impl Counters {
    /// Counts one completion.
    pub fn add(&mut self, sources: &Sources, lookup: &Lookup, generation_tokens: u64) {
        self.requests += 1;
        self.generation_tokens += generation_tokens;
        self.sources += *sources;
        self.lookup += *lookup;
        self.short_lookups += u64::from(lookup.asked == 0);
    }

    /// Counts chunks that left DRAM because it was cleared; LMCache has no counter of its own for them.
    pub fn add_cleared(&mut self, chunks: u64) {
        self.cleared_chunks += chunks;
    }

    /// Completions so far.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// The page that these settings ask for; `None` if they ask for none.
    pub fn render(&self, config: &Config) -> Option<String> {
        let model = config
            .model
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let sizes = &config.cache;
        let mut page = Page(padding(config.metrics_padding_mib));
        match config.metrics {
            MetricsOf::None => return None,
            MetricsOf::Sglang => sglang::push(&mut page, self, &model, sizes),
            MetricsOf::Vllm | MetricsOf::VllmHits | MetricsOf::VllmGpu => {
                vllm::push(&mut page, self, &model, config);
                lmcache::push(&mut page, self, &model, sizes);
            }
        }
        page.counter("mock_blended_tokens_total", "", self.sources.blended);
        Some(page.0)
    }
}

/// Samples that nobody asks for, at least so many MiB of them.
fn padding(mib: u64) -> String {
    let bytes = usize::try_from(mib << 20).unwrap_or(usize::MAX);
    let mut page = String::new();
    for row in 0_u64.. {
        if page.len() >= bytes {
            break;
        }
        page.push_str(&format!(
            "mock_padding_total{{row=\"{row}\",of=\"a page that is far too long\"}} 1\n"
        ));
    }
    page
}

/// A page that is being written.
#[derive(Debug)]
struct Page(String);

impl Page {
    /// A counter with one sample. `labels` are without braces.
    fn counter(&mut self, name: &str, labels: &str, count: u64) {
        self.family(name, "counter", &[(labels, count)]);
    }

    /// A metric with a sample for each set of labels.
    fn family(&mut self, name: &str, kind: &str, samples: &[(&str, u64)]) {
        self.0.push_str(&format!("# TYPE {name} {kind}\n"));
        for (labels, value) in samples {
            self.sample(name, labels, *value);
        }
    }

    /// A counter with a sample for each set of labels.
    fn labelled(&mut self, name: &str, samples: &[(String, u64)]) {
        let samples: Vec<(&str, u64)> = samples
            .iter()
            .map(|(labels, count)| (labels.as_str(), *count))
            .collect();
        self.family(name, "counter", &samples);
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let labels = match labels {
            "" => String::new(),
            labels => format!("{{{labels}}}"),
        };
        self.0.push_str(&format!("{name}{labels} {value}\n"));
    }

    /// A histogram with the one bucket that every histogram has.
    fn histogram(&mut self, name: &str, labels: &str, count: u64, sum: u64) {
        self.family(name, "histogram", &[]);
        self.sample(&format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), count);
        self.sample(&format!("{name}_count"), labels, count);
        self.sample(&format!("{name}_sum"), labels, sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::simulate::CacheSizes;

    fn counters() -> Counters {
        let sources = Sources {
            hbm: 100,
            dram: 30,
            disk: 20,
            computed: 7,
            blended: 10,
        };
        let lookup = Lookup {
            asked: 9,
            found_l1: 6,
            found_l2: 2,
            loaded: 3,
            read_l2: 2,
            written_l1: 5,
            evicted_l1: 4,
            written_l2: 3,
            evicted_l2: 1,
        };
        let mut counters = Counters::default();
        counters.add(&sources, &lookup, 4);
        counters.add(
            &Sources {
                computed: 5,
                ..Sources::default()
            },
            &Lookup::default(),
            4,
        );
        counters
    }

    /// The page of an engine with three tiers, after a change of its settings.
    fn page_with(counters: &Counters, change: impl FnOnce(&mut Config)) -> String {
        let cache = CacheSizes {
            hbm_tokens: 1000,
            dram_tokens: 3000,
            disk_tokens: 9000,
            block_tokens: 16,
            chunk_tokens: 10,
            blend: false,
        };
        let mut config = Config {
            cache,
            ..Config::default()
        };
        change(&mut config);
        counters.render(&config).unwrap()
    }

    fn assert_has(page: &str, lines: &[&str]) {
        for line in lines {
            assert!(page.contains(&format!("\n{line}\n")), "{line}\n{page}");
        }
    }

    #[test]
    fn a_page_has_the_families_of_vllm() {
        let page = page_with(&counters(), |config| config.model = "a\"b".into());
        let with = |name: &str, more: &str, count: u64| {
            assert_has(
                &page,
                &[&format!(
                    "vllm:{name}{{engine=\"0\",model_name=\"a\\\"b\"{more}}} {count}"
                )],
            );
        };
        with("prompt_tokens_by_source_total", ",source=\"local_compute\"", 12);
        with("prompt_tokens_by_source_total", ",source=\"local_cache_hit\"", 100);
        with("prompt_tokens_by_source_total", ",source=\"external_kv_transfer\"", 50);
        with("prompt_tokens_cached_total", "", 150);
        with("prompt_tokens_cached_by_source_total", ",source=\"device\"", 100);
        with("prompt_tokens_cached_by_source_total", ",source=\"host\"", 0);
        with(
            "prompt_tokens_cached_by_source_total",
            ",source=\"external_unspecified\"",
            50,
        );
        with("prefix_cache_queries_total", "", 162);
        with("prefix_cache_hits_total", "", 100);
        with("external_prefix_cache_queries_total", "", 62);
        with("external_prefix_cache_hits_total", "", 50);
        with("request_prefill_kv_computed_tokens_sum", "", 12);
        with("request_prefill_kv_computed_tokens_count", "", 2);
        with("request_prompt_tokens_sum", "", 162);
        with("num_preemptions_total", "", 0);
        // 1,000 tokens are 62 blocks of 16, and one more is the null block.
        let info = "vllm:cache_config_info{block_size=\"16\",enable_prefix_caching=\"True\",engine=\"0\",\
                    eviction_policy=\"exact_lru\",kv_cache_size_tokens=\"1008\",num_gpu_blocks=\"63\"} 1";
        assert_has(&page, &[info]);
    }

    #[test]
    fn without_tiers_nothing_is_looked_up_in_hbm_and_only_asked_of_a_cache_server() {
        let page = counters().render(&Config::default()).unwrap();
        let labels = "{engine=\"0\",model_name=\"mock-model\"}";
        assert_has(
            &page,
            &[
                &format!("vllm:prefix_cache_queries_total{labels} 0"),
                &format!("vllm:external_prefix_cache_queries_total{labels} 0"),
                "lmcache_mp_lookup_requested_tokens_total{model_name=\"mock-model\",cache_salt=\"\"} 2304",
            ],
        );
        assert!(page.contains("enable_prefix_caching=\"False\""), "{page}");
        assert!(!page.contains("lmcache_mp_l1"), "{page}");
    }

    #[test]
    fn a_lookup_counts_in_the_family_of_the_module_that_did_it() {
        let labels = "{model_name=\"a\\\"b\",cache_salt=\"\"}";
        let has = |blend: bool, name: &str, count: u64| {
            let page = page_with(&counters(), |config| {
                config.model = "a\"b".into();
                config.cache.blend = blend;
            });
            assert_has(&page, &[&format!("lmcache_{name}_tokens_total{labels} {count}")]);
        };
        has(false, "mp_lookup_requested", 90);
        has(false, "mp_lookup_hit", 80);
        has(false, "mp_lookup_hit_l1", 60);
        has(false, "mp_lookup_hit_l2", 20);
        assert!(!page_with(&counters(), |_| ()).contains("lmcache_blend"));
        has(true, "blend_lookup_requested", 90);
        has(true, "blend_lookup_hit", 90);
        has(true, "mp_lookup_requested", 0);
        has(true, "mp_lookup_hit", 0);
    }

    #[test]
    fn a_cache_server_counts_its_chunks() {
        let mut counters = counters();
        counters.add_cleared(7);
        let page = page_with(&counters, |_| ());
        let labels = "{model_name=\"mock-model\",cache_salt=\"\"}";
        assert_has(
            &page,
            &[
                &format!("lmcache_mp_lookups_requests_total{labels} 2"),
                "lmcache_mp_lookup_early_exit_requests_total{model_name=\"mock-model\",cache_salt=\"\",reason=\"empty_chunk_hashes\"} 1",
                "lmcache_mp_num_chunks_loaded_total{model_name=\"mock-model\",cache_salt=\"\",worker_id=\"0\"} 4",
                "lmcache_mp_l1_write_chunks_total{l1_tag=\"_default\"} 5",
                "lmcache_mp_l1_evicted_chunks_total{l1_tag=\"_default\"} 11",
                "lmcache_mp_l2_store_completed_objects_chunks_total 3",
                "lmcache_mp_l2_evicted_objects_chunks_total 1",
                "lmcache_mp_l2_prefetch_load_completed_chunks_total 2",
                "lmcache_mp_l2_prefetch_lookup_objects_chunks_total 9",
                "lmcache_mp_event_bus_dropped_events_total 0",
            ],
        );
        let only_dram = page_with(&counters, |config| config.cache.disk_tokens = 0);
        assert!(!only_dram.contains("_l2_store"), "{only_dram}");
    }

    #[test]
    fn older_engines_have_fewer_families_and_other_names() {
        let page = |of| page_with(&counters(), |config| config.metrics = of);
        let labels = "{engine=\"0\",model_name=\"mock-model\"}";
        let hits = page(MetricsOf::VllmHits);
        assert!(!hits.contains("by_source") && !hits.contains("cached"), "{hits}");
        assert_has(
            &hits,
            &[
                &format!("vllm:prefix_cache_hits_total{labels} 100"),
                &format!("vllm:external_prefix_cache_hits_total{labels} 50"),
            ],
        );
        let gpu = page(MetricsOf::VllmGpu);
        assert!(!gpu.contains("vllm:prefix") && !gpu.contains("external"), "{gpu}");
        assert_has(
            &gpu,
            &[
                &format!("vllm:gpu_prefix_cache_queries_total{labels} 162"),
                &format!("vllm:gpu_prefix_cache_hits_total{labels} 100"),
            ],
        );
        let config = Config {
            metrics: MetricsOf::None,
            ..Config::default()
        };
        assert_eq!(counters().render(&config), None);
    }

    #[test]
    fn sglang_counts_cached_tokens_by_where_they_were() {
        let page = page_with(&counters(), |config| config.metrics = MetricsOf::Sglang);
        assert!(!page.contains("vllm:") && !page.contains("lmcache"), "{page}");
        let model = "model_name=\"mock-model\"";
        assert_has(
            &page,
            &[
                &format!("sglang:prompt_tokens_total{{{model}}} 162"),
                &format!("sglang:cached_tokens_total{{{model},cache_source=\"device\"}} 100"),
                &format!("sglang:cached_tokens_total{{{model},cache_source=\"host\"}} 30"),
                &format!("sglang:cached_tokens_total{{{model},cache_source=\"storage_file\"}} 20"),
                &format!("sglang:realtime_tokens_total{{{model},mode=\"prefill_compute\"}} 12"),
                &format!("sglang:page_size{{{model}}} 16"),
            ],
        );
    }

    #[test]
    fn padding_comes_first_and_is_as_long_as_asked_for() {
        let page = page_with(&counters(), |config| config.metrics_padding_mib = 2);
        assert!(
            page.len() > 2 << 20 && page.len() < (2 << 20) + (16 << 10),
            "{}",
            page.len()
        );
        assert!(page.starts_with("mock_padding_total{row=\"0\""));
        assert_has(&page, &["mock_blended_tokens_total 10"]);
    }
}
