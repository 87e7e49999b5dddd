//! The flags of `mock server`, a row each.

use super::MockServerArgs;
use crate::cli::flag::{Absent, Flag, Group, keep, replace};
use crate::cli::parse::Table;
use crate::python::number::int;
use crate::server::flags::TransferMode;

type Row = Flag<MockServerArgs>;

const BEHAVIOUR: Group = Group {
    title: "Behaviour",
    of_reference: false,
};

pub const TABLE: Table<MockServerArgs> = Table {
    program: "lmcache-bench mock server",
    flags: FLAGS,
    absent: &[Absent::new("generation", "its name is --release")],
};

const FLAGS: &[Row] = &[
    Row::value("host", "HOST", |args, text| replace(&mut args.host, text))
        .default("127.0.0.1")
        .help("Address to listen on", ""),
    Row::value("port", "N", |args, text| int(text).map(|n| args.port = n))
        .default("5555")
        .help("Port of the ZMQ protocol, 0 for any free one", ""),
    Row::value("http-port", "N", |args, text| int(text).map(|n| args.http_port = n))
        .default("8080")
        .help("Port of the HTTP API, 0 for any free one", ""),
    Row::value("chunk-size", "N", |args, text| int(text).map(|n| args.chunk_size = n))
        .default("256")
        .help("Tokens of a chunk", ""),
    Row::value("l1-size-mb", "N", |args, text| int(text).map(|n| args.l1_size_mb = n))
        .default("1024")
        .help(
            "Memory for chunks in MiB",
            "When it is full, the chunks that were used longest ago and that nobody reads make room.",
        ),
    Row::value("supported-transfer-mode", "MODE", |args, text| {
        TransferMode::from_text(text).map(|mode| args.supported_transfer_mode = mode)
    })
    .choices(&["auto", "lmcache_driven", "engine_driven"])
    .default("auto")
    .help("Ways of transfer to answer; `auto` is both", ""),
    Row::value("shm-name", "NAME", |args, text| keep(&mut args.shm_name, text))
        .unset("chunks travel inline")
        .help(
            "Keep chunks in shared memory `lmcache_l1_pool_NAME`",
            "Engine-driven clients then copy by themselves.",
        ),
    Row::value("api-key-file", "PATH", |args, text| {
        args.api_key_file.push(text.into());
        Ok(())
    })
    .repeatable()
    .help(
        "Ask for the key in this file on the HTTP API",
        "One key in one line; with several files each key is valid. `/` and `/healthcheck` stay open, everything else then \
         needs `Authorization: Bearer KEY` or `X-LMCache-API-Key: KEY`. The ZMQ protocol asks for none.",
    ),
    Row::value("release", "RELEASE", |args, text| replace(&mut args.release, text))
        .default("0.5.6")
        .group(&BEHAVIOUR)
        .help(
            "Release of LMCache to speak like, 0.5.0 to 0.5.7",
            "Letters after the numbers, as in `0.5.7rc2`, are only repeated over HTTP.",
        ),
    Row::value("delay", "OPERATION[@N]=MS", |args, text| {
        args.delay.push(text.to_string());
        Ok(())
    })
    .repeatable()
    .group(&BEHAVIOUR)
    .help(
        "Answer an operation no earlier than this after its request",
        "The operation is written as in `store` or `prepare_retrieve`; `all` stands for every one. `@N` limits the delay to \
         the Nth request that it fits.",
    ),
    Row::value("fault", "KIND[:OPERATION][@N]", |args, text| {
        args.fault.push(text.to_string());
        Ok(())
    })
    .repeatable()
    .group(&BEHAVIOUR)
    .help(
        "Misbehave on purpose",
        "`@N` limits the fault to the Nth request that it fits. See \"Faults\".",
    ),
    Row::help_row(),
];
