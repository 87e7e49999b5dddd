//! The flags of `mock engine`, a row each.

use super::MockEngineArgs;
use crate::cli::flag::{Flag, Group, keep, on_off, replace};
use crate::cli::parse::Table;
use crate::mock::engine::metrics::MetricsOf;
use crate::python::number::{float, int};

type Row = Flag<MockEngineArgs>;

const SERVE: Group = Group {
    title: "Options",
    of_reference: false,
};
const PACE: Group = Group {
    title: "Speed",
    of_reference: false,
};
const CACHE: Group = Group {
    title: "Prefix cache",
    of_reference: false,
};
const COUNTERS: Group = Group {
    title: "Counters and clearing",
    of_reference: false,
};
const FAULTS: Group = Group {
    title: "Faults",
    of_reference: false,
};

pub const TABLE: Table<MockEngineArgs> = Table {
    program: "lmcache-bench mock engine",
    flags: FLAGS,
    absent: &[],
};

const FLAGS: &[Row] = &[
    Row::value("host", "ADDRESS", |args, text| replace(&mut args.host, text))
        .default("127.0.0.1")
        .group(&SERVE)
        .help(
            "Address to listen on",
            "Anything but a loopback address lets other machines ask this mock.",
        ),
    Row::value("port", "N", |args, text| int(text).map(|n| args.port = n))
        .default("0")
        .group(&SERVE)
        .help(
            "Port to listen on",
            "With `0` the system picks a free one; the first line on standard output says which.",
        ),
    Row::value("model", "NAME", |args, text| replace(&mut args.model, text))
        .default("mock-model")
        .group(&SERVE)
        .help("Name of the served model", "A request that names another one gets 404."),
    Row::value("api-key", "KEY", |args, text| keep(&mut args.api_key, text))
        .unset("no key is asked for")
        .group(&SERVE)
        .help(
            "Key that requests must bring",
            "As `Authorization: Bearer KEY`; anything else gets 401. It is neither printed nor logged.",
        ),
    Row::value("max-model-len", "N", |args, text| {
        int(text).map(|n| args.max_model_len = n)
    })
    .default("131072")
    .group(&SERVE)
    .help(
        "Tokens that prompt and answer may have together",
        "A longer request gets 400.",
    ),
    Row::value("tokenizer", "PATH", |args, text| keep(&mut args.tokenizer, text))
        .unset("words and their pieces")
        .group(&SERVE)
        .help(
            "Count tokens with this tokenizer.json",
            "Or with the one in this folder. Encoding a long prompt takes milliseconds, in which no event is \
             written, so leave it out where times are to be exact.",
        ),
    Row::value("log", "PATH", |args, text| keep(&mut args.log, text))
        .unset("no log")
        .group(&SERVE)
        .help(
            "Write one JSON line for each request",
            "It says when the request arrived at the kernel, when each part of the answer was due and written, and \
             where the prompt's tokens came from. Times are nanoseconds of CLOCK_MONOTONIC.",
        ),
    Row::switch("log-events", |args, text| on_off(text).map(|on| args.log_events = on))
        .group(&SERVE)
        .help("Add every token event's due and write times to the log", ""),
    Row::value("ttft-ms", "F", |args, text| float(text).map(|ms| args.ttft_ms = ms))
        .default("20")
        .group(&PACE)
        .help(
            "Time from arrival to the first token",
            "The arrival is the kernel's time stamp of the request's last byte, so a busy mock does not shift the \
             schedule.",
        ),
    Row::value("itl-ms", "F", |args, text| float(text).map(|ms| args.itl_ms = ms))
        .default("5")
        .group(&PACE)
        .help(
            "Time between tokens",
            "Event k is due at arrival + TTFT + k x ITL; being late once does not move later events.",
        ),
    Row::switch("flat-out", |args, text| on_off(text).map(|on| args.flat_out = on))
        .group(&PACE)
        .help(
            "No time between tokens",
            "Same as `--itl-ms 0`: each stream is written as fast as its client reads.",
        ),
    Row::value("servers", "N", |args, text| int(text).map(|n| args.servers = n))
        .default("0")
        .group(&PACE)
        .help(
            "Requests in service at a time; the others wait in line",
            "First come, first served. The TTFT of a request begins when a server takes it. A server is busy until the \
             last token is due, also if the client leaves, so the capacity is N / (TTFT + (tokens - 1) x ITL) requests a \
             second. `0` is no limit.",
        ),
    Row::value("stall-at", "S", |args, text| {
        float(text).map(|seconds| args.stall_at = Some(seconds))
    })
    .group(&PACE)
    .help(
        "The whole engine stalls once, this long after the first request",
        "In seconds from the arrival of the first request that is answered with tokens. Until the stall ends no byte of \
         such an answer is sent. Then everything that was due is sent at once; later tokens keep their times.",
    ),
    Row::value("stall-for", "S", |args, text| {
        float(text).map(|seconds| args.stall_for = Some(seconds))
    })
    .group(&PACE)
    .help("Length of the stall in seconds", "Needs `--stall-at`."),
    Row::value("jitter", "F", |args, text| float(text).map(|share| args.jitter = share))
        .default("0")
        .group(&PACE)
        .help(
            "Lateness of token events as a share of ITL, 0 to 1",
            "Each event is due up to this share later, at random but the same in every run; the average speed \
             stays.",
        ),
    Row::value("seed", "N", |args, text| int(text).map(|n| args.seed = n))
        .default("42")
        .group(&PACE)
        .help("Seed of `--jitter`", ""),
    Row::value("tokens-per-event", "N", |args, text| {
        int(text).map(|n| args.tokens_per_event = n)
    })
    .default("1")
    .group(&PACE)
    .help(
        "Tokens in one event",
        "As servers that decode several tokens at once; the time between events grows with it.",
    ),
    Row::value("events-per-write", "N", |args, text| {
        int(text).map(|n| args.events_per_write = n)
    })
    .default("1")
    .group(&PACE)
    .help("Events that may share one write when several are due", ""),
    Row::value("default-tokens", "N", |args, text| {
        int(text).map(|n| args.default_tokens = n)
    })
    .default("16")
    .group(&PACE)
    .help("Length of an answer whose request names none", ""),
    Row::value("eos-after", "N", |args, text| {
        int(text).map(|n| args.eos_after = Some(n))
    })
    .unset("answers have `max_tokens`")
    .group(&PACE)
    .help(
        "End answers after so many tokens",
        "Unless the request says `ignore_eos`.",
    ),
    Row::value("ttft-us-per-uncached-token", "F", |args, text| {
        float(text).map(|us| args.ttft_us_per_uncached_token = us)
    })
    .default("0")
    .group(&CACHE)
    .help("Prefill cost: added to TTFT for each prompt token in no cache", ""),
    Row::value("hbm-us-per-token", "F", |args, text| {
        float(text).map(|us| args.hbm_us_per_token = us)
    })
    .default("0")
    .group(&CACHE)
    .help("Added to TTFT for each prompt token found in HBM", ""),
    Row::value("dram-us-per-token", "F", |args, text| {
        float(text).map(|us| args.dram_us_per_token = us)
    })
    .default("0")
    .group(&CACHE)
    .help("Added to TTFT for each prompt token found in DRAM", ""),
    Row::value("disk-us-per-token", "F", |args, text| {
        float(text).map(|us| args.disk_us_per_token = us)
    })
    .default("0")
    .group(&CACHE)
    .help("Added to TTFT for each prompt token found on disk", ""),
    Row::value("dram-ms", "F", |args, text| float(text).map(|ms| args.dram_ms = ms))
        .default("0")
        .group(&CACHE)
        .help(
            "Added to TTFT once if any prompt token is found in DRAM",
            "The fixed cost of a load, however many tokens it brings.",
        ),
    Row::value("disk-ms", "F", |args, text| float(text).map(|ms| args.disk_ms = ms))
        .default("0")
        .group(&CACHE)
        .help(
            "Added to TTFT once if any prompt token is found on disk",
            "Besides `--dram-ms` where a prompt is found in both.",
        ),
    Row::value("hbm-tokens", "N", |args, text| int(text).map(|n| args.hbm_tokens = n))
        .default("0")
        .group(&CACHE)
        .help(
            "Size of the engine's own prefix cache",
            "In tokens, kept in blocks. `0` is no cache; so it is for the other tiers.",
        ),
    Row::value("dram-tokens", "N", |args, text| int(text).map(|n| args.dram_tokens = n))
        .default("0")
        .group(&CACHE)
        .help("Size of the cache server's memory", "In tokens, kept in chunks."),
    Row::value("disk-tokens", "N", |args, text| int(text).map(|n| args.disk_tokens = n))
        .default("0")
        .group(&CACHE)
        .help(
            "Size of the cache server's disk",
            "In tokens, kept in chunks. What is computed is written through to every tier.",
        ),
    Row::value("tokens-per-gb", "N", |args, text| {
        int(text).map(|n| args.tokens_per_gb = Some(n))
    })
    .unset("sizes are given in tokens")
    .group(&CACHE)
    .help(
        "Tokens whose KV cache fills one GiB",
        "Needed for sizes in GiB. `/status` and `/config` then answer like an LMCache server whose L1 is DRAM and whose L2 is the \
         disk, so that `engine --lmcache-url` can be tried out.",
    ),
    Row::value("hbm-gb", "F", |args, text| float(text).map(|gb| args.hbm_gb = Some(gb)))
        .group(&CACHE)
        .help(
            "Size of the engine's own prefix cache in GiB",
            "Instead of `--hbm-tokens`.",
        ),
    Row::value("dram-gb", "F", |args, text| {
        float(text).map(|gb| args.dram_gb = Some(gb))
    })
    .group(&CACHE)
    .help(
        "Size of the cache server's memory in GiB",
        "Instead of `--dram-tokens`.",
    ),
    Row::value("disk-gb", "F", |args, text| {
        float(text).map(|gb| args.disk_gb = Some(gb))
    })
    .group(&CACHE)
    .help("Size of the cache server's disk in GiB", "Instead of `--disk-tokens`."),
    Row::value("block-tokens", "N", |args, text| {
        int(text).map(|n| args.block_tokens = n)
    })
    .default("16")
    .group(&CACHE)
    .help("Tokens in a block of HBM", ""),
    Row::value("chunk-tokens", "N", |args, text| {
        int(text).map(|n| args.chunk_tokens = n)
    })
    .default("256")
    .group(&CACHE)
    .help("Tokens in a chunk of DRAM and disk", ""),
    Row::switch("blend", |args, text| on_off(text).map(|on| args.blend = on))
        .group(&CACHE)
        .help(
            "Find chunks behind other prefixes too",
            "As CacheBlend does, but none of the tokens found is computed again. `/status` and `/metrics` then show, like those \
             of an LMCache server, that lookups go through its module for blending.",
        ),
    Row::value("metrics", "NAME", |args, text| {
        MetricsOf::from_text(text).map(|of| args.metrics = of)
    })
    .choices(MetricsOf::CHOICES)
    .default("vllm")
    .group(&COUNTERS)
    .help(
        "Whose page `/metrics` is, see \"Counters\"",
        "`vllm`: vLLM 0.32.0, with the sources of prompt tokens. `vllm-hits`: a vLLM before them, with lookups and hits \
         of each cache. `vllm-gpu`: the first releases of V1, with those of HBM alone. `sglang`: SGLang with its hierarchical cache, \
         of which DRAM is the host's part and the disk the storage. `none`: no such page.",
    ),
    Row::value("metrics-padding", "MIB", |args, text| {
        int(text).map(|n| args.metrics_padding = n)
    })
    .default("0")
    .group(&COUNTERS)
    .help("Counters that nobody asks for, in MiB", "They come first on the page."),
    Row::value("metrics-restart-after", "N", |args, text| {
        int(text).map(|n| args.metrics_restart_after = Some(n))
    })
    .unset("counters only grow")
    .group(&COUNTERS)
    .help(
        "Answers after which all counters start again",
        "As after a restart in the middle of a run, but the caches keep what they have.",
    ),
    Row::switch("no-reset", |args, text| on_off(text).map(|on| args.no_reset = on))
        .group(&COUNTERS)
        .help(
            "Refuse to clear caches",
            "`/reset_prefix_cache`, `/flush_cache` and `/cache/clear` then get 404, as at servers in production.",
        ),
    Row::value("fault", "LIST", |args, text| replace(&mut args.fault, text))
        .default("")
        .group(&FAULTS)
        .help(
            "Faults to inject",
            "A comma-separated list, see \"Faults\". A request can ask for its own with the header \
             `x-mock-fault: LIST` or with `[[mock:LIST]]` in its prompt.",
        ),
    Row::value("fault-every", "N", |args, text| int(text).map(|n| args.fault_every = n))
        .default("1")
        .group(&FAULTS)
        .help("Which requests `--fault` hits: every N-th", ""),
    Row::help_row().group(&SERVE),
];
