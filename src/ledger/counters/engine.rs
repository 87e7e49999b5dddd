//! The counters of prompt tokens of an engine, in the names of vLLM (three generations) and of SGLang.

use super::page::{Grown, PageCounts};
use crate::http::prometheus::{Families, Labels, label};
use crate::ledger::tiers::UNIT_TOKENS_MAX;
use crate::units::decimal;

pub const PROMPT: &str = "vllm:prompt_tokens_total";
pub const BY_SOURCE: &str = "vllm:prompt_tokens_by_source_total";
pub const CACHED: &str = "vllm:prompt_tokens_cached_total";
/// Which tier an engine's connector says it loaded from (0.32).
pub const BY_TIER: &str = "vllm:prompt_tokens_cached_by_source_total";
pub const QUERIES: &str = "vllm:prefix_cache_queries_total";
pub const HITS: &str = "vllm:prefix_cache_hits_total";
pub const EXTERNAL_QUERIES: &str = "vllm:external_prefix_cache_queries_total";
pub const EXTERNAL_HITS: &str = "vllm:external_prefix_cache_hits_total";
pub const GPU_QUERIES: &str = "vllm:gpu_prefix_cache_queries_total";
pub const GPU_HITS: &str = "vllm:gpu_prefix_cache_hits_total";
pub const PREEMPTIONS: &str = "vllm:num_preemptions_total";
pub const ENDED: &str = "vllm:request_success_total";
pub const PREFILL_COMPUTED: &str = "vllm:request_prefill_kv_computed_tokens_sum";
pub const SGLANG_PROMPT: &str = "sglang:prompt_tokens_total";
pub const SGLANG_CACHED: &str = "sglang:cached_tokens_total";
pub const SGLANG_RETRACTED: &str = "sglang:num_retracted_requests_total";

const WHOLE: [&str; 13] = [
    PROMPT,
    CACHED,
    QUERIES,
    HITS,
    EXTERNAL_QUERIES,
    EXTERNAL_HITS,
    GPU_QUERIES,
    GPU_HITS,
    PREEMPTIONS,
    ENDED,
    PREFILL_COMPUTED,
    SGLANG_PROMPT,
    SGLANG_RETRACTED,
];
const SPLIT: [(&str, &str); 3] = [
    (BY_SOURCE, "source"),
    (BY_TIER, "source"),
    (SGLANG_CACHED, "cache_source"),
];
const CONFIG: &str = "vllm:cache_config_info";
/// When a counter was made, and when the process was started: another time is another process.
const LIFE: [&str; 2] = ["vllm:prompt_tokens_created", "process_start_time_seconds"];
/// Engines of one page whose settings are kept.
const CONFIGS_MAX: usize = 1024;

/// All names that are read on an engine's page, those of an LMCache inside it included.
pub fn names() -> impl Iterator<Item = &'static str> {
    let split = SPLIT.into_iter().map(|(family, _)| family);
    let own = WHOLE.into_iter().chain(split).chain(LIFE);
    own.chain([CONFIG]).chain(super::cache::inside_names())
}

/// The names in which an engine counts, by the newest that its page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// vLLM since early 2026: prompt tokens by source.
    VllmBySource,
    /// vLLM before that: hits of its own cache and of the connector's, counted when a request is looked at.
    VllmByCache,
    /// The first releases of vLLM V1: hits of its own cache, in the oldest of them counted in blocks.
    VllmGpuCache,
    /// SGLang: prompt tokens, and cached ones by the tier that had them.
    Sglang,
}

impl Naming {
    fn of(counts: &PageCounts) -> Option<Naming> {
        let namings = [
            (BY_SOURCE, Naming::VllmBySource),
            (QUERIES, Naming::VllmByCache),
            (GPU_QUERIES, Naming::VllmGpuCache),
            (SGLANG_PROMPT, Naming::Sglang),
        ];
        let found = namings.into_iter().find(|(family, _)| counts.has(family));
        found.map(|(_, naming)| naming)
    }

    pub fn text(self) -> &'static str {
        match self {
            Naming::VllmBySource => "vLLM, prompt tokens by source",
            Naming::VllmByCache => "vLLM, hits of caches",
            Naming::VllmGpuCache => "vLLM, hits of the GPU cache",
            Naming::Sglang => "SGLang",
        }
    }

    /// Whether hits of the cache are counted again in every step in which a waiting request is looked at (vLLM until July 2026).
    pub fn recounts(self) -> bool {
        matches!(self, Naming::VllmByCache | Naming::VllmGpuCache)
    }
}

/// One engine's `vllm:cache_config_info`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CacheConfig {
    /// Tokens of one block, as prefixes are looked up.
    pub block_tokens: Option<u64>,
    /// With the null block, which holds no tokens.
    pub num_blocks: Option<u64>,
    pub prefix_caching: Option<bool>,
    /// Only of an engine whose cache is an exact LRU; vLLM does not say how it evicts.
    pub eviction_policy: Option<String>,
    /// A model whose layers do not all look at the whole prompt.
    pub is_hybrid: bool,
}

impl CacheConfig {
    fn of(labels: &Labels) -> CacheConfig {
        let number = |name| {
            label(labels, name)
                .and_then(decimal::<u64>)
                .filter(|&number| number > 0)
        };
        let unit = |name| number(name).filter(|tokens| *tokens <= UNIT_TOKENS_MAX);
        CacheConfig {
            block_tokens: unit("effective_attention_block_size").or_else(|| unit("block_size")),
            num_blocks: number("num_gpu_blocks"),
            prefix_caching: label(labels, "enable_prefix_caching").map(|text| text == "True"),
            eviction_policy: label(labels, "eviction_policy").map(str::to_owned),
            is_hybrid: number("sliding_window").is_some() || number("mamba_block_size").is_some(),
        }
    }
}

/// What the engines behind one address have counted.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineCounters {
    /// `None` where no page has known counters.
    pub naming: Option<Naming>,
    /// One for each engine that says it, of all pages.
    pub configs: Vec<CacheConfig>,
    pages: Vec<PageCounts>,
}

impl EngineCounters {
    /// `None` without pages. Engines that count in different names cannot be added up, which is a problem.
    pub fn of(pages: &[(&str, Families)], problems: &mut Vec<String>) -> Option<EngineCounters> {
        let (mut counted, mut configs) = (Vec::new(), Vec::new());
        for (url, families) in pages {
            let mut counts = PageCounts::read(url, families, &WHOLE, &SPLIT, problems);
            counts.add_life(families, &LIFE);
            counted.push((*url, Naming::of(&counts), counts));
            match families.samples(CONFIG) {
                Ok(infos) => configs.extend(infos.keys().take(CONFIGS_MAX).map(CacheConfig::of)),
                Err(why) => problems.push(format!("{url}: {why}")),
            }
        }
        let known = counted.iter().find_map(|(url, naming, _)| Some((*url, (*naming)?)));
        if let Some((known_url, naming)) = known {
            // SGLang shows no counter before its first request.
            let differs = |other: Option<Naming>| other.map_or(naming != Naming::Sglang, |other| other != naming);
            if let Some((url, other, _)) = counted.iter().find(|(_, other, _)| differs(*other)) {
                let other = other.map_or("in no known names", Naming::text);
                problems.push(format!(
                    "{url}: it counts otherwise ({other}) than {known_url} ({}), so they cannot be added up",
                    naming.text()
                ));
                return None;
            }
        }
        (!counted.is_empty()).then(|| EngineCounters {
            naming: known.map(|(_, naming)| naming),
            configs,
            pages: counted.into_iter().map(|(_, _, counts)| counts).collect(),
        })
    }

    pub fn engines(&self) -> usize {
        self.pages.len()
    }

    /// What was counted in the `seconds` since `earlier`, and in which names; `None` where that is of other engines or names.
    pub fn since(&self, earlier: &EngineCounters, seconds: f64) -> Option<(Grown, Naming)> {
        let naming = self.naming?;
        let is_new = naming == Naming::Sglang && earlier.naming.is_none();
        let same = self.naming == earlier.naming || is_new;
        let same = same && self.pages.len() == earlier.pages.len();
        let absent_is_0 = naming == Naming::Sglang;
        same.then(|| {
            (
                Grown::between(&earlier.pages, &self.pages, seconds, absent_is_0),
                naming,
            )
        })
    }
}
