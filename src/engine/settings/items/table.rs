//! The settings as rows. Titles are those of the reference, which scripts match on. Must never hold more than descriptions.

use super::{Input, Item};
use crate::engine::flags::WorkloadName;

/// What a run cannot do without. The question for an LMCache server comes before its address.
pub const REQUIRED: &[Item] = &[
    Item {
        key: "engine_url",
        title: "Engine URL",
        about: "Where the engine listens. A port alone means this machine. A key goes into OPENAI_API_KEY.",
        input: Input::Url,
        default: Some("http://localhost:8000"),
    },
    Item {
        key: "workload",
        title: "Workload",
        about: "What is sent to the engine.",
        input: Input::Choice(&[
            "The same documents in every prompt, in another order",
            "Questions about documents that the cache has seen",
            "Sessions that take turns, with growing histories",
            "Two passes over prefixes that overflow one cache tier",
            "Graded answers (not in this build)",
            "Prompts without answers, all at once",
        ]),
        default: None,
    },
    Item {
        key: "lmcache_url",
        title: "LMCache Server URL",
        about: "Its HTTP address. A port alone means this machine.",
        input: Input::Url,
        default: Some("http://localhost:8080"),
    },
    Item {
        key: "tokens_per_gb_kvcache",
        title: "Tokens per GB KV cache",
        about: "How many tokens one GB of KV cache holds for the model. vLLM logs both parts at its \
                start:\n  tokens of the GPU KV cache, divided by the GiB that are available to it.",
        input: Input::Int,
        default: None,
    },
];

pub const RAG_DATASET: Item = Item {
    key: "rag_dataset",
    title: "QA dataset",
    about: "A known name or a file.",
    input: Input::Text,
    default: None,
};

pub const GENERAL: &[Item] = &[
    Item {
        key: "model",
        title: "Model name",
        about: "As the engine serves it. Empty: the first that the engine lists.",
        input: Input::Text,
        default: Some(""),
    },
    Item {
        key: "kv_cache_volume",
        title: "KV cache volume (GB)",
        about: "How much KV cache the requests fill.",
        input: Input::Float,
        default: None,
    },
    Item {
        key: "ignore_eos",
        title: "Ignore EOS",
        about: "Let answers go on to their full length. vLLM and SGLang understand it.",
        input: Input::YesNo,
        default: None,
    },
    Item {
        key: "no_warmup",
        title: "Skip warmup",
        about: "Measure from the first request on, against a cold cache.",
        input: Input::YesNo,
        default: None,
    },
];

pub fn workload_items(name: WorkloadName) -> &'static [Item] {
    match name {
        WorkloadName::LongDocPermutator => PERMUTATOR,
        WorkloadName::LongDocQa => QA,
        WorkloadName::MultiRoundChat => CHAT,
        WorkloadName::PrefixSuffixTuner => TUNER,
        WorkloadName::RagQaQuality => RAG,
        WorkloadName::RandomPrefill => PREFILL,
    }
}

const PERMUTATOR: &[Item] = &[
    Item {
        key: "ldp_num_contexts",
        title: "Number of contexts",
        about: "Documents in every prompt.",
        input: Input::Int,
        default: None,
    },
    Item {
        key: "ldp_context_length",
        title: "Context length (tokens)",
        about: "Tokens of one document.",
        input: Input::Int,
        default: None,
    },
    Item {
        key: "ldp_system_prompt_length",
        title: "System prompt length (tokens)",
        about: "Tokens of the prompt before the documents; 0 for none.",
        input: Input::Int,
        default: None,
    },
    Item {
        key: "ldp_num_permutations",
        title: "Number of permutations",
        about: "Requests, each with another order: at most N! for N documents.",
        input: Input::Int,
        default: None,
    },
    Item {
        key: "ldp_num_inflight_requests",
        title: "Max inflight requests",
        about: "How many requests may be in flight.",
        input: Input::Int,
        default: None,
    },
    Item {
        key: "ldp_max_output_length",
        title: "Max output length (tokens)",
        about: "Tokens of an answer; 1 leaves prefill alone.",
        input: Input::Int,
        default: None,
    },
];

const QA: &[Item] = &[
    Item {
        key: "ldqa_document_length",
        title: "Document length (tokens)",
        about: "Tokens of one document.",
        input: Input::Int,
        default: None,
    },
    Item {
        key: "ldqa_query_per_document",
        title: "Queries per document",
        about: "Questions about each document.",
        input: Input::Int,
        default: None,
    },
    Item {
        key: "ldqa_shuffle_policy",
        title: "Shuffle policy",
        about: "The order of the requests.",
        input: Input::Choice(&[
            "All questions in random order",
            "One question to every document, then the next",
        ]),
        default: None,
    },
    Item {
        key: "ldqa_num_inflight_requests",
        title: "Max inflight requests",
        about: "How many requests may be in flight.",
        input: Input::Int,
        default: None,
    },
    Item {
        key: "ldqa_max_output_length",
        title: "Max output length (tokens)",
        about: "Tokens of an answer.",
        input: Input::Int,
        default: None,
    },
];

const CHAT: &[Item] = &[
    Item {
        key: "mrc_shared_prompt_length",
        title: "System prompt length (tokens)",
        about: "Tokens of a session's system prompt.",
        input: Input::Int,
        default: None,
    },
    Item {
        key: "mrc_chat_history_length",
        title: "Chat history length (tokens)",
        about: "Tokens that a session begins with.",
        input: Input::Int,
        default: None,
    },
    Item {
        key: "mrc_user_input_length",
        title: "User input length (tokens)",
        about: "Tokens of one user message.",
        input: Input::Int,
        default: None,
    },
    Item {
        key: "mrc_output_length",
        title: "Output length (tokens)",
        about: "Tokens of an answer.",
        input: Input::Int,
        default: None,
    },
    Item {
        key: "mrc_qps",
        title: "Queries per second",
        about: "How often a request is sent.",
        input: Input::Float,
        default: None,
    },
    Item {
        key: "mrc_duration",
        title: "Duration (seconds)",
        about: "How long requests are sent.",
        input: Input::Float,
        default: None,
    },
];

const TUNER: &[Item] = &[
    Item {
        key: "psf_context_length",
        title: "Context length (tokens)",
        about: "Tokens of one prompt: prefix, breaker and suffix.",
        input: Input::Int,
        default: None,
    },
    Item {
        key: "psf_prefix_ratio",
        title: "Prefix ratio",
        about: "Share of the prompt that is prefix, above 0 and below 1.",
        input: Input::Float,
        default: None,
    },
    Item {
        key: "psf_thrash",
        title: "Target tier size (GB)",
        about: "Size of the cache tier to overflow.",
        input: Input::Float,
        default: None,
    },
];

const RAG: &[Item] = &[
    Item {
        key: "rag_num_samples",
        title: "Number of samples",
        about: "Questions to ask.",
        input: Input::Int,
        default: None,
    },
    Item {
        key: "rag_max_output_length",
        title: "Max output length (tokens)",
        about: "Tokens of an answer.",
        input: Input::Int,
        default: None,
    },
    Item {
        key: "rag_doc_align_tokens",
        title: "Document alignment (tokens)",
        about: "Passages are padded to a multiple of this.",
        input: Input::Int,
        default: None,
    },
];

const PREFILL: &[Item] = &[
    Item {
        key: "rp_request_length",
        title: "Request length (tokens)",
        about: "Tokens of one prompt.",
        input: Input::Int,
        default: None,
    },
    Item {
        key: "rp_num_requests",
        title: "Number of requests",
        about: "Prompts that are sent at once.",
        input: Input::Int,
        default: None,
    },
];
