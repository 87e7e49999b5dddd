//! The flags of `engine` that LMCache does not have, a row each. Must never hold more than their descriptions and how each
//! value is read.

use std::path::PathBuf;

use super::{ChatPacing, EngineArgs, PermutationOrder};
use crate::cli::flag::{Flag, FlagSpec, Group, Kind, Preset, on_off};
use crate::cli::{Format, shared};
use crate::python::number::float;

const BEYOND: Group = Group {
    title: "Beyond the reference",
    of_reference: false,
};

pub(super) const FLAGS: &[Flag<EngineArgs>] = &[
    Flag {
        spec: shared::format(&BEYOND),
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
        spec: shared::save(&BEYOND),
        set: |args, text| {
            args.save.get_or_insert_default().push(text.to_owned());
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
    Flag {
        spec: FlagSpec {
            long: "ldp-order",
            value_name: "ORDER",
            choices: PermutationOrder::CHOICES,
            preset: Preset::Text("sorted"),
            group: &BEYOND,
            help: "Order of the permutations",
            detail: "`sorted` is LMCache's: neighbours share long beginnings, which flatters plain prefix caching. \
                     `random` shuffles them with the seed.",
            ..FlagSpec::BLANK
        },
        set: |args, text| PermutationOrder::from_text(text).map(|value| args.ldp_order = Some(value)),
    },
    Flag {
        spec: FlagSpec {
            long: "mrc-pacing",
            value_name: "PACING",
            choices: ChatPacing::CHOICES,
            preset: Preset::Text("blocking"),
            group: &BEYOND,
            help: "What a busy session does to the schedule",
            detail: "`blocking` is LMCache's: one busy session holds up all others, and missed turns follow in a \
                     burst. `free-session` gives the turn to the next session that is free, and drops it when none \
                     is.",
            ..FlagSpec::BLANK
        },
        set: |args, text| ChatPacing::from_text(text).map(|value| args.mrc_pacing = Some(value)),
    },
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
