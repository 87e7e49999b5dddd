//! The help page of `l2` besides its flags: introduction, adapter specs, exit codes, environment, examples.

use super::TABLE;
use crate::cli::page::{Body, Note, Page};
use crate::cli::shared::{EXIT_BUG, EXIT_SIGNALS, TRUST};

pub fn page() -> Page {
    Page {
        word: "l2",
        usage: "lmcache-bench [bench] l2 --l2-adapter JSON [options]".into(),
        summary: "Measure store, lookup and load of an LMCache L2 adapter",
        about: &[
            "Stores objects through an L2 adapter, looks them up and loads them back, and reports throughput and \
             latency. It needs no inference engine and no LMCache server, only the storage behind the adapter. Objects \
             are in LMCache's own format, so LMCache finds what this program stored, and the other way round.",
            "Without `--only`, the operations run in the order store, lookup, load, and each does all its rounds before \
             the next begins. A buffered adapter then loads what the page cache still holds: the report says so, and \
             `--cold` measures the device instead.",
            "KB, MB and GB in flags and reports are powers of two: 1024, 1024^2 and 1024^3 bytes.",
        ],
        flags: TABLE.specs(),
        notes: NOTES.to_vec(),
    }
}

const NOTES: &[Note] = &[
    Note {
        title: "Adapter specs",
        body: Body::Terms(&[
            (
                "{\"type\":\"fs\", ...}",
                "One file per object in a folder. `base_path`: the folder, made when missing (required). \
                 `relative_tmp_dir`: folder below it for files being written (default: beside the final name). \
                 `use_odirect`: bypass the page cache (default: `false`). `read_ahead_size`: bytes to read first in \
                 a buffered load (default: none).",
            ),
            (
                "{\"type\":\"mock\", ...}",
                "Memory with a given speed. `max_size_gb`: capacity in GiB (required). `mock_bandwidth_gb`: GiB per \
                 second, shared by all submits (required).",
            ),
        ]),
    },
    Note {
        title: "Exit codes",
        body: Body::Terms(&[
            ("0", "Everything was done, and verified where requested."),
            (
                "1",
                "An operation, a key, the verification or the adapter failed; stderr or the report says which.",
            ),
            (
                "2",
                "The command line or the adapter spec is wrong; nothing was measured.",
            ),
            EXIT_BUG,
            EXIT_SIGNALS,
        ]),
    },
    Note {
        title: "Environment",
        body: Body::Terms(&[
            (
                "L2_ADAPTER_JSON",
                "The adapter spec to use when `--l2-adapter` is not given.",
            ),
            TRUST,
        ]),
    },
    Note {
        title: "Examples",
        body: Body::Examples(&[
            (
                "Store, look up and load with the defaults:",
                &["lmcache-bench l2 --l2-adapter '{\"type\":\"fs\",\"base_path\":\"/tmp/bench\"}'"],
            ),
            (
                "The device instead of the page cache, four submits in flight, every byte checked:",
                &[
                    "export L2_ADAPTER_JSON='{\"type\":\"fs\",\"base_path\":\"/data/bench\"}'",
                    "lmcache-bench l2 --in-flight 4 --rounds 10 --cold --no-skip-verify",
                ],
            ),
            (
                "O_DIRECT with 1 MiB objects, next to the raw speed of the device:",
                &[
                    "lmcache-bench l2 --data-size-kb 1024 --l1-align-bytes 4096 --probe \\",
                    "    --l2-adapter '{\"type\":\"fs\",\"base_path\":\"/data/b\",\"use_odirect\":true}'",
                ],
            ),
            (
                "Lookups of which half may hit, as JSON:",
                &["lmcache-bench l2 --only lookup --lookup-max-hit-rate 0.5 --format json"],
            ),
            (
                "How much of the time this program itself takes:",
                &[
                    "lmcache-bench l2 --rounds 20 --l2-adapter \\",
                    "    '{\"type\":\"mock\",\"max_size_gb\":4,\"mock_bandwidth_gb\":1000000}'",
                ],
            ),
        ]),
    },
];
