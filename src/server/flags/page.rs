//! The help page of `server` besides its flags: introduction, shape specs, exit codes, environment, examples.

use super::TABLE;
use crate::cli::page::{Body, Note, Page};
use crate::cli::shared::{EXIT_BUG, LMCACHE_KEY, TRUST};

pub fn page() -> Page {
    Page {
        word: "server",
        usage: "lmcache-bench [bench] server [options]".into(),
        summary: "Check and measure a multiprocess cache server",
        about: &[
            "Drives a running LMCache multiprocess cache server the way an inference engine does, and verifies every byte \
             that comes back. It needs no engine, no Python and, with `--mode cpu`, no GPU. Servers of LMCache 0.5.0 to \
             0.5.7 are recognised by what they answer.",
            "Each sequence number runs two passes. Cold: a lookup must miss, then the KV tensors are stored. Warm: a lookup \
             must hit, the destination is overwritten, the chunks are retrieved, and their checksums must equal those of \
             what was stored. Only a sequence that did all of this counts as passed.",
        ],
        flags: TABLE.specs(),
        notes: NOTES.to_vec(),
    }
}

const NOTES: &[Note] = &[
    Note {
        title: "Shape specs",
        body: Body::Terms(&[
            (
                "(kv_size,NB,BS,NH,HS):dtype:layers",
                "One layer group; several are joined with `;`. `kv_size`: 2 for keys and values, 1 for MLA. `NB`: blocks. \
                 `BS`: tokens of one block. `NH`: heads. `HS`: elements of one head. `layers`: layers of this group.",
            ),
            ("dtype", "`float16`, `float32`, `bfloat16`, `uint8` or `int8`."),
        ]),
    },
    Note {
        title: "Exit codes",
        body: Body::Terms(&[
            ("0", "Every sequence passed, to `--end` or to Ctrl-C (SIGINT)."),
            (
                "1",
                "A checksum differed, a lookup missed or hit where it should not, a transfer failed, the server could not \
                 be reached, or the report could not be written; stderr says which.",
            ),
            ("2", "The command line is wrong; nothing was sent."),
            EXIT_BUG,
            (
                "129, 143",
                "Ended by a closed terminal (SIGHUP) or by SIGTERM, after a report that is marked partial.",
            ),
            (
                "141",
                "With `--format json` and without `--end`: standard error, which carries the progress, was closed (SIGPIPE); \
                 the report is marked partial.",
            ),
        ]),
    },
    Note {
        title: "Environment",
        body: Body::Terms(&[LMCACHE_KEY, TRUST]),
    },
    Note {
        title: "Examples",
        body: Body::Examples(&[
            (
                "Three sequences against a local server, without a GPU:",
                &["lmcache-bench server --mode cpu --start 0 --end 3"],
            ),
            (
                "The server copies from shared memory, and its own checksums are compared:",
                &[
                    "lmcache-bench server --mode cpu --transfer-mode lmcache_driven \\",
                    "    --start 0 --end 3",
                ],
            ),
            (
                "Layers with and without MLA in one model:",
                &[
                    "lmcache-bench server --mode cpu --transfer-mode lmcache_driven \\",
                    "    --end 3 --kvcache-shape-spec \\",
                    "    '(1,1024,16,1,128):float16:4;(2,1024,16,8,128):float16:28'",
                ],
            ),
            (
                "Eight clients at a time, each in blocks of its own choice:",
                &[
                    "lmcache-bench server --mode cpu --end 80 --interval 0 \\",
                    "    --concurrency 8 --block-allocation random",
                ],
            ),
            (
                "Without pauses, as JSON, until Ctrl-C:",
                &["lmcache-bench server --mode cpu --interval 0 --format json"],
            ),
            (
                "Try it without LMCache:",
                &["lmcache-bench mock server &", "lmcache-bench server --mode cpu --end 3"],
            ),
        ]),
    },
];
