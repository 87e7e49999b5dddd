//! The flags of one workload each, in rows by workload. Must never hold more than their descriptions and how each value
//! is read.

use std::path::PathBuf;

use super::{EngineArgs, ShufflePolicy};
use crate::cli::flag::{Flag, FlagSpec, Group, Preset};
use crate::python::number::{float, int};

const PERMUTATOR: Group = Group {
    title: "Workload long-doc-permutator",
    of_reference: true,
};
const QA: Group = Group {
    title: "Workload long-doc-qa",
    of_reference: true,
};
const CHAT: Group = Group {
    title: "Workload multi-round-chat",
    of_reference: true,
};
const TUNER: Group = Group {
    title: "Workload prefix-suffix-tuner",
    of_reference: true,
};
const RAG: Group = Group {
    title: "Workload rag-qa-quality (not in this build)",
    of_reference: true,
};
const PREFILL: Group = Group {
    title: "Workload random-prefill",
    of_reference: true,
};

pub(super) const FLAGS: &[Flag<EngineArgs>] = &[
    Flag {
        spec: FlagSpec {
            long: "ldp-num-contexts",
            value_name: "N",
            preset: Preset::Text("5"),
            group: &PERMUTATOR,
            help: "Documents in every request",
            detail: "All of them are in every prompt, in different orders.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.ldp_num_contexts = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "ldp-context-length",
            value_name: "N",
            preset: Preset::Text("5000"),
            group: &PERMUTATOR,
            help: "Tokens of one document",
            detail: "Exact: the words are single tokens of the tokenizer, which this workload needs.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.ldp_context_length = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "ldp-system-prompt-length",
            value_name: "N",
            preset: Preset::Text("1000"),
            group: &PERMUTATOR,
            help: "Tokens of the system prompt",
            detail: "It is the same in every request; with `0` there is none.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.ldp_system_prompt_length = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "ldp-num-permutations",
            value_name: "N",
            preset: Preset::Text("10"),
            group: &PERMUTATOR,
            help: "Requests to send, each with another order",
            detail: "At most N! for N documents.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.ldp_num_permutations = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "ldp-num-inflight-requests",
            value_name: "N",
            preset: Preset::Text("1"),
            group: &PERMUTATOR,
            help: "Requests in flight",
            detail: "The next one is sent as soon as any one ends.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.ldp_num_inflight_requests = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "ldp-max-output-length",
            value_name: "N",
            preset: Preset::Text("128"),
            group: &PERMUTATOR,
            help: "Tokens of an answer",
            detail: "With `1` only prefill is measured.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.ldp_max_output_length = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "ldqa-document-length",
            value_name: "N",
            preset: Preset::Text("10000"),
            group: &QA,
            help: "Tokens of one document",
            detail: "Words less a fixed allowance, as in LMCache; see `--exact-lengths`.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.ldqa_document_length = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "ldqa-query-per-document",
            value_name: "N",
            preset: Preset::Text("2"),
            group: &QA,
            help: "Questions about each document",
            detail: "The documents are sent once in the warmup.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.ldqa_query_per_document = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "ldqa-shuffle-policy",
            value_name: "POLICY",
            choices: ShufflePolicy::CHOICES,
            preset: Preset::Text("random"),
            group: &QA,
            help: "Order of the requests",
            detail: "`random` shuffles all questions with the seed; `tile` asks every document its first question, \
                     then its second.",
            ..FlagSpec::BLANK
        },
        set: |args, text| ShufflePolicy::from_text(text).map(|value| args.ldqa_shuffle_policy = Some(value)),
    },
    Flag {
        spec: FlagSpec {
            long: "ldqa-num-inflight-requests",
            value_name: "N",
            preset: Preset::Text("3"),
            group: &QA,
            help: "Requests in flight",
            detail: "The next one is sent as soon as any one ends.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.ldqa_num_inflight_requests = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "ldqa-max-output-length",
            value_name: "N",
            preset: Preset::Text("128"),
            group: &QA,
            help: "Tokens of an answer",
            detail: "Another value than the default is refused for prefix-suffix-tuner and random-prefill, whose \
                     answers have one token.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.ldqa_max_output_length = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "mrc-shared-prompt-length",
            value_name: "N",
            preset: Preset::Text("2000"),
            group: &CHAT,
            help: "Tokens of a session's system prompt",
            detail: "It begins with the number of the session, so no two sessions share it.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.mrc_shared_prompt_length = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "mrc-chat-history-length",
            value_name: "N",
            preset: Preset::Text("10000"),
            group: &CHAT,
            help: "Tokens of the history that a session begins with",
            detail: "Together with the system prompt it sets how many sessions fill `--kv-cache-volume`.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.mrc_chat_history_length = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "mrc-user-input-length",
            value_name: "N",
            preset: Preset::Text("50"),
            group: &CHAT,
            help: "Tokens of one user message",
            detail: "Words, as in LMCache.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.mrc_user_input_length = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "mrc-output-length",
            value_name: "N",
            preset: Preset::Text("200"),
            group: &CHAT,
            help: "Tokens of an answer",
            detail: "Answers become part of the later prompts of their session.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.mrc_output_length = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "mrc-qps",
            value_name: "F",
            preset: Preset::Text("1.0"),
            group: &CHAT,
            help: "Requests per second",
            detail: "The sessions take turns. See `--mrc-pacing` for a turn whose session is busy.",
            ..FlagSpec::BLANK
        },
        set: |args, text| float(text).map(|number| args.mrc_qps = Some(number)),
    },
    Flag {
        spec: FlagSpec {
            long: "mrc-duration",
            value_name: "F",
            preset: Preset::Text("60.0"),
            group: &CHAT,
            help: "Seconds during which requests are sent",
            detail: "What is in flight then is waited for.",
            ..FlagSpec::BLANK
        },
        set: |args, text| float(text).map(|number| args.mrc_duration = Some(number)),
    },
    Flag {
        spec: FlagSpec {
            long: "psf-context-length",
            value_name: "N",
            preset: Preset::Text("8000"),
            group: &TUNER,
            help: "Tokens of one prompt",
            detail: "Prefix, a breaker of 32 tokens, and a suffix that all prompts share.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.psf_context_length = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "psf-prefix-ratio",
            value_name: "F",
            preset: Preset::Text("0.8"),
            group: &TUNER,
            help: "Share of the prompt that is prefix",
            detail: "Above 0 and below 1; at least 100 tokens must be left for the suffix.",
            ..FlagSpec::BLANK
        },
        set: |args, text| float(text).map(|number| args.psf_prefix_ratio = Some(number)),
    },
    Flag {
        spec: FlagSpec {
            long: "psf-thrash",
            value_name: "F",
            preset: Preset::Text("20.0"),
            group: &TUNER,
            help: "GB of the cache tier to overflow",
            detail: "The prefixes together are 5 % more than that.",
            ..FlagSpec::BLANK
        },
        set: |args, text| float(text).map(|number| args.psf_thrash = Some(number)),
    },
    Flag {
        spec: FlagSpec {
            long: "rag-dataset",
            value_name: "NAME",
            group: &RAG,
            help: "Question data",
            detail: "`musique`, `hotpotqa` or a file. The flags of this group are read and kept in config files, but \
                     the workload is not in this build.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.rag_dataset = Some(text.to_string());
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "rag-num-samples",
            value_name: "N",
            preset: Preset::Text("50"),
            group: &RAG,
            help: "Questions to ask",
            detail: "Taken in the order of the data.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.rag_num_samples = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "rag-max-output-length",
            value_name: "N",
            preset: Preset::Text("1024"),
            group: &RAG,
            help: "Tokens of an answer",
            detail: "Reasoning counts too.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.rag_max_output_length = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "rag-doc-align-tokens",
            value_name: "N",
            preset: Preset::Text("256"),
            group: &RAG,
            help: "Tokens that passages are padded to a multiple of",
            detail: "The chunk size of the cache.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.rag_doc_align_tokens = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "rag-template-kwargs",
            value_name: "K=V",
            group: &RAG,
            help: "Argument of the chat template",
            detail: "A value of `true`, `false` or digits is sent as such, anything else as text.",
            repeatable: true,
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.rag_template_kwargs.get_or_insert_default().push(text.to_string());
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "rag-output",
            value_name: "PATH",
            preset: Preset::Unset("`rag_qa_quality.json` in `--output-dir`"),
            group: &RAG,
            help: "File of the graded answers",
            detail: "Beside the report.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.rag_output = Some(PathBuf::from(text));
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "rp-request-length",
            value_name: "N",
            preset: Preset::Text("10000"),
            group: &PREFILL,
            help: "Tokens of one prompt",
            detail: "Words less a fixed allowance, as in LMCache; see `--exact-lengths`.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.rp_request_length = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "rp-num-requests",
            value_name: "N",
            preset: Preset::Text("50"),
            group: &PREFILL,
            help: "Requests, all sent at once",
            detail: "Each asks for one token, so prefill is all that is measured.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.rp_num_requests = Some(n)),
    },
];
