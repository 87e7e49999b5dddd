//! The flags of `l2`, a row each.

use super::{L2Args, Via};
use crate::cli::flag::{Absent, BEYOND, Flag, keep, on_off};
use crate::cli::parse::Table;
use crate::cli::shared;
use crate::l2::adapter::{IoEngine, Operation};
use crate::python::number::{float, int};

type Row = Flag<L2Args>;

pub const TABLE: Table<L2Args> = Table {
    program: "lmcache-bench l2",
    flags: FLAGS,
    absent: ABSENT,
};

const NO_FLAME_GRAPHS: &str = "flame graphs are not drawn by this program; leave the flag out and run it under \
 `perf record -g` instead";

const ABSENT: &[Absent] = &[
    Absent::new("flamegraph", NO_FLAME_GRAPHS),
    Absent::new("no-flamegraph", NO_FLAME_GRAPHS),
    Absent::new("flamegraph-mode", NO_FLAME_GRAPHS),
    Absent::new("flamegraph-output", NO_FLAME_GRAPHS),
    Absent::new("flamegraph-scripts-dir", NO_FLAME_GRAPHS),
];

const FLAGS: &[Row] = &[
    Row::value("l2-adapter", "JSON", |args, text| {
        args.l2_adapter.push(text.to_string());
        Ok(())
    })
    .unset("`$L2_ADAPTER_JSON`")
    .repeatable()
    .help(
        "Adapter to measure, as a JSON object",
        "The object has a `type` and the fields of that type (see \"Adapter specs\"), for example \
         `'{\"type\":\"fs\",\"base_path\":\"/tmp/bench\"}'`. May be given several times: every spec is \
         checked, only the first is measured. Without this flag the environment variable `L2_ADAPTER_JSON` \
         supplies the spec; one of the two is required.",
    ),
    Row::value("num-keys", "N", |args, text| int(text).map(|n| args.num_keys = n))
        .default("32")
        .help(
            "Keys in one submit",
            "Each key is one object of `--data-size-kb`. A round handles num-keys x in-flight objects, and the \
             buffers for them are held in memory.",
        ),
    Row::value("in-flight", "N", |args, text| int(text).map(|n| args.in_flight = n))
        .default("1")
        .help(
            "Submits in flight in one round",
            "Each round makes this many submits one after another from one thread and then waits for all of \
             them; its time runs from the first submit to the last completion.",
        ),
    Row::value("data-size-kb", "N", |args, text| {
        int(text).map(|n| args.data_size_kb = n)
    })
    .default("256")
    .help(
        "Size of one object in KiB",
        "A KiB is 1024 bytes. The size in bytes must be a multiple of `--l1-align-bytes`.",
    ),
    Row::value("l1-align-bytes", "N", |args, text| {
        int(text).map(|n| args.l1_align_bytes = n)
    })
    .default("1")
    .help(
        "Alignment of the buffers in bytes",
        "An adapter that uses O_DIRECT needs at least the block size of its device, commonly `4096`.",
    ),
    Row::negatable("l1-use-hugepages", |args, text| {
        on_off(text).map(|on| args.l1_use_hugepages = on)
    })
    .default("off")
    .help(
        "Back the buffers with huge pages",
        "Large buffers then cost fewer address translations. The kernel must be able to supply such pages.",
    ),
    Row::value("rounds", "N", |args, text| int(text).map(|n| args.rounds = n))
        .default("1")
        .help(
            "Measured rounds of each operation",
            "Every round has keys of its own. Figures over rounds (p50, p99, deviation) say little below about ten \
             rounds.",
        ),
    Row::value("warmup-rounds", "N", |args, text| {
        int(text).map(|n| args.warmup_rounds = n)
    })
    .default("1")
    .help(
        "Rounds that run first and are not measured",
        "They come before the measured rounds of each operation and store or load keys of their own; `0` \
         leaves them out.",
    ),
    Row::value("lookup-max-hit-rate", "F", |args, text| {
        float(text).map(|rate| args.lookup_max_hit_rate = rate)
    })
    .default("0.0")
    .help(
        "Share of looked-up keys that may exist, 0 to 1",
        "Of the N keys in a lookup round, floor(N x F) are keys that store writes and the others exist \
         nowhere; the rate that is found can be lower when those keys were never stored. With `0.0` every \
         lookup is a miss.",
    ),
    Row::negatable("skip-verify", |args, text| on_off(text).map(|on| args.skip_verify = on))
        .default("on")
        .help(
            "Do not compare what was loaded with what was stored",
            "`--no-skip-verify` checks every load of every measured round, outside the timed part, and tells torn, \
             stale, swapped, truncated and foreign data apart. Any mismatch makes the exit code 1. It needs \
             objects that were stored by this program with the same `--seed`.",
        ),
    Row::value("only", "OPERATION", |args, text| {
        Operation::from_text(text).map(|operation| args.only = Some(operation))
    })
    .choices(Operation::CHOICES)
    .unset("store, then lookup, then load")
    .help(
        "Run this operation alone",
        "Runs with the same flags use the same keys, so `--only load` finds what an earlier `--only store` \
         wrote.",
    ),
    shared::format_row(|args, text| args.output.set_format(text)),
    shared::output_row(|args, text| keep(&mut args.output.report_path, text)),
    shared::quiet_row(|args, text| on_off(text).map(|on| args.output.quiet = on)),
    Row::help_row(),
    shared::save_row(|args, text| args.output.add_save(text)),
    Row::switch("cold", |args, text| on_off(text).map(|on| args.cold = on))
        .group(&BEYOND)
        .help(
            "Load from the device, not from the page cache",
            "Before lookup and before load, syncs and drops the pages of the object files from the page cache, and \
             afterwards proves from the kernel's counters that the loads came from the device. Needs no root, \
             unlike `/proc/sys/vm/drop_caches`.",
        ),
    Row::value("seed", "N", |args, text| {
        int(text).map(|n| args.seed = n.cast_unsigned())
    })
    .default("0")
    .group(&BEYOND)
    .help(
        "Seed of the stored data",
        "It is stamped into every 4 KiB of every object, so that verification tells data of this run from data \
         of a run with another seed. Any sign.",
    ),
    Row::value("round-timeout-s", "F", |args, text| {
        float(text).map(|seconds| args.round_timeout_s = Some(seconds))
    })
    .unset("120 for store and load, 60 for lookup")
    .group(&BEYOND)
    .help(
        "Seconds until a round counts as timed out",
        "A timed-out round is counted in the report, adds nothing to the other figures and makes the exit code \
         1.",
    ),
    Row::value("io-engine", "ENGINE", |args, text| {
        IoEngine::from_text(text).map(|engine| args.io_engine = engine)
    })
    .choices(IoEngine::CHOICES)
    .default("auto")
    .group(&BEYOND)
    .help(
        "I/O path of the fs and raw_block adapters",
        "`threads` makes plain system calls from several threads, `uring` hands batches to io_uring, `auto` \
         takes what is fastest for each phase. The report names the path that really ran.",
    ),
    Row::value("io-depth", "N", |args, text| int(text).map(|n| args.io_depth = n))
        .default("0")
        .group(&BEYOND)
        .help(
            "Objects in flight inside the adapter, 0 = automatic",
            "The queue depth that the device sees can be lower; the report shows both the requested and the \
             achieved depth.",
        ),
    Row::switch("fdatasync", |args, text| on_off(text).map(|on| args.fdatasync = on))
        .group(&BEYOND)
        .help(
            "Flush each object to the device before its rename",
            "LMCache never flushes, so without this flag neither does this program, and stored objects may be lost \
             when the power fails.",
        ),
    Row::switch("recycle", |args, text| on_off(text).map(|on| args.recycle = on))
        .group(&BEYOND)
        .help(
            "Overwrite files that were created before the measured time",
            "For the fs adapter: as many files as the run will store are written first, and each store reuses one \
             (rename, overwrite, rename), as a full cache does with objects that it evicts. Without it every store \
             makes a new file, whose space may never have been written, and some disks are much slower there.",
        ),
    Row::switch("probe", |args, text| on_off(text).map(|on| args.probe = on))
        .group(&BEYOND)
        .help(
            "Compare each round with the raw speed of the device",
            "Between measured rounds, writes or reads the same number of bytes raw, on pre-written space of the \
             same file system, and reports each round as a ratio of what the device itself did at that moment.",
        ),
    Row::value("via", "SIDE", |args, text| {
        Via::from_text(text).map(|via| args.via = Some(via))
    })
    .choices(Via::CHOICES)
    .unset("native where there is a native adapter")
    .group(&BEYOND)
    .help(
        "Which implementation of the adapter to measure",
        "`lmcache` runs LMCache's own adapter in a Python process on the same buffers, with the same keys, \
         verification and report, so that both can be compared on one device. Types without a native adapter \
         always go that way. The report shows what the bridge itself costs.",
    ),
    Row::value("python", "PATH", |args, text| keep(&mut args.python, text))
        .unset("`$LMCACHE_PYTHON`, then `$VIRTUAL_ENV/bin/python`, then `python3`")
        .group(&BEYOND)
        .help(
            "Python that has LMCache, for --via lmcache",
            "A path or a name on the search path. `lmcache` must be installed there, and what the adapter type \
             needs beside it.",
        ),
    Row::switch("apply-serde", |args, text| on_off(text).map(|on| args.apply_serde = on))
        .group(&BEYOND)
        .help(
            "Encrypt objects as the spec's serde block says",
            "Only for `\"serde\":{\"type\":\"aesgcm\",...}`: objects are encrypted before they are stored and \
             decrypted after they are loaded, inside the measured time and in LMCache's own format. The report \
             shows what that costs. Without this flag a serde block changes nothing, as in LMCache.",
        ),
];
