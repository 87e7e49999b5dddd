//! The flags of `l2`, a row each.

use std::path::PathBuf;

use super::{L2Args, Via};
use crate::cli::flag::{Absent, Flag, FlagSpec, Group, Kind, Preset, on_off};
use crate::cli::parse::Table;
use crate::cli::shared;
use crate::l2::adapter::{IoEngine, Operation};
use crate::python::number::{float, int};

const REFERENCE: Group = Group {
    title: "Options",
    of_reference: true,
};
const BEYOND: Group = Group {
    title: "Beyond the reference",
    of_reference: false,
};

pub const TABLE: Table<L2Args> = Table {
    program: "lmcache-bench l2",
    flags: FLAGS,
    absent: ABSENT,
};

const NO_FLAME_GRAPHS: &str = "flame graphs are not drawn by this program; leave the flag out and run it under \
                               `perf record -g` instead";

const ABSENT: &[Absent] = &[
    Absent {
        long: "flamegraph",
        advice: NO_FLAME_GRAPHS,
    },
    Absent {
        long: "no-flamegraph",
        advice: NO_FLAME_GRAPHS,
    },
    Absent {
        long: "flamegraph-mode",
        advice: NO_FLAME_GRAPHS,
    },
    Absent {
        long: "flamegraph-output",
        advice: NO_FLAME_GRAPHS,
    },
    Absent {
        long: "flamegraph-scripts-dir",
        advice: NO_FLAME_GRAPHS,
    },
];

const FLAGS: &[Flag<L2Args>] = &[
    Flag {
        spec: FlagSpec {
            long: "l2-adapter",
            value_name: "JSON",
            preset: Preset::Unset("`$L2_ADAPTER_JSON`"),
            group: &REFERENCE,
            help: "Adapter to measure, as a JSON object",
            detail: "The object has a `type` and the fields of that type (see \"Adapter specs\"), for example \
                     `'{\"type\":\"fs\",\"base_path\":\"/tmp/bench\"}'`. May be given several times: every spec is \
                     checked, only the first is measured. Without this flag the environment variable \
                     `L2_ADAPTER_JSON` supplies the spec; one of the two is required.",
            repeatable: true,
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.l2_adapter.push(text.to_string());
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "num-keys",
            value_name: "N",
            preset: Preset::Text("32"),
            group: &REFERENCE,
            help: "Keys in one submit",
            detail: "Each key is one object of `--data-size-kb`. A round handles num-keys x in-flight objects, and the \
                     buffers for them are held in memory.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.num_keys = n),
    },
    Flag {
        spec: FlagSpec {
            long: "in-flight",
            value_name: "N",
            preset: Preset::Text("1"),
            group: &REFERENCE,
            help: "Submits in flight in one round",
            detail: "Each round hands over this many submits one after another from one thread and then waits for all \
                     of them; its time runs from the first submit to the last completion.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.in_flight = n),
    },
    Flag {
        spec: FlagSpec {
            long: "data-size-kb",
            value_name: "N",
            preset: Preset::Text("256"),
            group: &REFERENCE,
            help: "Size of one object in KiB",
            detail: "A KiB is 1024 bytes. The size in bytes must be a multiple of `--l1-align-bytes`.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.data_size_kb = n),
    },
    Flag {
        spec: FlagSpec {
            long: "l1-align-bytes",
            value_name: "N",
            preset: Preset::Text("1"),
            group: &REFERENCE,
            help: "Alignment of the buffers in bytes",
            detail: "An adapter that uses O_DIRECT needs at least the block size of its device, commonly `4096`.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.l1_align_bytes = n),
    },
    Flag {
        spec: FlagSpec {
            long: "l1-use-hugepages",
            kind: Kind::Negatable,
            preset: Preset::Text("off"),
            group: &REFERENCE,
            help: "Back the buffers with huge pages",
            detail: "Large buffers then cost fewer address translations. The kernel must be able to supply such pages.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.l1_use_hugepages = on),
    },
    Flag {
        spec: FlagSpec {
            long: "rounds",
            value_name: "N",
            preset: Preset::Text("1"),
            group: &REFERENCE,
            help: "Measured rounds of each operation",
            detail: "Every round has keys of its own. Figures over rounds (p50, p99, deviation) say little below about \
                     ten rounds.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.rounds = n),
    },
    Flag {
        spec: FlagSpec {
            long: "warmup-rounds",
            value_name: "N",
            preset: Preset::Text("1"),
            group: &REFERENCE,
            help: "Rounds that run first and are not counted",
            detail: "They come before the measured rounds of each operation and store or load keys of their own; `0` \
                     leaves them out.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.warmup_rounds = n),
    },
    Flag {
        spec: FlagSpec {
            long: "lookup-max-hit-rate",
            value_name: "F",
            preset: Preset::Text("0.0"),
            group: &REFERENCE,
            help: "Share of looked-up keys that may exist, 0 to 1",
            detail: "Of the N keys in a lookup round, floor(N x F) are keys that store writes and the others exist \
                     nowhere; the rate that is found can be lower when those keys were never stored. With `0.0` every \
                     lookup is a miss.",
            ..FlagSpec::BLANK
        },
        set: |args, text| float(text).map(|rate| args.lookup_max_hit_rate = rate),
    },
    Flag {
        spec: FlagSpec {
            long: "skip-verify",
            kind: Kind::Negatable,
            preset: Preset::Text("on"),
            group: &REFERENCE,
            help: "Do not compare what was loaded with what was stored",
            detail: "`--no-skip-verify` checks every load of every measured round, outside the timed part, and tells \
                     torn, stale, swapped, truncated and foreign data apart. Any mismatch makes the exit code 1. It \
                     needs objects that were stored by this program with the same `--seed`.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.skip_verify = on),
    },
    Flag {
        spec: FlagSpec {
            long: "only",
            value_name: "OPERATION",
            choices: Operation::CHOICES,
            preset: Preset::Unset("store, then lookup, then load"),
            group: &REFERENCE,
            help: "Run this operation alone",
            detail: "Runs with the same flags use the same keys, so `--only load` finds what an earlier `--only store` \
                     wrote.",
            ..FlagSpec::BLANK
        },
        set: |args, text| Operation::from_text(text).map(|operation| args.only = Some(operation)),
    },
    Flag {
        spec: shared::format(&REFERENCE),
        set: |args, text| args.output.set_format(text),
    },
    Flag {
        spec: shared::output(&REFERENCE),
        set: |args, text| args.output.set_report_path(text),
    },
    Flag {
        spec: shared::quiet(&REFERENCE),
        set: |args, text| args.output.set_quiet(text),
    },
    Flag {
        spec: FlagSpec::help_flag(&REFERENCE),
        set: |_, _| Ok(()),
    },
    Flag {
        spec: shared::save(&BEYOND),
        set: |args, text| args.output.add_save(text),
    },
    Flag {
        spec: FlagSpec {
            long: "cold",
            kind: Kind::Switch,
            group: &BEYOND,
            help: "Load from the device, not from the page cache",
            detail: "Before lookup and before load, syncs and drops the pages of the object files from the page cache, \
                     and afterwards proves from the kernel's counters that the loads came from the device. Needs no \
                     root, unlike `/proc/sys/vm/drop_caches`.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.cold = on),
    },
    Flag {
        spec: FlagSpec {
            long: "seed",
            value_name: "N",
            preset: Preset::Text("0"),
            group: &BEYOND,
            help: "Seed of the stored data",
            detail: "It is stamped into every 4 KiB of every object, so that verification tells data of this run from \
                     data of a run with another seed. Any sign.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.seed = n.cast_unsigned()),
    },
    Flag {
        spec: FlagSpec {
            long: "round-timeout-s",
            value_name: "F",
            preset: Preset::Unset("120 for store and load, 60 for lookup"),
            group: &BEYOND,
            help: "Seconds until a round counts as timed out",
            detail: "A timed-out round is counted in the report, adds nothing to the other figures and makes the exit \
                     code 1.",
            ..FlagSpec::BLANK
        },
        set: |args, text| float(text).map(|seconds| args.round_timeout_s = Some(seconds)),
    },
    Flag {
        spec: FlagSpec {
            long: "io-engine",
            value_name: "ENGINE",
            choices: IoEngine::CHOICES,
            preset: Preset::Text("auto"),
            group: &BEYOND,
            help: "I/O path of the fs adapter",
            detail: "`threads` makes plain system calls from several threads, `uring` hands batches to io_uring, `auto` \
                     takes what is fastest for each phase. The report names the path that really ran.",
            ..FlagSpec::BLANK
        },
        set: |args, text| IoEngine::from_text(text).map(|engine| args.io_engine = engine),
    },
    Flag {
        spec: FlagSpec {
            long: "io-depth",
            value_name: "N",
            preset: Preset::Text("0"),
            group: &BEYOND,
            help: "Objects in flight inside the adapter, 0 = automatic",
            detail: "The queue depth that the device sees can be lower; the report shows both the requested and the \
                     achieved depth.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.io_depth = n),
    },
    Flag {
        spec: FlagSpec {
            long: "fdatasync",
            kind: Kind::Switch,
            group: &BEYOND,
            help: "Flush each object to the device before its rename",
            detail: "LMCache never flushes, so without this flag neither does this program, and stored objects may be \
                     lost when the power fails.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.fdatasync = on),
    },
    Flag {
        spec: FlagSpec {
            long: "recycle",
            kind: Kind::Switch,
            group: &BEYOND,
            help: "Store over files that were written before the clock",
            detail: "For the fs adapter: as many files as the run will store are written first, and each store takes one \
                     over (rename, overwrite, rename), as a full store does with what it evicts. Without it every store \
                     makes a new file, whose space may never have been written, and some disks are much slower there.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.recycle = on),
    },
    Flag {
        spec: FlagSpec {
            long: "probe",
            kind: Kind::Switch,
            group: &BEYOND,
            help: "Compare each round with the raw speed of the device",
            detail: "Between measured rounds, writes or reads the same number of bytes raw, on pre-written space of the \
                     same file system, and reports each round as a ratio of what the device itself did at that moment.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.probe = on),
    },
    Flag {
        spec: FlagSpec {
            long: "via",
            value_name: "SIDE",
            choices: Via::CHOICES,
            preset: Preset::Unset("native where there is a native adapter"),
            group: &BEYOND,
            help: "Whose adapter to measure",
            detail: "`lmcache` runs LMCache's own adapter in a Python process on the same buffers, with the same keys, \
                     verification and report, so that both can be compared on one device. Types without a native \
                     adapter always go that way. The report shows what the bridge itself costs.",
            ..FlagSpec::BLANK
        },
        set: |args, text| Via::from_text(text).map(|via| args.via = Some(via)),
    },
    Flag {
        spec: FlagSpec {
            long: "python",
            value_name: "PATH",
            preset: Preset::Unset("`$LMCACHE_PYTHON`, then `$VIRTUAL_ENV/bin/python`, then `python3`"),
            group: &BEYOND,
            help: "Python that has LMCache, for --via lmcache",
            detail: "A path or a name on the search path. `lmcache` must be installed there, and what the adapter type \
                     needs beside it.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.python = Some(PathBuf::from(text));
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "apply-serde",
            kind: Kind::Switch,
            group: &BEYOND,
            help: "Encrypt objects as the spec's serde block says",
            detail: "Only for `\"serde\":{\"type\":\"aesgcm\",...}`: objects are encrypted before they are stored and \
                     decrypted after they are loaded, inside the measured time and in LMCache's own format. The report \
                     shows what that costs. Without this flag a serde block changes nothing, as in LMCache.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.apply_serde = on),
    },
];
