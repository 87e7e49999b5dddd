//! The help page of `engine` besides its flags: introduction, exit codes, environment, examples.

use super::TABLE;
use crate::cli::page::{Body, Note, Page};
use crate::cli::shared::{EXIT_BUG, EXIT_SIGNALS, LMCACHE_KEY, TRUST};

pub fn page() -> Page {
    Page {
        word: "engine",
        usage: "lmcache-bench [bench] engine --engine-url URL --workload NAME [options]".into(),
        summary: "Measure an inference engine under KV-reuse workloads",
        about: &[
            "Sends the requests of `lmcache bench engine` to an OpenAI-compatible engine and reports time to first token, \
             decode speed and throughput. With the same flags and seed the requests are those of LMCache, byte for byte and \
             in the same order, so a cache that one tool has warmed is hit by the other.",
            "Token times are the kernel's receive times, so that a busy client does not move them. Before the run a short \
             replay of the plan against a built-in mock measures the error of this program itself.",
            "Missing settings are asked for: with menus on a terminal, with numbered lists otherwise. Scripts give \
             `--no-interactive`.",
        ],
        flags: TABLE.specs(),
        notes: NOTES.to_vec(),
    }
}

const NOTES: &[Note] = &[
    Note {
        title: "Exit codes",
        body: Body::Terms(&[
            (
                "0",
                "All measured requests succeeded (of `--sweep` and `--find-max` any of them); or a config file was exported, or the \
                 questions were quit.",
            ),
            (
                "1",
                "A measured request failed, or of `--sweep` and `--find-max` all of them, or a step could not be run (report and \
                 files are still written), or settings are missing or out of range, or the \
                 engine, the LMCache server or a file could not be used.",
            ),
            ("2", "The command line is wrong; nothing was sent."),
            (
                "3",
                "A limit of `--slo` on a percentile does not hold; `--sweep`: no load kept every limit on a percentile; \
                 `--find-max`: no load holds. The report is complete.",
            ),
            EXIT_BUG,
            EXIT_SIGNALS,
        ]),
    },
    Note {
        title: "Environment",
        body: Body::Terms(&[
            (
                "OPENAI_API_KEY",
                "Sent to the engine as a bearer token, never printed and never exported. Unset or empty: `sk-dummy`.",
            ),
            LMCACHE_KEY,
            TRUST,
            (
                "HF_HOME, HF_HUB_CACHE",
                "Where tokenizers of already downloaded models are searched. Nothing is downloaded.",
            ),
        ]),
    },
    Note {
        title: "Examples",
        body: Body::Examples(&[
            (
                "Questions about long documents that the cache should know after the warmup:",
                &[
                    "lmcache-bench engine --engine-url localhost:8000 --workload long-doc-qa \\",
                    "    --lmcache-url localhost:8080 --kv-cache-volume 50",
                ],
            ),
            (
                "Thirty requests per minute in many sessions, without waiting for slow ones:",
                &[
                    "lmcache-bench engine --engine-url localhost:8000 \\",
                    "    --workload multi-round-chat --tokens-per-gb-kvcache 6553 \\",
                    "    --mrc-qps 0.5 --mrc-pacing free-session",
                ],
            ),
            (
                "The same settings again on another engine:",
                &[
                    "lmcache-bench engine --engine-url localhost:8000 --workload random-prefill \\",
                    "    --tokens-per-gb-kvcache 6553 --export-config prefill.json",
                    "lmcache-bench engine --engine-url other:8000 --config prefill.json",
                ],
            ),
            (
                "Prompts of your own, eight at a time, to a model without a chat template:",
                &[
                    "lmcache-bench engine --engine-url localhost:8000 --workload custom \\",
                    "    --prompts prompts.jsonl --custom-num-inflight-requests 8 \\",
                    "    --endpoint completions",
                ],
            ),
            (
                "The report as JSON, and a line for each request:",
                &[
                    "lmcache-bench engine --engine-url localhost:8000 --config prefill.json \\",
                    "    --format json --requests-jsonl requests.jsonl",
                ],
            ),
        ]),
    },
];
