//! The settings of each workload, with the sizes that follow from them. Must never build a request.

use crate::engine::flags::{ChatPacing, EngineArgs, PermutationOrder, ShufflePolicy, WorkloadName};
use crate::error::Error;

/// Requests of one phase that a run may have: more would not fit a schedule in memory.
const REQUESTS_MAX: f64 = 1e7;
/// Tokens of one text; a text of this many words has about half a gigabyte.
const LENGTH_MAX: i64 = 100_000_000;
/// Tokens of the random text between prefix and suffix, its marker included.
pub const BREAKER_TOKENS: i64 = 32;
/// What a suffix must have left.
const SUFFIX_TOKENS_MIN: i64 = 100;
/// How much more than the tier the tuner's prefixes fill.
const OVERFLOW: f64 = 1.05;

#[derive(Clone, Debug, PartialEq)]
pub enum WorkloadConfig {
    LongDocPermutator(LongDocPermutator),
    LongDocQa(LongDocQa),
    MultiRoundChat(MultiRoundChat),
    PrefixSuffixTuner(PrefixSuffixTuner),
    RandomPrefill(RandomPrefill),
}

#[derive(Clone, Debug, PartialEq)]
pub struct LongDocPermutator {
    pub contexts: u64,
    pub context_tokens: u64,
    pub system_prompt_tokens: u64,
    pub permutations_max: u64,
    pub in_flight: u64,
    pub max_tokens: u64,
    pub order: PermutationOrder,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LongDocQa {
    pub documents: u64,
    pub document_tokens: u64,
    pub queries_per_document: u64,
    pub shuffle: ShufflePolicy,
    pub in_flight: u64,
    pub max_tokens: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MultiRoundChat {
    pub sessions: u64,
    pub shared_prompt_tokens: u64,
    pub history_tokens: u64,
    pub user_input_tokens: u64,
    pub max_tokens: u64,
    pub requests_per_second: f64,
    pub duration_s: f64,
    pub pacing: ChatPacing,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PrefixSuffixTuner {
    pub prefixes: u64,
    pub context_tokens: u64,
    pub prefix_tokens: u64,
    pub suffix_tokens: u64,
    pub prefix_ratio: f64,
    pub tier_gb: f64,
    pub overflow: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RandomPrefill {
    pub requests: u64,
    pub request_tokens: u64,
}

/// What the sizes of workloads are made from.
pub(super) struct Sizes {
    /// `--kv-cache-volume` in tokens.
    pub kv_tokens: f64,
    pub tokens_per_gb: i64,
}

impl WorkloadConfig {
    pub(super) fn resolve(args: &EngineArgs, name: WorkloadName, sizes: &Sizes) -> Result<WorkloadConfig, Error> {
        match name {
            WorkloadName::LongDocPermutator => permutator(args).map(WorkloadConfig::LongDocPermutator),
            WorkloadName::LongDocQa => long_doc_qa(args, sizes).map(WorkloadConfig::LongDocQa),
            WorkloadName::MultiRoundChat => chat(args, sizes).map(WorkloadConfig::MultiRoundChat),
            WorkloadName::PrefixSuffixTuner => tuner(args, sizes).map(WorkloadConfig::PrefixSuffixTuner),
            WorkloadName::RandomPrefill => prefill(args).map(WorkloadConfig::RandomPrefill),
            WorkloadName::RagQaQuality => Err(rag_is_absent()),
        }
    }

    pub fn name(&self) -> WorkloadName {
        match self {
            WorkloadConfig::LongDocPermutator(_) => WorkloadName::LongDocPermutator,
            WorkloadConfig::LongDocQa(_) => WorkloadName::LongDocQa,
            WorkloadConfig::MultiRoundChat(_) => WorkloadName::MultiRoundChat,
            WorkloadConfig::PrefixSuffixTuner(_) => WorkloadName::PrefixSuffixTuner,
            WorkloadConfig::RandomPrefill(_) => WorkloadName::RandomPrefill,
        }
    }
}

pub fn rag_is_absent() -> Error {
    Error::Settings(
        "rag-qa-quality is not in this build: it grades answers instead of measuring the cache; run it with LMCache \
         0.5.4 or later, or choose another --workload"
            .into(),
    )
}

fn permutator(args: &EngineArgs) -> Result<LongDocPermutator, Error> {
    let system = args.ldp_system_prompt_length.unwrap_or_default();
    let config = LongDocPermutator {
        contexts: at_least_one("--ldp-num-contexts", args.ldp_num_contexts)?,
        context_tokens: length("--ldp-context-length", args.ldp_context_length)?,
        permutations_max: at_least_one("--ldp-num-permutations", args.ldp_num_permutations)?,
        in_flight: at_least_one("--ldp-num-inflight-requests", args.ldp_num_inflight_requests)?,
        max_tokens: at_least_one("--ldp-max-output-length", args.ldp_max_output_length)?,
        // Below 0 means none, as in the reference.
        system_prompt_tokens: if system <= 0 {
            0
        } else {
            length("--ldp-system-prompt-length", Some(system))?
        },
        order: args.ldp_order.unwrap_or(PermutationOrder::Sorted),
    };
    let text = config.contexts as f64 * config.context_tokens as f64;
    if text > LENGTH_MAX as f64 {
        return Err(Error::Settings(format!(
            "--ldp-num-contexts x --ldp-context-length makes prompts of {text} tokens; at most {LENGTH_MAX} can be sent"
        )));
    }
    Ok(config)
}

fn long_doc_qa(args: &EngineArgs, sizes: &Sizes) -> Result<LongDocQa, Error> {
    let document_tokens = length("--ldqa-document-length", args.ldqa_document_length)?;
    let queries_per_document = at_least_one("--ldqa-query-per-document", args.ldqa_query_per_document)?;
    let advice = "lower --kv-cache-volume or --ldqa-query-per-document, or raise --ldqa-document-length";
    let documents = pool(sizes.kv_tokens / document_tokens as f64);
    bounded(documents * queries_per_document as f64, advice)?;
    Ok(LongDocQa {
        documents: documents as u64,
        document_tokens,
        queries_per_document,
        shuffle: args.ldqa_shuffle_policy.unwrap_or(ShufflePolicy::Random),
        in_flight: at_least_one("--ldqa-num-inflight-requests", args.ldqa_num_inflight_requests)?,
        max_tokens: at_least_one("--ldqa-max-output-length", args.ldqa_max_output_length)?,
    })
}

fn chat(args: &EngineArgs, sizes: &Sizes) -> Result<MultiRoundChat, Error> {
    let shared_prompt_tokens = length("--mrc-shared-prompt-length", args.mrc_shared_prompt_length)?;
    let history_tokens = length("--mrc-chat-history-length", args.mrc_chat_history_length)?;
    let sessions = pool(sizes.kv_tokens / (shared_prompt_tokens + history_tokens) as f64);
    bounded(sessions, "lower --kv-cache-volume, or raise --mrc-chat-history-length")?;
    let requests_per_second = above_zero("--mrc-qps", args.mrc_qps)?;
    let duration_s = above_zero("--mrc-duration", args.mrc_duration)?;
    bounded(requests_per_second * duration_s, "lower --mrc-qps or --mrc-duration")?;
    Ok(MultiRoundChat {
        sessions: sessions as u64,
        shared_prompt_tokens,
        history_tokens,
        user_input_tokens: length("--mrc-user-input-length", args.mrc_user_input_length)?,
        max_tokens: at_least_one("--mrc-output-length", args.mrc_output_length)?,
        requests_per_second,
        duration_s,
        pacing: args.mrc_pacing.unwrap_or(ChatPacing::Blocking),
    })
}

fn tuner(args: &EngineArgs, sizes: &Sizes) -> Result<PrefixSuffixTuner, Error> {
    let context = args.psf_context_length.unwrap_or_default();
    let prefix_ratio = args.psf_prefix_ratio.unwrap_or_default();
    let prefix = ((context as f64 * prefix_ratio).round_ties_even()).max(1.0);
    // This check comes first in the reference, so a ratio of 1.0 reports a negative suffix.
    let suffix = context as f64 - prefix - BREAKER_TOKENS as f64;
    if suffix.is_nan() || suffix < SUFFIX_TOKENS_MIN as f64 {
        return Err(Error::Settings(format!(
            "--psf-context-length {context} with --psf-prefix-ratio {prefix_ratio} leaves a suffix of {suffix} tokens; it \
             needs at least {SUFFIX_TOKENS_MIN}: take a smaller ratio or a longer context"
        )));
    }
    let context_tokens = length("--psf-context-length", Some(context))?;
    if !(prefix_ratio > 0.0 && prefix_ratio < 1.0) {
        return Err(Error::Settings(format!(
            "--psf-prefix-ratio must lie between 0 and 1, got {prefix_ratio}"
        )));
    }
    let tier_gb = above_zero("--psf-thrash", args.psf_thrash)?;
    let prefixes = pool(tier_gb * OVERFLOW * sizes.tokens_per_gb as f64 / context_tokens as f64);
    bounded(prefixes, "lower --psf-thrash, or raise --psf-context-length")?;
    Ok(PrefixSuffixTuner {
        prefixes: prefixes as u64,
        context_tokens,
        prefix_tokens: prefix as u64,
        suffix_tokens: suffix as u64,
        prefix_ratio,
        tier_gb,
        overflow: OVERFLOW,
    })
}

fn prefill(args: &EngineArgs) -> Result<RandomPrefill, Error> {
    let requests = at_least_one("--rp-num-requests", args.rp_num_requests)?;
    bounded(requests as f64, "lower --rp-num-requests")?;
    Ok(RandomPrefill {
        requests,
        request_tokens: length("--rp-request-length", args.rp_request_length)?,
    })
}

/// Python's `max(int(quotient), 1)`.
fn pool(quotient: f64) -> f64 {
    quotient.trunc().max(1.0)
}

fn bounded(requests: f64, advice: &str) -> Result<(), Error> {
    if requests <= REQUESTS_MAX {
        return Ok(());
    }
    Err(Error::Settings(format!(
        "these settings make {requests:.0} requests or sessions, more than the {REQUESTS_MAX:.0} of one run; {advice}"
    )))
}

fn at_least_one(flag: &str, value: Option<i64>) -> Result<u64, Error> {
    let value = value.unwrap_or_default();
    u64::try_from(value)
        .ok()
        .filter(|&value| value >= 1)
        .ok_or_else(|| Error::Settings(format!("{flag} must be at least 1, got {value}")))
}

fn length(flag: &str, value: Option<i64>) -> Result<u64, Error> {
    let tokens = at_least_one(flag, value)?;
    if tokens > LENGTH_MAX.unsigned_abs() {
        return Err(Error::Settings(format!(
            "{flag} must be at most {LENGTH_MAX}, got {tokens}"
        )));
    }
    Ok(tokens)
}

fn above_zero(flag: &str, value: Option<f64>) -> Result<f64, Error> {
    let value = value.unwrap_or_default();
    if value > 0.0 && value.is_finite() {
        return Ok(value);
    }
    Err(Error::Settings(format!("{flag} must be above 0, got {value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(words: &[&str]) -> Result<WorkloadConfig, Error> {
        let args = crate::engine::testing::given(words).or(EngineArgs::presets());
        let sizes = Sizes {
            kv_tokens: args.kv_cache_volume.unwrap_or_default() * 6553.0,
            tokens_per_gb: 6553,
        };
        WorkloadConfig::resolve(&args, args.workload.expect("a workload"), &sizes)
    }

    fn refusal(words: &[&str]) -> String {
        resolved(words).expect_err("a refusal").to_string()
    }

    #[test]
    fn sizes_follow_the_references_arithmetic() {
        let Ok(WorkloadConfig::LongDocQa(qa)) = resolved(&["--workload", "long-doc-qa"]) else {
            panic!("long-doc-qa")
        };
        assert_eq!((qa.documents, qa.in_flight), (65, 3));
        let Ok(WorkloadConfig::MultiRoundChat(chat)) = resolved(&["--workload", "multi-round-chat"]) else {
            panic!("multi-round-chat")
        };
        assert_eq!(chat.sessions, 54);
        let Ok(WorkloadConfig::PrefixSuffixTuner(tuner)) = resolved(&["--workload", "prefix-suffix-tuner"]) else {
            panic!("prefix-suffix-tuner")
        };
        // 20 * 1.05 * 6553 / 8000, by the context length, not by the prefix as the manual says.
        assert_eq!(
            (tuner.prefixes, tuner.prefix_tokens, tuner.suffix_tokens),
            (17, 6400, 1568)
        );
    }

    #[test]
    fn half_way_prefixes_round_to_even() {
        let words = [
            "--workload",
            "prefix-suffix-tuner",
            "--psf-prefix-ratio",
            "0.5",
            "--psf-context-length",
        ];
        for (context, prefix) in [("301", 150), ("303", 152)] {
            match resolved(&[&words[..], &[context]].concat()) {
                Ok(WorkloadConfig::PrefixSuffixTuner(tuner)) => assert_eq!(tuner.prefix_tokens, prefix),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_run_is_named() {
        let tuner = ["--workload", "prefix-suffix-tuner", "--psf-prefix-ratio", "1.0"];
        assert!(refusal(&tuner).contains("leaves a suffix of -32 tokens; it needs at least 100"));
        let zero = refusal(&["--workload", "long-doc-qa", "--ldqa-document-length", "0"]);
        assert!(
            zero.contains("--ldqa-document-length must be at least 1, got 0"),
            "{zero}"
        );
        let many = refusal(&["--workload", "random-prefill", "--rp-num-requests", "10000001"]);
        assert!(many.contains("10000001 requests"), "{many}");
        let large = ["--workload", "long-doc-qa", "--kv-cache-volume", "1e300"];
        assert!(refusal(&large).contains("lower --kv-cache-volume"));
        assert!(refusal(&["--workload", "rag-qa-quality"]).contains("rag-qa-quality is not in this build"));
        assert!(refusal(&["--workload", "multi-round-chat", "--mrc-qps", "nan"]).contains("--mrc-qps must be above 0"));
    }

    #[test]
    fn a_negative_system_prompt_is_none() {
        match resolved(&["--workload", "long-doc-permutator", "--ldp-system-prompt-length", "-3"]) {
            Ok(WorkloadConfig::LongDocPermutator(config)) => assert_eq!(config.system_prompt_tokens, 0),
            other => panic!("{other:?}"),
        }
    }
}
