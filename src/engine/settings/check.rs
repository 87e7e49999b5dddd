//! Checks typed settings and builds the [`EngineConfig`]. Error messages are LMCache's where it has one.

use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::{cache as tiers, load};
use crate::cli::flag::Kind;
use crate::cli::range::SETTINGS;
use crate::cli::shared::OutputArgs;
use crate::engine::args::{Endpoint, EngineArgs, WorkloadValues};
use crate::engine::config::load::RunPlan;
use crate::engine::config::{CacheFacts, EngineConfig, OutputConfig, Sizes, Timeouts, WorkloadConfig};
use crate::engine::flags::TABLE;
use crate::engine::workload::custom::check_read_again;
use crate::engine::workload::descriptor::Descriptor;
use crate::engine::workload::{self, extra_body};
use crate::error::Error;
use crate::url::without_password;

/// Longer timeouts mean no limit: they would overflow an `Instant`.
const TIMEOUT_S_MAX: f64 = 1e9;
/// Flags about the source of settings, and the output flags that every command has. They are not recorded.
const ABOUT_THE_COMMAND_LINE: [&str; 8] = [
    "help",
    "config",
    "export-config",
    "no-interactive",
    "format",
    "output",
    "quiet",
    "save",
];

impl EngineConfig {
    /// Checks the settings. `args` has every default filled in; `model` and `tokens_per_gb` are typed or looked up, the latter
    /// 0 where the workload does without. `cache` is the default value where the server was not asked.
    pub fn resolve(
        args: &EngineArgs,
        model: String,
        tokens_per_gb: i64,
        cache: CacheFacts,
    ) -> Result<EngineConfig, Error> {
        let engine_url = args.engine_url.clone().unwrap_or_default();
        if engine_url.trim().is_empty() {
            return Err(Error::Settings(
                "--engine-url is empty; give the engine's address, for example http://localhost:8000".into(),
            ));
        }
        let volume = args.kv_cache_volume.unwrap_or_default();
        SETTINGS.above_zero("--kv-cache-volume: kv_cache_volume_gb", volume, "positive")?;
        let endpoint = args.endpoint.unwrap_or(Endpoint::Chat);
        let load = load::resolve(args)?;
        let sizes = Sizes::new(volume, tokens_per_gb).with_l1(&cache.l1);
        let workload = match load.plan {
            RunPlan::Staircase { .. } => WorkloadConfig::of_staircase(),
            _ => of_workload(args, endpoint, &sizes)?,
        };
        check_extra_body(args, &workload.values)?;
        match load.plan {
            RunPlan::Single | RunPlan::Staircase { .. } => {}
            RunPlan::Sweep { .. } => check_read_again(&workload.values, "--sweep")?,
            RunPlan::FindMax { .. } => check_read_again(&workload.values, "--find-max")?,
        }
        let tiers = tiers::resolve(args, load.plan == RunPlan::Single)?;
        // Seconds of several loads are not kept.
        let tables: &'static [&'static str] = if load.plan.is_single() { &["series"] } else { &[] };
        Ok(EngineConfig {
            settings: recorded(args, &workload.values, &model, tokens_per_gb),
            workload,
            engine_url,
            model,
            lmcache_url: args.lmcache_url.clone(),
            kv_cache_volume_gb: volume,
            tokens_per_gb_kvcache: tokens_per_gb,
            cache,
            seed: args.seed.clone().unwrap_or_default(),
            step: 0,
            ignore_eos: args.ignore_eos.unwrap_or(false),
            usage_per_event: args.usage_per_event.unwrap_or(false),
            endpoint,
            extra_body: args.extra_body.clone(),
            warmup: !args.no_warmup.unwrap_or(false),
            tokenizer: args.tokenizer.clone(),
            exact_lengths: args.exact_lengths.unwrap_or(false),
            timeouts: timeouts(args)?,
            load,
            tiers,
            certificate: !args.no_certificate.unwrap_or(false),
            output: OutputConfig {
                folder: args.output_dir.clone().unwrap_or_default(),
                csv: !args.no_csv.unwrap_or(false),
                json_summary: args.json.unwrap_or(false),
                shared: OutputArgs {
                    format: args.format.unwrap_or_default(),
                    quiet: args.quiet.unwrap_or(false),
                    report_path: args.output.clone(),
                    saves: args.save.clone().unwrap_or_default(),
                    tables,
                },
                requests_jsonl: args.requests_jsonl.clone(),
            },
        })
    }
}

/// The checked workload of `--workload`.
fn of_workload(args: &EngineArgs, endpoint: Endpoint, sizes: &Sizes) -> Result<WorkloadConfig, Error> {
    let name = args
        .workload
        .ok_or_else(|| Error::Internal("no workload to check".into()))?;
    let workload = name.descriptor();
    if sizes.tokens_per_gb < i64::from(workload.needs_cache_size()) {
        let what = "--tokens-per-gb-kvcache: tokens_per_gb_kvcache";
        return Err(SETTINGS.refusal(what, sizes.tokens_per_gb, "positive"));
    }
    workload::check(workload, &args.workload_values, sizes)?;
    workload.check_endpoint(endpoint)?;
    let values = own_values(workload, args);
    Ok(WorkloadConfig::new(name, workload.prompt_text, values))
}

/// Refuses a key of `--extra-body` that a flag of this command line sets too. Keys that are never free are refused where the
/// flag is read.
fn check_extra_body(args: &EngineArgs, own: &WorkloadValues) -> Result<(), Error> {
    let has_kwargs = !own.texts("rag-template-kwargs").is_empty();
    let set_by_flags = [
        ("ignore_eos", "--ignore-eos", args.ignore_eos == Some(true)),
        ("chat_template_kwargs", "--rag-template-kwargs", has_kwargs),
    ];
    let keys = match &args.extra_body {
        Some(text) => extra_body::keys(text).map_err(|why| Error::Usage(format!("--extra-body: {why}")))?,
        None => return Ok(()),
    };
    let twice = set_by_flags
        .iter()
        .find(|(key, _, given)| *given && keys.iter().any(|held| held == key));
    match twice {
        None => Ok(()),
        Some((key, flag, _)) => Err(Error::Usage(format!(
            "--extra-body has the key {key}, which {flag} sets too; leave one of them out"
        ))),
    }
}

/// The values of the workload's flags.
fn own_values(workload: &Descriptor, args: &EngineArgs) -> WorkloadValues {
    let mut values = WorkloadValues::default();
    for flag in workload.flags.iter().chain(workload.added_flags) {
        if let Some(value) = args.workload_values.get(flag.row.spec.long) {
            values.set(flag.row.spec.long, value.clone());
        }
    }
    values
}

/// The settings in the result file: every flag except those above and those of other workloads, with the looked-up values.
fn recorded(args: &EngineArgs, own: &WorkloadValues, model: &str, tokens_per_gb: i64) -> Map<String, Json> {
    let general = EngineArgs {
        workload_values: own.clone(),
        ..args.clone()
    };
    let mut settings = Map::new();
    for spec in TABLE.specs() {
        if ABOUT_THE_COMMAND_LINE.contains(&spec.long) {
            continue;
        }
        let shown = |value: Json| match value {
            Json::String(url) if spec.long.ends_with("url") => without_password(&url).into(),
            other => other,
        };
        let off = (spec.kind == Kind::Switch).then_some(Json::Bool(false));
        let value = general.value(&spec.long.replace('-', "_")).or(off);
        settings.extend(value.map(|value| (spec.long.to_owned(), shown(value))));
    }
    settings.insert("model".into(), model.into());
    if tokens_per_gb > 0 {
        settings.insert("tokens-per-gb-kvcache".into(), tokens_per_gb.into());
    }
    settings
}

fn timeouts(args: &EngineArgs) -> Result<Timeouts, Error> {
    Ok(Timeouts {
        connect: timeout("--connect-timeout-s", args.connect_timeout_s)?,
        first_token: timeout("--first-token-timeout-s", args.first_token_timeout_s)?,
        stall: timeout("--stall-timeout-s", args.stall_timeout_s)?,
        request: timeout("--request-timeout-s", args.request_timeout_s)?,
    })
}

/// A timeout in seconds. 0 and values from [`TIMEOUT_S_MAX`] on mean no limit.
fn timeout(flag: &str, seconds: Option<f64>) -> Result<Option<Duration>, Error> {
    let seconds = seconds.unwrap_or(0.0);
    if seconds < 0.0 || seconds.is_nan() {
        let given = format!("{seconds}; 0 means no limit");
        return Err(SETTINGS.refusal(flag, given, "a number of seconds"));
    }
    Ok((seconds > 0.0 && seconds < TIMEOUT_S_MAX).then(|| Duration::from_secs_f64(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> EngineArgs {
        crate::engine::testing::given(words).or(TABLE.presets())
    }

    fn resolved(words: &[&str]) -> Result<EngineConfig, Error> {
        EngineConfig::resolve(&args(words), "m".into(), 100, CacheFacts::default())
    }

    fn refusal(words: &[&str]) -> String {
        resolved(words).expect_err("a refusal").to_string()
    }

    #[test]
    fn settings_are_checked_as_the_reference_checks_them() {
        let ok = ["--engine-url", "u", "--workload", "random-prefill"];
        let config = resolved(&ok).unwrap();
        assert_eq!(
            (config.model.as_str(), config.warmup, config.certificate),
            ("m", true, true)
        );
        assert_eq!(config.timeouts.connect, Some(Duration::from_secs(10)));
        assert_eq!(config.timeouts.request, Some(Duration::from_secs(600)));
        let without = resolved(&[&ok[..], &["--request-timeout-s", "0"]].concat()).unwrap();
        assert_eq!(without.timeouts.request, None);
        let with = |more: &[&str]| refusal(&[&ok[..], more].concat());
        assert!(refusal(&["--engine-url", "", "--workload", "random-prefill"]).contains("--engine-url is empty"));
        assert!(with(&["--kv-cache-volume", "0"]).contains("kv_cache_volume_gb must be positive, got 0"));
        assert!(with(&["--kv-cache-volume", "nan"]).contains("must be positive, got NaN"));
        assert!(with(&["--kv-cache-volume", "inf"]).contains("must be positive, got inf"));
        assert!(with(&["--stall-timeout-s", "-1"]).contains("--stall-timeout-s must be a number of seconds"));
        assert!(
            with(&["--ldqa-max-output-length", "5"]).contains("long-doc-permutator, long-doc-qa, multi-round-chat")
        );
        let none = EngineConfig::resolve(&args(&ok), "m".into(), 0, CacheFacts::default()).expect_err("a refusal");
        assert!(
            none.to_string()
                .contains("tokens_per_gb_kvcache must be positive, got 0")
        );
    }

    #[test]
    fn the_maximum_of_another_workload_is_refused_only_when_typed() {
        let chat = [
            "--engine-url",
            "u",
            "--workload",
            "multi-round-chat",
            "--ldqa-max-output-length",
            "5",
        ];
        assert!(resolved(&chat).is_ok());
        let tuner = [
            "--engine-url",
            "u",
            "--workload",
            "prefix-suffix-tuner",
            "--ldqa-max-output-length",
            "128",
        ];
        assert!(resolved(&tuner).is_ok());
    }
}
