//! The flags of `mock server`, a row each. Must never hold more than their descriptions and how each value is read.

use super::MockServerArgs;
use crate::cli::flag::{Flag, FlagSpec, Group, Preset};
use crate::cli::parse::Table;
use crate::python::number::int;

const OPTIONS: Group = Group {
    title: "Options",
    of_reference: true,
};
const BEHAVIOUR: Group = Group {
    title: "Behaviour",
    of_reference: false,
};

pub const TABLE: Table<MockServerArgs> = Table {
    program: "lmcache-bench mock server",
    flags: FLAGS,
    absent: &[],
};

const FLAGS: &[Flag<MockServerArgs>] = &[
    Flag {
        spec: FlagSpec {
            long: "host",
            value_name: "HOST",
            preset: Preset::Text("127.0.0.1"),
            group: &OPTIONS,
            help: "Address to listen on",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.host = text.to_string();
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "port",
            value_name: "N",
            preset: Preset::Text("5555"),
            group: &OPTIONS,
            help: "Port of the ZMQ protocol, 0 for any free one",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.port = n),
    },
    Flag {
        spec: FlagSpec {
            long: "http-port",
            value_name: "N",
            preset: Preset::Text("8080"),
            group: &OPTIONS,
            help: "Port of the HTTP API, 0 for any free one",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.http_port = n),
    },
    Flag {
        spec: FlagSpec {
            long: "chunk-size",
            value_name: "N",
            preset: Preset::Text("256"),
            group: &OPTIONS,
            help: "Tokens of a chunk",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.chunk_size = n),
    },
    Flag {
        spec: FlagSpec {
            long: "l1-size-mb",
            value_name: "N",
            preset: Preset::Text("1024"),
            group: &OPTIONS,
            help: "Memory for chunks in MiB",
            detail: "When it is full, the chunks that were used longest ago and that nobody reads make room.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.l1_size_mb = n),
    },
    Flag {
        spec: FlagSpec {
            long: "supported-transfer-mode",
            value_name: "MODE",
            choices: &["auto", "lmcache_driven", "engine_driven"],
            preset: Preset::Text("auto"),
            group: &OPTIONS,
            help: "Ways of transfer to answer; `auto` is both",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.supported_transfer_mode = text.to_string();
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "shm-name",
            value_name: "NAME",
            preset: Preset::Unset("chunks travel inline"),
            group: &OPTIONS,
            help: "Keep chunks in shared memory `lmcache_l1_pool_NAME`",
            detail: "Engine-driven clients then copy by themselves.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.shm_name = Some(text.to_string());
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "generation",
            value_name: "RELEASE",
            preset: Preset::Text("0.5.6"),
            group: &BEHAVIOUR,
            help: "Release of LMCache to speak like, 0.5.0 to 0.5.6",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.generation = text.to_string();
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "delay",
            value_name: "OPERATION=MS",
            repeatable: true,
            group: &BEHAVIOUR,
            help: "Answer an operation no earlier than this after its request",
            detail: "The operation is written as in `store` or `prepare_retrieve`; `all` stands for every one.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.delay.push(text.to_string());
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "fault",
            value_name: "KIND[:OPERATION][@N]",
            repeatable: true,
            group: &BEHAVIOUR,
            help: "Misbehave on purpose",
            detail: "`@N` limits the fault to the Nth request that it fits. See \"Faults\".",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.fault.push(text.to_string());
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec::help_flag(&OPTIONS),
        set: |_, _| Ok(()),
    },
];
