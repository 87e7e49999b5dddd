//! What the help of `mock engine` says around its flags: what it is for, the faults, how it ends, examples.

use super::TABLE;
use crate::args::page::{Body, Note, Page};

pub fn page() -> Page {
    Page {
        word: "mock engine",
        usage: "lmcache-bench mock engine [options]",
        summary: "Imitate an inference engine with exact delays",
        about: &[
            "Serves `/v1/chat/completions`, `/v1/completions` (streamed or not), `/v1/models`, `/tokenize`, `/metrics`, \
             `/status` and `/health` over HTTP/1.1 until it is stopped. The first line on standard output is `listening on \
             http://ADDRESS:PORT`. Every answer has `max_tokens` tokens, each the text ` word`.",
            "What it is for: a benchmark's numbers can be compared with the truth, which `--log` records; the workloads can \
             be tried out without a GPU; and clients can be shown every misbehaviour that engines are known for.",
        ],
        flags: TABLE.specs(),
        notes: NOTES,
    }
}

const NOTES: &[Note] = &[Note {
    title: "Exit codes",
    body: Body::Terms(&[
        ("0", "Ended by Ctrl-C (SIGINT) or SIGTERM, which is how a server ends."),
        ("1", "The port or the log could not be opened or written."),
        ("2", "The command line is wrong."),
    ]),
}];
