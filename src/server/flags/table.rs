//! The flags of `server`: a description and a setter for each.

use super::{BlockAllocation, Checksum, Mode, ServerArgs, TransferMode};
use crate::cli::flag::{Absent, BEYOND, Flag, Group, keep, on_off, replace};
use crate::cli::parse::Table;
use crate::cli::shared;
use crate::python::number::{float, int};
use crate::server::rpc::WireKind;

type Row = Flag<ServerArgs>;

const SHAPE: Group = Group {
    title: "KV cache shape",
    of_reference: true,
};
pub const TABLE: Table<ServerArgs> = Table {
    program: "lmcache-bench server",
    flags: FLAGS,
    absent: ABSENT,
};

const NO_FLAME_GRAPHS: &str = "flame graphs are not drawn by this program; leave the flag out and run `py-spy record` or \
 `perf record -g` on the server's process instead";

const ABSENT: &[Absent] = &[
    Absent::new("flamegraph", NO_FLAME_GRAPHS),
    Absent::new("profile-server-pid", NO_FLAME_GRAPHS),
    Absent::new("flamegraph-mode", NO_FLAME_GRAPHS),
    Absent::new("flamegraph-output", NO_FLAME_GRAPHS),
    Absent::new("flamegraph-scripts-dir", NO_FLAME_GRAPHS),
];

const FLAGS: &[Row] = &[
    Row::value("rpc-url", "URL", |args, text| replace(&mut args.rpc_url, text))
        .default("tcp://localhost:5555")
        .help(
            "ZMQ endpoint of the cache server",
            "`tcp://HOST:PORT`, or `HOST:PORT` for the same. Servers with a gRPC endpoint are not supported.",
        ),
    Row::value("url", "URL", |args, text| replace(&mut args.url, text))
        .default("http://localhost:8080")
        .help(
            "HTTP base URL of the server",
            "Asked for the server's version, and for its own checksums where it computes them (`lmcache_driven`). \
             Everything else works without it; when nothing answers, the report has a warning. Give `--url \"\"` to \
             leave it out.",
        ),
    Row::value("mode", "MODE", |args, text| {
        Mode::from_text(text).map(|mode| args.mode = mode)
    })
    .choices(Mode::CHOICES)
    .default("gpu")
    .help(
        "Where the KV tensors live",
        "`cpu` needs no GPU, neither here nor at the server. `gpu` loads the CUDA driver (`libcuda.so.1`) when \
         it starts, which the fully static build cannot.",
    ),
    Row::value("transfer-mode", "MODE", |args, text| {
        TransferMode::from_text(text).map(|mode| args.transfer_mode = mode)
    })
    .choices(TransferMode::CHOICES)
    .default("auto")
    .help(
        "Which side copies the KV between tensors and cache",
        "`engine_driven`: this program copies, through the server's shared memory if it offers some and inside \
         the messages otherwise. `lmcache_driven`: the server copies from and to memory that this program \
         shares with it. `auto`: `engine_driven` on the CPU, `lmcache_driven` on a GPU.",
    ),
    Row::value("tp-size", "N", |args, text| int(text).map(|n| args.tp_size = n))
        .default("1")
        .help(
            "Ranks to imitate",
            "Each rank registers KV tensors of its own. All ranks store and retrieve; of a shape with MLA only the \
             first stores. LMCache has this flag since 0.5.3.",
        ),
    Row::switch("use-mla", |args, text| on_off(text).map(|on| args.use_mla = on)).help(
        "Require a shape with MLA",
        "A shape spec whose groups all have kv_size 1 means MLA without this flag; with it any other spec is \
             refused.",
    ),
    Row::value("num-tokens", "N", |args, text| int(text).map(|n| args.num_tokens = n))
        .default("512")
        .help(
            "Tokens of one request",
            "One more token, the sequence number, precedes them. Only whole chunks of the server's chunk size are \
             stored.",
        ),
    Row::value("kvcache-shape-spec", "SPEC", |args, text| {
        keep(&mut args.kvcache_shape_spec, text)
    })
    .unset("`(2,1024,16,8,128):float16:32`")
    .group(&SHAPE)
    .help(
        "Shape of the KV tensors, by layer group",
        "See \"Shape specs\". All groups share the number of blocks and the block size.",
    ),
    Row::value("num-blocks", "N", |args, text| {
        int(text).map(|n| args.num_blocks = Some(n))
    })
    .unset("`1024`")
    .group(&SHAPE)
    .help(
        "Blocks of the default shape",
        "Without effect when `--kvcache-shape-spec` says it; the report then warns if the two differ.",
    ),
    Row::value("block-size", "N", |args, text| {
        int(text).map(|n| args.block_size = Some(n))
    })
    .unset("`16`")
    .group(&SHAPE)
    .help(
        "Tokens of one block of the default shape",
        "Without effect when `--kvcache-shape-spec` says it; the report then warns if the two differ.",
    ),
    Row::value("start", "N", |args, text| int(text).map(|n| args.start = n))
        .default("0")
        .help(
            "First sequence number",
            "The sequence number is the first token of its request, so it is 0 to 4294967295.",
        ),
    Row::value("end", "N", |args, text| int(text).map(|n| args.end = Some(n)))
        .unset("run until Ctrl-C")
        .help(
            "First sequence number not to run",
            "Without it the run goes on until Ctrl-C, which is a clean end with a full report.",
        ),
    Row::value("interval", "SECS", |args, text| {
        float(text).map(|seconds| args.interval = seconds)
    })
    .default("0.5")
    .help(
        "Pause after each cold and each warm pass, in seconds",
        "Not part of any latency. Each client pauses for itself.",
    ),
    Row::value("concurrency", "N", |args, text| {
        int(text).map(|n| args.concurrency = n)
    })
    .default("1")
    .help(
        "Clients at a time",
        "1 to 256. Each has a connection, a thread and KV tensors of its own, and takes every Nth sequence number. One          request at a time and client; the figures are those of all clients. LMCache has this flag since 0.5.7.",
    ),
    Row::value("block-allocation", "KIND", |args, text| {
        BlockAllocation::from_text(text).map(|kind| args.block_allocation = kind)
    })
    .choices(BlockAllocation::CHOICES)
    .default("sequential")
    .help(
        "Which blocks of the KV tensors a request takes",
        "`sequential`: the lowest free ones, so that each pass has its blocks in one piece. `random`: free ones that          Python's generator draws from seed 0, other ones for the warm pass than for the cold one. LMCache has this flag          since 0.5.7.",
    ),
    shared::format_row(|args, text| args.output.set_format(text)),
    shared::output_row(|args, text| keep(&mut args.output.report_path, text)),
    shared::quiet_row(|args, text| on_off(text).map(|on| args.output.quiet = on)),
    Row::help_row(),
    shared::save_row(|args, text| args.output.add_save(text)),
    Row::negatable("salt", |args, text| on_off(text).map(|on| args.salt = on))
        .default("on")
        .group(&BEYOND)
        .help(
            "Keep this run's entries apart from every other run's",
            "A random cache salt makes every cold lookup a miss whatever the server already holds. With \
             `--no-salt` the keys are exactly LMCache's own; entries of an earlier run are then reported and never \
             count as a pass.",
        ),
    Row::value("device", "N", |args, text| int(text).map(|n| args.device = n))
        .default("0")
        .group(&BEYOND)
        .help(
            "CUDA device of --mode gpu",
            "The number is that of `nvidia-smi -L`, after `CUDA_VISIBLE_DEVICES`. All ranks use it.",
        ),
    Row::value("checksum", "KIND", |args, text| {
        Checksum::from_text(text).map(|checksum| args.checksum = checksum)
    })
    .choices(Checksum::CHOICES)
    .default("auto")
    .group(&BEYOND)
    .help(
        "Digest of stored and retrieved chunks",
        "`md5` is what the server computes; `fast` has 128 bits too and runs at memory speed. `auto` takes \
         `md5` where the server's digests are compared with it and `fast` elsewhere.",
    ),
    Row::value("wire", "WIRE", |args, text| {
        WireKind::from_text(text).map(|wire| args.wire = wire)
    })
    .choices(WireKind::CHOICES)
    .default("native")
    .group(&BEYOND)
    .help(
        "What carries the messages",
        "`native` is this program's own client of ZeroMQ's protocol. `libzmq` is the library that LMCache's connectors \
         use, to compare with what they see: its thread sends and receives, and whole messages are in memory. The \
         messages are the same.",
    ),
    Row::value("seed", "N", |args, text| {
        int(text).map(|n| args.seed = n.cast_unsigned())
    })
    .default("42")
    .group(&BEYOND)
    .help(
        "Seed of the tensors' contents",
        "The same seed gives the same bytes in every run, for each rank, sequence number, layer and block.",
    ),
    Row::value("connect-timeout-s", "SECS", |args, text| {
        float(text).map(|seconds| args.connect_timeout_s = seconds)
    })
    .default("2")
    .group(&BEYOND)
    .help(
        "Time for the server's first reply, in seconds",
        "A server that does not answer the first request by then counts as unreachable.",
    ),
    Row::value("rpc-timeout-s", "SECS", |args, text| {
        float(text).map(|seconds| args.rpc_timeout_s = seconds)
    })
    .default("10")
    .group(&BEYOND)
    .help(
        "Time for every other reply, in seconds",
        "The protocol has no error replies: a request that failed at the server ends in this timeout.",
    ),
];
