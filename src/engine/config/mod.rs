//! The settings of one `engine` run, as plain data. `settings` makes them from the command line and checks them; then the
//! value can be run. The API key is not among them.

pub mod cache;
pub mod load;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use cache::CacheConfig;
use load::LoadConfig;

use crate::cli::shared::OutputArgs;
use crate::engine::args::{Endpoint, WorkloadName, WorkloadValues};
use crate::python::big_int::BigInt;
use crate::url::with_scheme;

#[derive(Clone, Debug, PartialEq)]
pub struct EngineConfig {
    /// As given; [`base_url`] makes the address of requests from it.
    pub engine_url: String,
    pub model: String,
    /// Whose counters are read as well.
    pub lmcache_url: Option<String>,
    pub workload: WorkloadConfig,
    pub kv_cache_volume_gb: f64,
    /// 0 where the workload does without and none was given.
    pub tokens_per_gb_kvcache: i64,
    /// What the LMCache server says about itself, where the workload depends on it.
    pub cache: CacheFacts,
    pub seed: BigInt,
    /// Which step of a sweep or search this is; 0 in any other run. Each step has prompts of its own.
    pub step: u64,
    pub ignore_eos: bool,
    /// Whether every event is to carry the engine's count.
    pub usage_per_event: bool,
    pub endpoint: Endpoint,
    /// The JSON object of `--extra-body`, as given.
    pub extra_body: Option<String>,
    /// Whether the warmup requests are sent.
    pub warmup: bool,
    /// The path of `--tokenizer`.
    pub tokenizer: Option<PathBuf>,
    pub exact_lengths: bool,
    pub timeouts: Timeouts,
    pub load: LoadConfig,
    pub tiers: CacheConfig,
    /// Whether the client's own error is measured before the run.
    pub certificate: bool,
    pub output: OutputConfig,
    /// All settings by flag name, for the result file.
    pub settings: Map<String, Json>,
}

/// More than a run has documents.
const SEEDS_APART: u64 = 1_000_000_007;

/// Where results go.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputConfig {
    /// Folder of `bench_results.csv` and `bench_summary.json`.
    pub folder: PathBuf,
    pub csv: bool,
    pub json_summary: bool,
    pub shared: OutputArgs,
    pub requests_jsonl: Option<PathBuf>,
}

/// Limits of one request; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Option<Duration>,
    pub first_token: Option<Duration>,
    pub stall: Option<Duration>,
    pub request: Option<Duration>,
}

/// Which workload runs, and with what.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadConfig {
    name: WorkloadName,
    pub prompt_text: PromptText,
    /// A value for each of its flags.
    pub values: WorkloadValues,
}

/// What the prompts of a workload are made of, which decides what a tokenizer is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptText {
    /// One repeated word. A tokenizer counts it where lengths must be exact.
    RepeatedWord,
    /// Words of one token each from the tokenizer's vocabulary, so lengths are exact; without one, made-up words.
    SingleTokens,
    /// The same, but where only the engine counts tokens it is asked about one text: lengths are right on average.
    Drawn,
    /// Random token ids as text; without a tokenizer, one repeated word.
    RandomTokens,
    /// Given from outside. Where lengths are to be counted, words are counted without a tokenizer.
    Given,
    /// Given texts, padded with words of one token each behind what the chat template puts before them. Not without a
    /// tokenizer.
    Padded,
}

/// What the sizes of workloads are computed from.
pub struct Sizes {
    /// `--kv-cache-volume` in tokens.
    pub kv_tokens: f64,
    pub tokens_per_gb: i64,
    pub l1: L1Memory,
}

/// What a running LMCache server says about itself in `/status`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CacheFacts {
    pub l1: L1Memory,
    /// Whether it has the module that blends. `None` where it was not asked or did not answer.
    pub blends: Option<bool>,
}

/// The memory of an LMCache server's L1.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum L1Memory {
    /// Nobody was asked.
    #[default]
    Unasked,
    /// The sentence says why.
    Unknown(String),
    /// Its size in GB of 2^30 bytes.
    Gb(f64),
}

impl PromptText {
    /// Whether words or tokens are drawn from the vocabulary.
    pub fn draws_tokens(self) -> bool {
        matches!(
            self,
            PromptText::SingleTokens | PromptText::Drawn | PromptText::RandomTokens | PromptText::Padded
        )
    }
}

impl EngineConfig {
    /// `<base>`: requests go to this and [`Endpoint::path`].
    pub fn base_url(&self) -> String {
        base_url(&self.engine_url)
    }

    /// Whether there is an LMCache server to ask.
    pub fn has_lmcache(&self) -> bool {
        self.lmcache_url.as_ref().is_some_and(|url| !url.is_empty())
    }

    /// The settings of a step, with prompts unlike those of other steps: workloads that draw their words have another seed, and
    /// those that number their texts go on with the numbers. Prompts from a file stay the same.
    pub fn of_step(&self, step: u64) -> EngineConfig {
        EngineConfig {
            // Documents have seeds that follow one another, so steps are far apart.
            seed: self.seed.plus(step.saturating_mul(SEEDS_APART)),
            step,
            ..self.clone()
        }
    }

    pub fn sizes(&self) -> Sizes {
        Sizes::new(self.kv_cache_volume_gb, self.tokens_per_gb_kvcache).with_l1(&self.cache.l1)
    }
}

/// The name in reports of what a staircase sends. It is not in the list of workloads.
const STAIRCASE: WorkloadName = WorkloadName("kv-staircase");

impl WorkloadConfig {
    /// The documents of a staircase, which are no workload of the list.
    pub fn of_staircase() -> WorkloadConfig {
        WorkloadConfig::new(STAIRCASE, PromptText::Drawn, WorkloadValues::default())
    }

    pub fn new(name: WorkloadName, prompt_text: PromptText, values: WorkloadValues) -> WorkloadConfig {
        WorkloadConfig {
            name,
            prompt_text,
            values,
        }
    }

    pub fn name(&self) -> WorkloadName {
        self.name
    }
}

impl Sizes {
    pub fn new(kv_cache_volume_gb: f64, tokens_per_gb: i64) -> Sizes {
        Sizes {
            kv_tokens: kv_cache_volume_gb * tokens_per_gb as f64,
            tokens_per_gb,
            l1: L1Memory::Unasked,
        }
    }

    pub fn with_l1(mut self, l1: &L1Memory) -> Sizes {
        self.l1.clone_from(l1);
        self
    }
}

/// The address that requests start with, by the reference's rules: no trailing slashes, `http://` where there is no
/// scheme, `/v1` at the end. A port alone means this machine, as in the interactive mode; there is no host of that name.
/// A scheme in capitals is one, unlike in the reference, which takes `HTTP` for a host.
pub fn base_url(engine_url: &str) -> String {
    let url = engine_url.trim_end_matches('/');
    if !url.is_empty() && url.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("http://localhost:{url}/v1");
    }
    let version = if url.ends_with("/v1") { "" } else { "/v1" };
    format!("{}{version}", with_scheme(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_follow_the_references_rules() {
        for (given, base) in [
            ("http://h:1", "http://h:1/v1"),
            ("http://h:1///", "http://h:1/v1"),
            ("https://h/v1/", "https://h/v1"),
            ("h:1/v1", "http://h:1/v1"),
            ("8000", "http://localhost:8000/v1"),
            ("HTTP://h", "http://h/v1"),
            ("HTTPS://h/v1/", "https://h/v1"),
        ] {
            assert_eq!(base_url(given), base);
        }
    }
}
