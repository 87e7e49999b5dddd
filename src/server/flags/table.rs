//! The flags of `server`, a row each. Must never hold more than their descriptions and how each value is read.

use super::{Checksum, Mode, ServerArgs, TransferMode};
use crate::cli::flag::{Absent, Flag, FlagSpec, Group, Kind, Preset, on_off};
use crate::cli::parse::Table;
use crate::cli::shared;
use crate::python::number::{float, int};

const REFERENCE: Group = Group {
    title: "Options",
    of_reference: true,
};
const SHAPE: Group = Group {
    title: "KV cache shape",
    of_reference: true,
};
const BEYOND: Group = Group {
    title: "Beyond the reference",
    of_reference: false,
};

pub const TABLE: Table<ServerArgs> = Table {
    program: "lmcache-bench server",
    flags: FLAGS,
    absent: ABSENT,
};

const NO_FLAME_GRAPHS: &str = "flame graphs are not drawn by this program; leave the flag out and run `py-spy record` or \
                               `perf record -g` on the server's process instead";

const ABSENT: &[Absent] = &[
    no_flame_graphs("flamegraph"),
    no_flame_graphs("profile-server-pid"),
    no_flame_graphs("flamegraph-mode"),
    no_flame_graphs("flamegraph-output"),
    no_flame_graphs("flamegraph-scripts-dir"),
];

const fn no_flame_graphs(long: &'static str) -> Absent {
    Absent {
        long,
        advice: NO_FLAME_GRAPHS,
    }
}

const FLAGS: &[Flag<ServerArgs>] = &[
    Flag {
        spec: FlagSpec {
            long: "rpc-url",
            value_name: "URL",
            preset: Preset::Text("tcp://localhost:5555"),
            group: &REFERENCE,
            help: "ZMQ endpoint of the cache server",
            detail: "`tcp://HOST:PORT`, or `HOST:PORT` for the same. Servers that speak gRPC are not supported yet.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.rpc_url = text.to_string();
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "url",
            value_name: "URL",
            preset: Preset::Text("http://localhost:8080"),
            group: &REFERENCE,
            help: "HTTP base URL of the server",
            detail: "Asked for the server's version, and for its own checksums where it computes them (`lmcache_driven`). \
                     Everything else works without; when nothing answers there the report says so. Give `--url \"\"` to \
                     leave it out.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.url = text.to_string();
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "mode",
            value_name: "MODE",
            choices: Mode::CHOICES,
            preset: Preset::Text("gpu"),
            group: &REFERENCE,
            help: "Where the KV tensors live",
            detail: "`cpu` needs no GPU, neither here nor at the server. `gpu` loads the CUDA driver (`libcuda.so.1`) when it \
                     starts, which the fully static build cannot.",
            ..FlagSpec::BLANK
        },
        set: |args, text| Mode::from_text(text).map(|mode| args.mode = mode),
    },
    Flag {
        spec: FlagSpec {
            long: "transfer-mode",
            value_name: "MODE",
            choices: TransferMode::CHOICES,
            preset: Preset::Text("auto"),
            group: &REFERENCE,
            help: "Who copies the KV between tensors and cache",
            detail: "`engine_driven`: this program copies, through the server's shared memory if it offers some and \
                     inside the messages otherwise. `lmcache_driven`: the server copies from and to memory that this \
                     program shares with it. `auto`: `engine_driven` on the CPU, `lmcache_driven` on a GPU.",
            ..FlagSpec::BLANK
        },
        set: |args, text| TransferMode::from_text(text).map(|mode| args.transfer_mode = mode),
    },
    Flag {
        spec: FlagSpec {
            long: "tp-size",
            value_name: "N",
            preset: Preset::Text("1"),
            group: &REFERENCE,
            help: "Ranks to imitate",
            detail: "Each rank registers KV tensors of its own. All ranks store and retrieve; of a shape with MLA only \
                     the first stores. LMCache has this flag since 0.5.3.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.tp_size = n),
    },
    Flag {
        spec: FlagSpec {
            long: "use-mla",
            kind: Kind::Switch,
            group: &REFERENCE,
            help: "Insist on a shape with MLA",
            detail: "A shape spec whose groups all have kv_size 1 means MLA without this flag; with it any other spec is \
                     refused.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.use_mla = on),
    },
    Flag {
        spec: FlagSpec {
            long: "num-tokens",
            value_name: "N",
            preset: Preset::Text("512"),
            group: &REFERENCE,
            help: "Tokens of one request",
            detail: "One more token, the sequence number, precedes them. Only whole chunks of the server's chunk size are \
                     stored.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.num_tokens = n),
    },
    Flag {
        spec: FlagSpec {
            long: "kvcache-shape-spec",
            value_name: "SPEC",
            preset: Preset::Unset("`(2,1024,16,8,128):float16:32`"),
            group: &SHAPE,
            help: "Shape of the KV tensors, by layer group",
            detail: "See \"Shape specs\". All groups share the number of blocks and the block size.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.kvcache_shape_spec = Some(text.to_string());
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "num-blocks",
            value_name: "N",
            preset: Preset::Unset("`1024`"),
            group: &SHAPE,
            help: "Blocks of the default shape",
            detail: "Without effect when `--kvcache-shape-spec` says it; the report then warns if the two differ.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.num_blocks = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "block-size",
            value_name: "N",
            preset: Preset::Unset("`16`"),
            group: &SHAPE,
            help: "Tokens of one block of the default shape",
            detail: "Without effect when `--kvcache-shape-spec` says it; the report then warns if the two differ.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.block_size = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "start",
            value_name: "N",
            preset: Preset::Text("0"),
            group: &REFERENCE,
            help: "First sequence number",
            detail: "The sequence number is the first token of its request, so it is 0 to 4294967295.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.start = n),
    },
    Flag {
        spec: FlagSpec {
            long: "end",
            value_name: "N",
            preset: Preset::Unset("run until Ctrl-C"),
            group: &REFERENCE,
            help: "First sequence number not to run",
            detail: "Without it the run goes on until Ctrl-C, which is a clean end with a full report.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.end = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "interval",
            value_name: "SECS",
            preset: Preset::Text("0.5"),
            group: &REFERENCE,
            help: "Pause after each cold and each warm pass, in seconds",
            detail: "Not part of any latency.",
            ..FlagSpec::BLANK
        },
        set: |args, text| float(text).map(|seconds| args.interval = seconds),
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
            long: "salt",
            kind: Kind::Negatable,
            preset: Preset::Text("on"),
            group: &BEYOND,
            help: "Keep this run's entries apart from every other run's",
            detail: "A random cache salt makes every cold lookup a miss whatever the server already holds. With `--no-salt` \
                     the keys are exactly LMCache's own; entries of an earlier run are then reported and never count as a \
                     pass.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.salt = on),
    },
    Flag {
        spec: FlagSpec {
            long: "device",
            value_name: "N",
            preset: Preset::Text("0"),
            group: &BEYOND,
            help: "CUDA device of --mode gpu",
            detail: "Numbered as `nvidia-smi -L` and `CUDA_VISIBLE_DEVICES` say. All ranks use it.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.device = n),
    },
    Flag {
        spec: FlagSpec {
            long: "checksum",
            value_name: "KIND",
            choices: Checksum::CHOICES,
            preset: Preset::Text("auto"),
            group: &BEYOND,
            help: "Digest of stored and retrieved chunks",
            detail: "`md5` is what the server computes; `fast` has 128 bits too and runs at memory speed. `auto` takes `md5` \
                     where the server's digests are compared with it and `fast` elsewhere.",
            ..FlagSpec::BLANK
        },
        set: |args, text| Checksum::from_text(text).map(|checksum| args.checksum = checksum),
    },
    Flag {
        spec: FlagSpec {
            long: "seed",
            value_name: "N",
            preset: Preset::Text("42"),
            group: &BEYOND,
            help: "Seed of the tensors' contents",
            detail: "The same seed gives the same bytes in every run, for each rank, sequence number, layer and block.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.seed = n.cast_unsigned()),
    },
    Flag {
        spec: FlagSpec {
            long: "connect-timeout-s",
            value_name: "SECS",
            preset: Preset::Text("2"),
            group: &BEYOND,
            help: "Time for the server's first reply, in seconds",
            detail: "A server that does not answer the first request by then counts as unreachable.",
            ..FlagSpec::BLANK
        },
        set: |args, text| float(text).map(|seconds| args.connect_timeout_s = seconds),
    },
    Flag {
        spec: FlagSpec {
            long: "rpc-timeout-s",
            value_name: "SECS",
            preset: Preset::Text("10"),
            group: &BEYOND,
            help: "Time for every other reply, in seconds",
            detail: "The protocol has no error replies: a request that failed at the server ends in this timeout.",
            ..FlagSpec::BLANK
        },
        set: |args, text| float(text).map(|seconds| args.rpc_timeout_s = seconds),
    },
];
