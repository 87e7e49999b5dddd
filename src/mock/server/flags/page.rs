//! The help page of `mock server`, except its flags.

use super::TABLE;
use crate::cli::page::{Body, Note, Page};

pub fn page() -> Page {
    Page {
        word: "mock server",
        usage: "lmcache-bench mock server [options]".into(),
        summary: "Imitate a multiprocess cache server with exact delays",
        about: &[
            "Speaks the protocol of LMCache's multiprocess cache server over ZMQ, in any release from 0.5.0 to 0.5.7, and \
             the HTTP endpoints that clients use. Chunks are kept in memory only. All ways of transfer work: inline, \
             through shared memory of the server, through shared memory of the client, and, where there is a CUDA driver, \
             device memory of the client.",
            "The first line on standard output is `listening on tcp://HOST:PORT http://HOST:PORT`. Ctrl-C or SIGTERM ends \
             it. It measures nothing and proves nothing about a real server: it lets a client be tried out, also against \
             faults that a real server does not show.",
        ],
        flags: TABLE.specs(),
        notes: NOTES.to_vec(),
    }
}

const NOTES: &[Note] = &[
    Note {
        title: "Faults",
        body: Body::Terms(&[
            ("drop-reply[:OPERATION]", "Do the work and send no reply."),
            (
                "unknown-op:OPERATION",
                "Treat the operation as one that this release does not have: no reply, and before 0.5.6 no further replies \
                 at all.",
            ),
            ("refuse[:OPERATION]", "Reply false, or with no hits, and do nothing."),
            ("truncate-reply[:OPERATION]", "Send the first half of the result."),
            ("wrong-type[:OPERATION]", "Send a text as the result."),
            ("disconnect[:OPERATION]", "Close the connection instead of answering."),
            ("partial-hit", "Find one chunk less than there is."),
            ("corrupt", "Flip a bit of each chunk that is sent."),
            (
                "move-nothing",
                "Report a retrieve into the client's memory as done, and copy nothing.",
            ),
            ("wrong-checksum", "Answer wrong digests over HTTP."),
            (
                "die@N",
                "From the Nth request on, read requests without replying, as a server whose request thread has ended.",
            ),
        ]),
    },
    Note {
        title: "Exit codes",
        body: Body::Terms(&[
            (
                "0",
                "Ended by Ctrl-C (SIGINT), by SIGTERM or by a closed terminal (SIGHUP).",
            ),
            (
                "1",
                "A port could not be opened, or the shared memory could not be created.",
            ),
            ("2", "The command line is wrong."),
        ]),
    },
    Note {
        title: "Examples",
        body: Body::Examples(&[
            (
                "Try the benchmark without a server:",
                &[
                    "lmcache-bench mock server --chunk-size 16 &",
                    "lmcache-bench server --mode cpu --end 3",
                ],
            ),
            (
                "An old release whose lookups take 2 ms and whose third store is not answered:",
                &[
                    "lmcache-bench mock server --release 0.5.2 --delay lookup=2 \\",
                    "    --fault drop-reply:store@3",
                ],
            ),
        ]),
    },
];
