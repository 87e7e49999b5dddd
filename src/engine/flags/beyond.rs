//! The flags of `engine` that LMCache does not have.

use crate::cli::flag::{Flag, keep, on_off};
use crate::cli::{Format, shared};
use crate::engine::args::Endpoint;
use crate::engine::args::EngineArgs;
use crate::engine::workload::extra_body;
use crate::python::number::float;

type Row = Flag<EngineArgs>;

/// Flags about outputs and about counting lengths.
pub(super) const RESULTS: &[Row] = &[
    shared::format_row(|args, text| Format::from_text(text).map(|value| args.format = Some(value))),
    Row::value("output", "PATH", |args, text| keep(&mut args.output, text)).help(
        "Write the report to this file as well",
        "It gets the form that `--format` names. The folder must exist. In LMCache `--output` is an \
         abbreviation of `--output-dir`.",
    ),
    shared::save_row(|args, text| {
        args.save.get_or_insert_default().push(text.to_owned());
        Ok(())
    }),
    Row::value("requests-jsonl", "PATH", |args, text| {
        keep(&mut args.requests_jsonl, text)
    })
    .help(
        "Write one JSON line for each request",
        "All time stamps and counts of a request, with its class of failure if it failed.",
    ),
    Row::value("tokenizer", "PATH", |args, text| keep(&mut args.tokenizer, text)).help(
        "The model's tokenizer.json, or its folder",
        "Where words and exact token counts come from. Without it: `--model` if that is a folder with a \
         tokenizer, else the model in the local Hugging Face cache, else the engine's own `/tokenize` and \
         `/detokenize`, else words are counted.",
    ),
    Row::switch("exact-lengths", |args, text| {
        on_off(text).map(|on| args.exact_lengths = Some(on))
    })
    .help(
        "Make prompts exactly as long as their flags say",
        "For long-doc-qa, multi-round-chat and random-prefill, whose lengths are words in LMCache: the \
         filler is measured with the tokenizer. prefix-suffix-tuner draws words of one token each instead \
         of any tokens. Documents of long-doc-permutator are exact wherever tokens can be counted. The requests then differ from those of LMCache.",
    ),
];

/// Flags about requests and timeouts. In the help they come after the flags added to LMCache's workloads.
pub(super) const REQUESTS: &[Row] = &[
    Row::value("endpoint", "NAME", |args, text| {
        Endpoint::from_text(text).map(|value| args.endpoint = Some(value))
    })
    .choices(Endpoint::CHOICES)
    .default("chat")
    .help(
        "Which endpoint requests go to",
        "`chat` is `<base>/chat/completions`, as in LMCache. `completions` is `<base>/completions`: the \
         contents of a workload's messages become one `prompt`, joined by an empty line and without their \
         roles, and no chat template is applied.",
    ),
    Row::value("extra-body", "JSON", |args, text| {
        extra_body::check(text)?;
        keep(&mut args.extra_body, text)
    })
    .help(
        "Fields that are added to every request",
        "A JSON object of at most 64 KiB. Its fields follow those of the workload, in the warmup too. A \
         field that the workload or another flag sets is refused.",
    ),
    Row::switch("usage-per-event", |args, text| {
        on_off(text).map(|on| args.usage_per_event = Some(on))
    })
    .help(
        "Ask for the token count with every event",
        "Adds `continuous_usage_stats` to the `stream_options` of every request, which vLLM and SGLang \
         know. TPOT and ITL are then right although events carry several tokens and the first may carry \
         many. The requests then differ from those of LMCache.",
    ),
    Row::value("connect-timeout-s", "F", |args, text| {
        float(text).map(|number| args.connect_timeout_s = Some(number))
    })
    .default("10")
    .help(
        "Seconds to connect",
        "A request that exceeds a limit fails with the class `timeout`; nothing is sent again.",
    ),
    Row::value("first-token-timeout-s", "F", |args, text| {
        float(text).map(|number| args.first_token_timeout_s = Some(number))
    })
    .default("600")
    .help("Seconds from dispatch to the first token", "`0` means no limit."),
    Row::value("stall-timeout-s", "F", |args, text| {
        float(text).map(|number| args.stall_timeout_s = Some(number))
    })
    .default("120")
    .help(
        "Seconds without a token, a finish reason or a usage",
        "Measured from the first of these on. Comments, pings and empty deltas do not count. `0` \
         means no limit.",
    ),
    Row::value("request-timeout-s", "F", |args, text| {
        float(text).map(|number| args.request_timeout_s = Some(number))
    })
    .default("600")
    .help(
        "Seconds for a whole request",
        "As the client of LMCache has it. `0` means no limit.",
    ),
    Row::switch("no-certificate", |args, text| {
        on_off(text).map(|on| args.no_certificate = Some(on))
    })
    .help(
        "Do not measure this program's own error first",
        "Leaves out the two-second replay of the plan against the built-in mock, and the line about it in \
         the report.",
    ),
];
