//! The help page of `mock engine`, except its flags: purpose, faults, exit statuses, examples.

use super::TABLE;
use crate::cli::page::{Body, Note, Page};

pub fn page() -> Page {
    Page {
        word: "mock engine",
        usage: "lmcache-bench mock engine [options]".into(),
        summary: "Imitate an inference engine with exact delays",
        about: &[
            "Serves `/v1/chat/completions`, `/v1/completions` (streamed or not), `/v1/models`, `/tokenize`, \
             `/detokenize` (with `--tokenizer`), `/metrics`, `/status`, `/config`, `/version`, requests that clear caches, and `/health` over HTTP/1.1 until it is stopped. \
             The first line on standard output is `listening on http://ADDRESS:PORT`. Every answer has `max_tokens` tokens, each the text ` word`.",
            "What it is for: a benchmark's numbers can be compared with the truth, which `--log` records; the workloads can \
             be tried out without a GPU; and clients can be shown every misbehaviour that engines are known for.",
        ],
        flags: TABLE.specs(),
        notes: NOTES.to_vec(),
    }
}

const NOTES: &[Note] = &[
    Note {
        title: "Prefix cache",
        body: Body::Terms(&[
            (
                "HBM",
                "The engine's own cache: whole blocks, found from the beginning of the prompt on.",
            ),
            (
                "DRAM, disk",
                "An LMCache server behind it, its L1 and its L2: whole chunks, found from the beginning on, in DRAM before disk. \
                 With `--blend` a chunk is found anywhere.",
            ),
            (
                "all tiers",
                "The least recently used goes first, the end of a prompt before its beginning. Everything computed is \
                 written through to every tier, everything found moves up. At least one token is always computed.",
            ),
            (
                "tokens",
                "Without `--tokenizer`: a blank belongs to the word after it, a word is up to 12 letters or 3 digits, any \
                 other byte is a token. A chat costs two tokens a message and one for the answer.",
            ),
        ]),
    },
    Note {
        title: "Counters",
        body: Body::Terms(&[
            (
                "engine",
                "`/metrics` says where prompt tokens came from and how large HBM is, in the words of `--metrics`.",
            ),
            (
                "LMCache",
                "With DRAM or a disk the same page has an LMCache server's lookups and chunks: whole chunks of every prompt \
                 are looked up, and what is found counts also where HBM has it. Not with `--metrics sglang`.",
            ),
            (
                "POST /reset_prefix_cache",
                "vLLM's: empties HBM and answers `{\"success\": true}`, or `false` while an answer is being sent. With \
                 `?reset_external=true` it empties DRAM too, as with LMCache's connector of 0.5.6.",
            ),
            (
                "POST /cache/clear",
                "LMCache's: empties DRAM, its L1. There is none for L2, so the disk keeps all.",
            ),
            (
                "POST /flush_cache",
                "SGLang's (`--metrics sglang`): empties HBM and DRAM, or answers 400 while an answer is being sent.",
            ),
        ]),
    },
    Note {
        title: "Faults",
        body: Body::Terms(&[
            (
                "reset[=N], cut[=N], stall[=N]",
                "After N bytes of the reply (default 0): a TCP reset, an end of stream, silence.",
            ),
            (
                "status=CODE",
                "An error status from 400 to 599 with a JSON body; `retry-after=S` adds that header, `plain-body` and \
                 `empty-body` change the body.",
            ),
            (
                "slow-headers=MS",
                "The response header is sent byte by byte, with this pause between bytes.",
            ),
            (
                "malformed=N, error-event=N",
                "Token event N, from 1, is broken JSON, or an error under status 200 that ends the stream.",
            ),
            (
                "role-early, no-role",
                "The role event comes at once, or not at all; it normally shares the first token's write.",
            ),
            (
                "no-usage, usage-in-last, usage-every, usage-late=MS, no-cached-tokens",
                "Usage is missing, in the last token's event, in every event, or that much later; it does not say how many \
                 prompt tokens were cached.",
            ),
            (
                "reasoning-content, reasoning, reasoning-empty-content",
                "The first half of the words comes in that field; the last one has an empty `content` beside it.",
            ),
            (
                "empty-content, tool-calls",
                "`content` is always empty; the words are a tool call's arguments.",
            ),
            (
                "crlf, cr, comments, event-lines",
                "Other line ends; a `: ping` comment before each event; `event:` and `id:` lines in each event.",
            ),
            (
                "split=N, utf8",
                "N bytes are handed to the kernel at a time; words have characters of two, three and four bytes.",
            ),
            (
                "no-done, end-late=MS, until-close",
                "No `[DONE]`; the reply ends that much later; it ends when the connection is closed.",
            ),
        ]),
    },
    Note {
        title: "Exit codes",
        body: Body::Terms(&[
            (
                "0",
                "Ended by Ctrl-C (SIGINT), by SIGTERM or by a closed terminal (SIGHUP), the normal end of a server.",
            ),
            ("1", "The port or the log could not be opened or written."),
            ("2", "The command line is wrong."),
        ]),
    },
    Note {
        title: "Examples",
        body: Body::Examples(&[
            (
                "The first token after 20 ms, then 200 tokens a second, with a log of the true times:",
                &[
                    "lmcache-bench mock engine --port 8000 --ttft-ms 20 --itl-ms 5 \\",
                    "    --log truth.jsonl",
                ],
            ),
            (
                "Three tiers, for the prefix-suffix-tuner:",
                &[
                    "lmcache-bench mock engine --port 8000 --tokens-per-gb 8192 \\",
                    "    --hbm-gb 1 --dram-gb 4 --disk-gb 100 --ttft-us-per-uncached-token 50 \\",
                    "    --dram-us-per-token 2 --disk-us-per-token 10",
                ],
            ),
            (
                "Every tenth request is refused for a while:",
                &[
                    "lmcache-bench mock engine --port 8000 --fault status=429,retry-after=1 \\",
                    "    --fault-every 10",
                ],
            ),
            (
                "One request whose events arrive byte by byte:",
                &["curl -H 'x-mock-fault: split=1,crlf' ..."],
            ),
        ]),
    },
];
