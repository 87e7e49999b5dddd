//! The flags of `engine` that every workload has.

use crate::cli::flag::{Flag, keep, on_off};
use crate::engine::args::EngineArgs;
use crate::engine::workload;
use crate::python::big_int::BigInt;
use crate::python::number::{float, int};
use crate::python::quote::quoted;

type Row = Flag<EngineArgs>;

pub(super) const FLAGS: &[Row] = &[
    Row::value("config", "PATH", |args, text| keep(&mut args.config, text)).help(
        "Read settings from a JSON file",
        "Keys are flag names with underscores, as `--export-config` writes them. The command line wins \
         over the file, the file over the defaults. Nothing is asked interactively. A file that LMCache \
         exported works here.",
    ),
    Row::value("export-config", "PATH", |args, text| {
        keep(&mut args.export_config, text)
    })
    .help(
        "Write the settings to a JSON file and exit",
        "Nothing is measured. The model name and the tokens per GB are found first, so that the file \
         stands alone; the URLs and the API key are left out. LMCache takes the file too.",
    ),
    Row::switch("no-interactive", |args, text| {
        on_off(text).map(|on| args.no_interactive = Some(on))
    })
    .help(
        "Never ask for what is missing",
        "Missing settings are then an error that lists them. Without this flag they are asked for.",
    ),
    Row::value("engine-url", "URL", |args, text| keep(&mut args.engine_url, text)).help(
        "Where the engine listens (required)",
        "`/v1` is added when the URL does not end with it, `http://` when it has no scheme. A port alone \
         means this machine.",
    ),
    Row::value("workload", "NAME", |args, text| {
        let found = workload::named(text).ok_or_else(|| format!("unknown workload {}", quoted(text)))?;
        args.workload = Some(found.name());
        Ok(())
    })
    .choices(&workload::NAMES)
    .help(
        "What is sent (required, but not with `--staircase`)",
        "Each has flags of its own below.",
    ),
    Row::value("tokens-per-gb-kvcache", "N", |args, text| {
        int(text).map(|n| args.tokens_per_gb_kvcache = Some(n))
    })
    .unset("as reported by `--lmcache-url`")
    .help(
        "Tokens of KV cache in one GB",
        "Sizes the workload; required unless `--lmcache-url` is given. From the start-up log of vLLM: the \
         tokens of the GPU KV cache divided by the GiB available to it.",
    ),
    Row::value("lmcache-url", "URL", |args, text| keep(&mut args.lmcache_url, text)).help(
        "LMCache server behind the engine",
        "Its HTTP address. It is asked for the tokens per GB when `--tokens-per-gb-kvcache` is absent, and \
         its counters tell where prompt tokens came from.",
    ),
    Row::value("model", "NAME", |args, text| keep(&mut args.model, text))
        .unset("the first model that the engine lists")
        .help(
            "Name of the model, as the engine serves it",
            "Permutator and tuner also take the tokenizer from here when this is a local folder with a \
             `tokenizer.json`.",
        ),
    Row::value("kv-cache-volume", "GB", |args, text| {
        float(text).map(|number| args.kv_cache_volume = Some(number))
    })
    .default("100.0")
    .help(
        "GB of KV cache that the requests fill",
        "Sets the number of documents or sessions of long-doc-qa and multi-round-chat. A GB is 2^30 bytes.",
    ),
    Row::value("seed", "N", |args, text| {
        BigInt::parse(text).map(|n| args.seed = Some(n))
    })
    .default("42")
    .help(
        "Seed of everything random",
        "Any whole number. The same seed gives the same requests as in LMCache.",
    ),
    Row::value("output-dir", "PATH", |args, text| keep(&mut args.output_dir, text))
        .default(".")
        .help(
            "Folder of the CSV and JSON files",
            "It is made when missing. `bench_results.csv` and `bench_summary.json` are written there.",
        ),
    Row::switch("no-csv", |args, text| on_off(text).map(|on| args.no_csv = Some(on))).help(
        "Write no bench_results.csv",
        "The file has one line for each measured request.",
    ),
    Row::switch("json", |args, text| on_off(text).map(|on| args.json = Some(on))).help(
        "Write bench_summary.json",
        "Settings and unrounded figures; for the report itself as JSON see `--format`.",
    ),
    Row::switch("quiet", |args, text| on_off(text).map(|on| args.quiet = Some(on)))
        .short('q')
        .help(
            "Print no progress",
            "The report is still printed at the end. LMCache prints no report with this flag.",
        ),
    Row::switch("ignore-eos", |args, text| {
        on_off(text).map(|on| args.ignore_eos = Some(on))
    })
    .help(
        "Ask the engine to go on after the end-of-text token",
        "Adds `ignore_eos: true` to every request, which vLLM and SGLang understand; answers then have \
         their full length.",
    ),
    Row::switch("no-warmup", |args, text| {
        on_off(text).map(|on| args.no_warmup = Some(on))
    })
    .help(
        "Leave out the warmup requests",
        "The measured requests then meet a cold cache.",
    ),
    Row::help_row(),
];
