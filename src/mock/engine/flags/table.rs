//! The flags of `mock engine`, a row each. Must never hold more than their descriptions and how each value is read.

use std::path::PathBuf;

use super::MockEngineArgs;
use crate::cli::flag::{Flag, FlagSpec, Group, Kind, Preset, on_off};
use crate::cli::parse::Table;
use crate::python::number::{float, int};

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
const FAULTS: Group = Group {
    title: "Faults",
    of_reference: false,
};

pub const TABLE: Table<MockEngineArgs> = Table {
    program: "lmcache-bench mock engine",
    flags: FLAGS,
    absent: &[],
};

/// The row of a flag with a value.
const fn value(long: &'static str, value_name: &'static str, preset: Preset, group: &'static Group) -> FlagSpec {
    FlagSpec {
        long,
        value_name,
        preset,
        group,
        ..FlagSpec::BLANK
    }
}

/// The row of a switch.
const fn switch(long: &'static str, group: &'static Group) -> FlagSpec {
    FlagSpec {
        long,
        kind: Kind::Switch,
        group,
        ..FlagSpec::BLANK
    }
}

const FLAGS: &[Flag<MockEngineArgs>] = &[
    Flag {
        spec: FlagSpec {
            help: "Address to listen on",
            detail: "Anything but a loopback address lets other machines ask this mock.",
            ..value("host", "ADDRESS", Preset::Text("127.0.0.1"), &SERVE)
        },
        set: |args, text| {
            args.host = text.to_string();
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            help: "Port to listen on",
            detail: "With `0` the system picks a free one; the first line on standard output says which.",
            ..value("port", "N", Preset::Text("0"), &SERVE)
        },
        set: |args, text| int(text).map(|n| args.port = n),
    },
    Flag {
        spec: FlagSpec {
            help: "Name of the served model",
            detail: "A request that names another one gets 404.",
            ..value("model", "NAME", Preset::Text("mock-model"), &SERVE)
        },
        set: |args, text| {
            args.model = text.to_string();
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            help: "Key that requests must bring",
            detail: "As `Authorization: Bearer KEY`; anything else gets 401. It is neither printed nor logged.",
            ..value("api-key", "KEY", Preset::Unset("no key is asked for"), &SERVE)
        },
        set: |args, text| {
            args.api_key = Some(text.to_string());
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            help: "Tokens that prompt and answer may have together",
            detail: "A longer request gets 400.",
            ..value("max-model-len", "N", Preset::Text("131072"), &SERVE)
        },
        set: |args, text| int(text).map(|n| args.max_model_len = n),
    },
    Flag {
        spec: FlagSpec {
            help: "Count tokens with this tokenizer.json",
            detail: "Or with the one in this folder. Encoding a long prompt takes milliseconds, in which no event is \
                     written, so leave it out where times are to be exact.",
            ..value("tokenizer", "PATH", Preset::Unset("words and their pieces"), &SERVE)
        },
        set: |args, text| {
            args.tokenizer = Some(PathBuf::from(text));
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            help: "Write one JSON line for each request",
            detail: "It says when the request arrived at the kernel, when each part of the answer was due and \
                     written, and where the prompt's tokens came from. Times are nanoseconds of CLOCK_MONOTONIC.",
            ..value("log", "PATH", Preset::Unset("no log"), &SERVE)
        },
        set: |args, text| {
            args.log = Some(PathBuf::from(text));
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            help: "Add every token event's due and write times to the log",
            ..switch("log-events", &SERVE)
        },
        set: |args, text| on_off(text).map(|on| args.log_events = on),
    },
    Flag {
        spec: FlagSpec {
            help: "Time from arrival to the first token",
            detail: "The arrival is the kernel's time stamp of the request's last byte, so a busy mock does not \
                     shift the schedule.",
            ..value("ttft-ms", "F", Preset::Text("20"), &PACE)
        },
        set: |args, text| float(text).map(|ms| args.ttft_ms = ms),
    },
    Flag {
        spec: FlagSpec {
            help: "Time between tokens",
            detail: "Event k is due at arrival + TTFT + k x ITL; being late once does not move later events.",
            ..value("itl-ms", "F", Preset::Text("5"), &PACE)
        },
        set: |args, text| float(text).map(|ms| args.itl_ms = ms),
    },
    Flag {
        spec: FlagSpec {
            help: "No time between tokens",
            detail: "Same as `--itl-ms 0`: each stream is written as fast as its client reads.",
            ..switch("flat-out", &PACE)
        },
        set: |args, text| on_off(text).map(|on| args.flat_out = on),
    },
    Flag {
        spec: FlagSpec {
            help: "Lateness of token events as a share of ITL, 0 to 1",
            detail: "Each event is due up to this share later, at random but the same in every run; the average \
                     speed stays.",
            ..value("jitter", "F", Preset::Text("0"), &PACE)
        },
        set: |args, text| float(text).map(|share| args.jitter = share),
    },
    Flag {
        spec: FlagSpec {
            help: "Seed of `--jitter`",
            ..value("seed", "N", Preset::Text("42"), &PACE)
        },
        set: |args, text| int(text).map(|n| args.seed = n),
    },
    Flag {
        spec: FlagSpec {
            help: "Tokens in one event",
            detail: "As servers that decode several tokens at once; the time between events grows with it.",
            ..value("tokens-per-event", "N", Preset::Text("1"), &PACE)
        },
        set: |args, text| int(text).map(|n| args.tokens_per_event = n),
    },
    Flag {
        spec: FlagSpec {
            help: "Events that may share one write when several are due",
            ..value("events-per-write", "N", Preset::Text("1"), &PACE)
        },
        set: |args, text| int(text).map(|n| args.events_per_write = n),
    },
    Flag {
        spec: FlagSpec {
            help: "Length of an answer whose request names none",
            ..value("default-tokens", "N", Preset::Text("16"), &PACE)
        },
        set: |args, text| int(text).map(|n| args.default_tokens = n),
    },
    Flag {
        spec: FlagSpec {
            help: "End answers after so many tokens",
            detail: "Unless the request says `ignore_eos`.",
            ..value("eos-after", "N", Preset::Unset("answers have `max_tokens`"), &PACE)
        },
        set: |args, text| int(text).map(|n| args.eos_after = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            help: "Prefill cost: added to TTFT for each prompt token in no cache",
            ..value("ttft-us-per-uncached-token", "F", Preset::Text("0"), &CACHE)
        },
        set: |args, text| float(text).map(|us| args.ttft_us_per_uncached_token = us),
    },
    Flag {
        spec: FlagSpec {
            help: "Added to TTFT for each prompt token found in HBM",
            ..value("hbm-us-per-token", "F", Preset::Text("0"), &CACHE)
        },
        set: |args, text| float(text).map(|us| args.hbm_us_per_token = us),
    },
    Flag {
        spec: FlagSpec {
            help: "Added to TTFT for each prompt token found in DRAM",
            ..value("dram-us-per-token", "F", Preset::Text("0"), &CACHE)
        },
        set: |args, text| float(text).map(|us| args.dram_us_per_token = us),
    },
    Flag {
        spec: FlagSpec {
            help: "Added to TTFT for each prompt token found on disk",
            ..value("disk-us-per-token", "F", Preset::Text("0"), &CACHE)
        },
        set: |args, text| float(text).map(|us| args.disk_us_per_token = us),
    },
    Flag {
        spec: FlagSpec {
            help: "Size of the engine's own prefix cache",
            detail: "In tokens, kept in blocks. `0` is no cache; so it is for the other tiers.",
            ..value("hbm-tokens", "N", Preset::Text("0"), &CACHE)
        },
        set: |args, text| int(text).map(|n| args.hbm_tokens = n),
    },
    Flag {
        spec: FlagSpec {
            help: "Size of the cache server's memory",
            detail: "In tokens, kept in chunks.",
            ..value("dram-tokens", "N", Preset::Text("0"), &CACHE)
        },
        set: |args, text| int(text).map(|n| args.dram_tokens = n),
    },
    Flag {
        spec: FlagSpec {
            help: "Size of the cache server's disk",
            detail: "In tokens, kept in chunks. What is computed is written through to every tier.",
            ..value("disk-tokens", "N", Preset::Text("0"), &CACHE)
        },
        set: |args, text| int(text).map(|n| args.disk_tokens = n),
    },
    Flag {
        spec: FlagSpec {
            help: "Tokens whose KV cache fills one GiB",
            detail: "Needed for sizes in GiB. `/status` then answers like an LMCache server, so that `engine \
                     --lmcache-url` can be tried out.",
            ..value("tokens-per-gb", "N", Preset::Unset("sizes are given in tokens"), &CACHE)
        },
        set: |args, text| int(text).map(|n| args.tokens_per_gb = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            help: "Size of the engine's own prefix cache in GiB",
            detail: "Instead of `--hbm-tokens`.",
            ..value("hbm-gb", "F", Preset::Unset(""), &CACHE)
        },
        set: |args, text| float(text).map(|gb| args.hbm_gb = Some(gb)),
    },
    Flag {
        spec: FlagSpec {
            help: "Size of the cache server's memory in GiB",
            detail: "Instead of `--dram-tokens`.",
            ..value("dram-gb", "F", Preset::Unset(""), &CACHE)
        },
        set: |args, text| float(text).map(|gb| args.dram_gb = Some(gb)),
    },
    Flag {
        spec: FlagSpec {
            help: "Size of the cache server's disk in GiB",
            detail: "Instead of `--disk-tokens`.",
            ..value("disk-gb", "F", Preset::Unset(""), &CACHE)
        },
        set: |args, text| float(text).map(|gb| args.disk_gb = Some(gb)),
    },
    Flag {
        spec: FlagSpec {
            help: "Tokens in a block of HBM",
            ..value("block-tokens", "N", Preset::Text("16"), &CACHE)
        },
        set: |args, text| int(text).map(|n| args.block_tokens = n),
    },
    Flag {
        spec: FlagSpec {
            help: "Tokens in a chunk of DRAM and disk",
            ..value("chunk-tokens", "N", Preset::Text("256"), &CACHE)
        },
        set: |args, text| int(text).map(|n| args.chunk_tokens = n),
    },
    Flag {
        spec: FlagSpec {
            help: "Find chunks behind other prefixes too",
            detail: "As CacheBlend does, but without the share of tokens that it computes again.",
            ..switch("blend", &CACHE)
        },
        set: |args, text| on_off(text).map(|on| args.blend = on),
    },
    Flag {
        spec: FlagSpec {
            help: "Misbehave in these ways",
            detail: "Words with commas between them, see \"Faults\". A request can ask for its own with the header \
                     `x-mock-fault: LIST` or with `[[mock:LIST]]` in its prompt.",
            ..value("fault", "LIST", Preset::Text(""), &FAULTS)
        },
        set: |args, text| {
            args.fault = text.to_string();
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            help: "Which requests `--fault` hits: every N-th",
            ..value("fault-every", "N", Preset::Text("1"), &FAULTS)
        },
        set: |args, text| int(text).map(|n| args.fault_every = n),
    },
    Flag {
        spec: FlagSpec::help_flag(&SERVE),
        set: |_, _| Ok(()),
    },
];
