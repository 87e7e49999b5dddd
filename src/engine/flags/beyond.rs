//! The flags of `engine` that LMCache does not have, a row each.

use std::path::PathBuf;

use crate::cli::Format;
use crate::cli::flag::{Flag, FlagSpec, Group, Kind, Preset, on_off};
use crate::engine::args::EngineArgs;
use crate::python::number::float;

pub(super) const BEYOND: Group = Group {
    title: "Beyond the reference",
    of_reference: false,
};

/// Where results go, and how lengths are counted.
pub(super) const RESULTS: &[Flag<EngineArgs>] = &[
    Flag {
        spec: FlagSpec {
            long: "format",
            value_name: "FORMAT",
            choices: Format::CHOICES,
            preset: Preset::Text("terminal"),
            group: &BEYOND,
            help: "Form of the report",
            detail: "With `json`, stdout carries the JSON report and nothing else; progress goes to stderr.",
            ..FlagSpec::BLANK
        },
        set: |args, text| Format::from_text(text).map(|value| args.format = Some(value)),
    },
    Flag {
        spec: FlagSpec {
            long: "output",
            value_name: "PATH",
            group: &BEYOND,
            help: "Write the report to this file as well",
            detail: "It gets the form that `--format` names. The folder must exist. LMCache takes `--output` for a \
                     beginning of `--output-dir`.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.output = Some(PathBuf::from(text));
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "requests-jsonl",
            value_name: "PATH",
            group: &BEYOND,
            help: "Write one JSON line for each request",
            detail: "All time stamps and counts of a request, with its class of failure if it failed.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.requests_jsonl = Some(PathBuf::from(text));
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "tokenizer",
            value_name: "PATH",
            group: &BEYOND,
            help: "The model's tokenizer.json, or its folder",
            detail: "Where exact token counts come from. Without it: `--model` if that is a folder with a tokenizer, \
                     else the model in the local Hugging Face cache, else the engine's own `/tokenize`, else words \
                     are counted.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.tokenizer = Some(PathBuf::from(text));
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "exact-lengths",
            kind: Kind::Switch,
            group: &BEYOND,
            help: "Make prompts exactly as long as their flags say",
            detail: "For long-doc-qa, multi-round-chat and random-prefill, whose lengths are words in LMCache: the \
                     filler is measured with the tokenizer. prefix-suffix-tuner draws words of one token each instead of \
                     any tokens, and needs the tokenizer on this machine. Documents of long-doc-permutator are exact \
                     always. The requests then differ from those of LMCache.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.exact_lengths = Some(on)),
    },
];

/// How requests are made and limited, after the flags that we add to workloads of LMCache.
pub(super) const REQUESTS: &[Flag<EngineArgs>] = &[
    Flag {
        spec: FlagSpec {
            long: "usage-per-event",
            kind: Kind::Switch,
            group: &BEYOND,
            help: "Ask for the token count with every event",
            detail: "Adds `continuous_usage_stats` to the `stream_options` of every request, which vLLM and SGLang know. TPOT and \
                     ITL are then right although events carry several tokens and the first may carry many. The requests then \
                     differ from those of LMCache.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.usage_per_event = Some(on)),
    },
    Flag {
        spec: FlagSpec {
            long: "connect-timeout-s",
            value_name: "F",
            preset: Preset::Text("10"),
            group: &BEYOND,
            help: "Seconds to connect",
            detail: "A request that exceeds a limit fails with the class `timeout`; nothing is sent again.",
            ..FlagSpec::BLANK
        },
        set: |args, text| float(text).map(|number| args.connect_timeout_s = Some(number)),
    },
    Flag {
        spec: FlagSpec {
            long: "first-token-timeout-s",
            value_name: "F",
            preset: Preset::Text("600"),
            group: &BEYOND,
            help: "Seconds from dispatch to the first token",
            detail: "`0` means no limit.",
            ..FlagSpec::BLANK
        },
        set: |args, text| float(text).map(|number| args.first_token_timeout_s = Some(number)),
    },
    Flag {
        spec: FlagSpec {
            long: "stall-timeout-s",
            value_name: "F",
            preset: Preset::Text("120"),
            group: &BEYOND,
            help: "Seconds without a token, a finish reason or a usage",
            detail: "Counts from the first of them on. Comments, pings and empty deltas do not end a silence. `0` means no \
                     limit.",
            ..FlagSpec::BLANK
        },
        set: |args, text| float(text).map(|number| args.stall_timeout_s = Some(number)),
    },
    Flag {
        spec: FlagSpec {
            long: "request-timeout-s",
            value_name: "F",
            preset: Preset::Text("600"),
            group: &BEYOND,
            help: "Seconds for a whole request",
            detail: "As the client of LMCache has it. `0` means no limit.",
            ..FlagSpec::BLANK
        },
        set: |args, text| float(text).map(|number| args.request_timeout_s = Some(number)),
    },
    Flag {
        spec: FlagSpec {
            long: "no-certificate",
            kind: Kind::Switch,
            group: &BEYOND,
            help: "Do not measure this program's own error first",
            detail: "Leaves out the two-second replay of the plan against the built-in mock, and the line about it in \
                     the report.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.no_certificate = Some(on)),
    },
];
