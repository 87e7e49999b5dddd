//! The flags of `engine` that every workload has, a row each.

use std::path::PathBuf;

use crate::cli::flag::{Flag, FlagSpec, Group, Kind, Preset, on_off};
use crate::engine::args::EngineArgs;
use crate::engine::workload;
use crate::python::big_int::BigInt;
use crate::python::number::{float, int, quoted};

const OPTIONS: Group = Group {
    title: "Options",
    of_reference: true,
};

pub(super) const FLAGS: &[Flag<EngineArgs>] = &[
    Flag {
        spec: FlagSpec {
            long: "config",
            value_name: "PATH",
            group: &OPTIONS,
            help: "Read settings from a JSON file",
            detail: "Keys are flag names with underscores, as `--export-config` writes them. The command line wins \
                     over the file, the file over the defaults. Nothing is asked interactively. A file that LMCache \
                     exported works here.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.config = Some(PathBuf::from(text));
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "export-config",
            value_name: "PATH",
            group: &OPTIONS,
            help: "Write the settings to a JSON file and end",
            detail: "Nothing is measured. The model name and the tokens per GB are found first, so that the file \
                     stands alone; the URLs and the API key are left out. LMCache takes the file too.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.export_config = Some(PathBuf::from(text));
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "no-interactive",
            kind: Kind::Switch,
            group: &OPTIONS,
            help: "Never ask for what is missing",
            detail: "Missing settings are then an error that lists them. Without this flag they are asked for.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.no_interactive = Some(on)),
    },
    Flag {
        spec: FlagSpec {
            long: "engine-url",
            value_name: "URL",
            group: &OPTIONS,
            help: "Where the engine listens (required)",
            detail: "`/v1` is added when the URL does not end with it, `http://` when it has no scheme. A port alone means this \
                     machine.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.engine_url = Some(text.to_string());
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "workload",
            value_name: "NAME",
            choices: &workload::NAMES,
            group: &OPTIONS,
            help: "What is sent (required)",
            detail: "Each has flags of its own below; a workload without any is not in this build.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            let found = workload::named(text).ok_or_else(|| format!("unknown workload {}", quoted(text)))?;
            args.workload = Some(found.name());
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "tokens-per-gb-kvcache",
            value_name: "N",
            preset: Preset::Unset("asked of `--lmcache-url`"),
            group: &OPTIONS,
            help: "Tokens of KV cache in one GB",
            detail: "Sizes the workload; required unless `--lmcache-url` is given. From the start-up log of vLLM: the \
                     tokens of the GPU KV cache divided by the GiB available to it.",
            ..FlagSpec::BLANK
        },
        set: |args, text| int(text).map(|n| args.tokens_per_gb_kvcache = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "lmcache-url",
            value_name: "URL",
            group: &OPTIONS,
            help: "LMCache server behind the engine",
            detail: "Its HTTP address. It is asked for the tokens per GB when `--tokens-per-gb-kvcache` is absent, and its \
                     counters tell where prompt tokens came from.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.lmcache_url = Some(text.to_string());
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "model",
            value_name: "NAME",
            preset: Preset::Unset("the first model that the engine lists"),
            group: &OPTIONS,
            help: "Name of the model, as the engine serves it",
            detail: "Permutator and tuner also take the tokenizer from here when this is a local folder with a \
                     `tokenizer.json`.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.model = Some(text.to_string());
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "kv-cache-volume",
            value_name: "GB",
            preset: Preset::Text("100.0"),
            group: &OPTIONS,
            help: "GB of KV cache that the requests fill",
            detail: "Sets the number of documents or sessions of long-doc-qa and multi-round-chat. A GB is 2^30 \
                     bytes.",
            ..FlagSpec::BLANK
        },
        set: |args, text| float(text).map(|number| args.kv_cache_volume = Some(number)),
    },
    Flag {
        spec: FlagSpec {
            long: "seed",
            value_name: "N",
            preset: Preset::Text("42"),
            group: &OPTIONS,
            help: "Seed of everything random",
            detail: "Any whole number. The same seed gives the same requests as in LMCache.",
            ..FlagSpec::BLANK
        },
        set: |args, text| BigInt::parse(text).map(|n| args.seed = Some(n)),
    },
    Flag {
        spec: FlagSpec {
            long: "output-dir",
            value_name: "PATH",
            preset: Preset::Text("."),
            group: &OPTIONS,
            help: "Folder of the CSV and JSON files",
            detail: "It is made when missing. `bench_results.csv` and `bench_summary.json` are written there.",
            ..FlagSpec::BLANK
        },
        set: |args, text| {
            args.output_dir = Some(PathBuf::from(text));
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "no-csv",
            kind: Kind::Switch,
            group: &OPTIONS,
            help: "Write no bench_results.csv",
            detail: "The file has one line for each measured request.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.no_csv = Some(on)),
    },
    Flag {
        spec: FlagSpec {
            long: "json",
            kind: Kind::Switch,
            group: &OPTIONS,
            help: "Write bench_summary.json",
            detail: "Settings and unrounded figures; for the report itself as JSON see `--format`.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.json = Some(on)),
    },
    Flag {
        spec: FlagSpec {
            long: "quiet",
            short: Some('q'),
            kind: Kind::Switch,
            group: &OPTIONS,
            help: "Print no progress",
            detail: "The report is still printed at the end. LMCache leaves it out too.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.quiet = Some(on)),
    },
    Flag {
        spec: FlagSpec {
            long: "ignore-eos",
            kind: Kind::Switch,
            group: &OPTIONS,
            help: "Ask the engine to go on after the end-of-text token",
            detail: "Adds `ignore_eos: true` to every request, which vLLM and SGLang understand; answers then have \
                     their full length.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.ignore_eos = Some(on)),
    },
    Flag {
        spec: FlagSpec {
            long: "no-warmup",
            kind: Kind::Switch,
            group: &OPTIONS,
            help: "Leave out the warmup requests",
            detail: "The measured requests then meet a cold cache.",
            ..FlagSpec::BLANK
        },
        set: |args, text| on_off(text).map(|on| args.no_warmup = Some(on)),
    },
    Flag {
        spec: FlagSpec::help_flag(&OPTIONS),
        set: |_, _| Ok(()),
    },
];
