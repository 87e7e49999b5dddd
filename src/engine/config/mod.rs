//! The settings of one `engine` run, resolved and checked against one another. A value of this type can be run; must
//! never hold anything that is still to be asked for, and never the API key.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use crate::cli::flag::Kind;
use crate::cli::shared::OutputArgs;
use crate::engine::flags::{EngineArgs, TABLE, WorkloadName};
use crate::error::Error;
use crate::python::big_int::BigInt;
use crate::url::{with_scheme, without_password};

mod workload;

pub use workload::{
    BREAKER_TOKENS, LongDocPermutator, LongDocQa, MultiRoundChat, PrefixSuffixTuner, RandomPrefill, WorkloadConfig,
    rag_is_absent,
};

/// What the reference fills answers up to when nobody says otherwise.
pub(super) const MAX_OUTPUT_DEFAULT: i64 = 128;
/// Flags that say where settings come from and results go.
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
/// Longer limits are no limits.
const TIMEOUT_S_MAX: f64 = 1e9;

#[derive(Clone, Debug, PartialEq)]
pub struct EngineConfig {
    /// As given; [`base_url`] makes the address of requests from it.
    pub engine_url: String,
    pub model: String,
    /// Whose counters are read as well.
    pub lmcache_url: Option<String>,
    pub workload: WorkloadConfig,
    pub kv_cache_volume_gb: f64,
    pub tokens_per_gb_kvcache: i64,
    pub seed: BigInt,
    pub ignore_eos: bool,
    /// Whether every event is to carry the engine's count.
    pub usage_per_event: bool,
    /// Whether the warmup requests are sent.
    pub warmup: bool,
    /// Where the tokenizer is, if `--tokenizer` says so.
    pub tokenizer: Option<PathBuf>,
    pub exact_lengths: bool,
    pub timeouts: Timeouts,
    /// Whether the client's own error is measured before the run.
    pub certificate: bool,
    pub output: OutputConfig,
    /// All settings by flag name, for the result file.
    pub settings: Map<String, Json>,
}

/// Where results go.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputConfig {
    /// Folder of `bench_results.csv` and `bench_summary.json`.
    pub folder: PathBuf,
    pub csv: bool,
    pub json_summary: bool,
    pub shared: OutputArgs,
    pub requests_jsonl: Option<PathBuf>,
}

/// Limits of one request; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Option<Duration>,
    pub first_token: Option<Duration>,
    pub stall: Option<Duration>,
    pub request: Option<Duration>,
}

impl EngineConfig {
    /// Checks the settings. In `args` everything with a default is set; `model` and `tokens_per_gb` are what was found.
    pub fn resolve(args: &EngineArgs, model: String, tokens_per_gb: i64) -> Result<EngineConfig, Error> {
        let engine_url = args.engine_url.clone().unwrap_or_default();
        if engine_url.trim().is_empty() {
            return Err(Error::Settings(
                "--engine-url is empty; give the engine's address, for example http://localhost:8000".into(),
            ));
        }
        let volume = args.kv_cache_volume.unwrap_or_default();
        positive("--kv-cache-volume", "kv_cache_volume_gb", volume)?;
        if tokens_per_gb <= 0 {
            return Err(Error::Settings(format!(
                "--tokens-per-gb-kvcache: tokens_per_gb_kvcache must be positive, got {tokens_per_gb}"
            )));
        }
        let name = args
            .workload
            .ok_or_else(|| Error::Internal("no workload to check".into()))?;
        check_max_output(args, name)?;
        let sizes = workload::Sizes {
            kv_tokens: volume * tokens_per_gb as f64,
            tokens_per_gb,
        };
        let settings = settings(args, &model, tokens_per_gb);
        Ok(EngineConfig {
            settings,
            workload: WorkloadConfig::resolve(args, name, &sizes)?,
            engine_url,
            model,
            lmcache_url: args.lmcache_url.clone(),
            kv_cache_volume_gb: volume,
            tokens_per_gb_kvcache: tokens_per_gb,
            seed: args.seed.clone().unwrap_or_default(),
            ignore_eos: args.ignore_eos.unwrap_or(false),
            usage_per_event: args.usage_per_event.unwrap_or(false),
            warmup: !args.no_warmup.unwrap_or(false),
            tokenizer: args.tokenizer.clone(),
            exact_lengths: args.exact_lengths.unwrap_or(false),
            timeouts: Timeouts::resolve(args)?,
            certificate: !args.no_certificate.unwrap_or(false),
            output: OutputConfig {
                folder: args.output_dir.clone().unwrap_or_else(|| PathBuf::from(".")),
                csv: !args.no_csv.unwrap_or(false),
                json_summary: args.json.unwrap_or(false),
                shared: OutputArgs {
                    format: args.format.unwrap_or_default(),
                    quiet: args.quiet.unwrap_or(false),
                    report_path: args.output.clone(),
                    saves: args.save.clone().unwrap_or_default(),
                },
                requests_jsonl: args.requests_jsonl.clone(),
            },
        })
    }

    /// `<base>`: requests go to `<base>/chat/completions`.
    pub fn base_url(&self) -> String {
        base_url(&self.engine_url)
    }
}

impl Timeouts {
    fn resolve(args: &EngineArgs) -> Result<Timeouts, Error> {
        Ok(Timeouts {
            connect: timeout("--connect-timeout-s", args.connect_timeout_s)?,
            first_token: timeout("--first-token-timeout-s", args.first_token_timeout_s)?,
            stall: timeout("--stall-timeout-s", args.stall_timeout_s)?,
            request: timeout("--request-timeout-s", args.request_timeout_s)?,
        })
    }
}

/// The address that requests start with, by the reference's rules: no trailing slashes, `http://` where there is no
/// scheme, `/v1` at the end. A port alone means this machine, as in the interactive mode; there is no host of that name.
/// A scheme in capitals is one, unlike in the reference, which takes `HTTP` for a host.
pub fn base_url(engine_url: &str) -> String {
    let url = engine_url.trim_end_matches('/');
    if !url.is_empty() && url.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("http://localhost:{url}/v1");
    }
    let version = if url.ends_with("/v1") { "" } else { "/v1" };
    format!("{}{version}", with_scheme(url))
}

/// What every flag has, and what was found out; without the flags of other workloads.
fn settings(args: &EngineArgs, model: &str, tokens_per_gb: i64) -> Map<String, Json> {
    let mut settings = Map::new();
    for spec in TABLE.specs() {
        let key = spec.long.replace('-', "_");
        if ABOUT_THE_COMMAND_LINE.contains(&spec.long) {
            continue;
        }
        let shown = |value: Json| match value {
            Json::String(url) if spec.long.ends_with("url") => without_password(&url).into(),
            other => other,
        };
        let off = (spec.kind == Kind::Switch).then_some(Json::Bool(false));
        let value = args.value(&key).or(off);
        settings.extend(value.map(|value| (spec.long.to_owned(), shown(value))));
    }
    settings.insert("model".into(), model.into());
    settings.insert("tokens-per-gb-kvcache".into(), tokens_per_gb.into());
    settings
}

/// The one flag that the reference checks against the workload: it has no meaning where answers have one token.
fn check_max_output(args: &EngineArgs, name: WorkloadName) -> Result<(), Error> {
    let given = args.ldqa_max_output_length.unwrap_or(MAX_OUTPUT_DEFAULT);
    let has_it = [
        WorkloadName::LongDocPermutator,
        WorkloadName::LongDocQa,
        WorkloadName::MultiRoundChat,
    ];
    if given == MAX_OUTPUT_DEFAULT || has_it.contains(&name) {
        return Ok(());
    }
    let supported: Vec<&str> = has_it.iter().map(|name| name.text()).collect();
    Err(Error::Settings(format!(
        "--ldqa-max-output-length {given} does not go with the workload {}, which has no max-output-length parameter; \
         leave it out, or take one of {}",
        name.text(),
        supported.join(", ")
    )))
}

fn positive(flag: &str, name: &str, value: f64) -> Result<(), Error> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::Settings(format!("{flag}: {name} must be positive, got {value}")))
}

/// 0 and what no clock can count to mean no limit.
fn timeout(flag: &str, seconds: Option<f64>) -> Result<Option<Duration>, Error> {
    let seconds = seconds.unwrap_or(0.0);
    if seconds < 0.0 || seconds.is_nan() {
        return Err(Error::Settings(format!(
            "{flag} must be a number of seconds, got {seconds}; 0 means no limit"
        )));
    }
    Ok((seconds > 0.0 && seconds < TIMEOUT_S_MAX).then(|| Duration::from_secs_f64(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> EngineArgs {
        crate::engine::testing::given(words).or(EngineArgs::presets())
    }

    fn resolved(words: &[&str]) -> Result<EngineConfig, Error> {
        EngineConfig::resolve(&args(words), "m".into(), 100)
    }

    fn refusal(words: &[&str]) -> String {
        resolved(words).expect_err("a refusal").to_string()
    }

    #[test]
    fn base_urls_follow_the_references_rules() {
        for (given, base) in [
            ("http://h:1", "http://h:1/v1"),
            ("http://h:1///", "http://h:1/v1"),
            ("https://h/v1/", "https://h/v1"),
            ("h:1/v1", "http://h:1/v1"),
            ("8000", "http://localhost:8000/v1"),
            ("HTTP://h", "http://h/v1"),
            ("HTTPS://h/v1/", "https://h/v1"),
        ] {
            assert_eq!(base_url(given), base);
        }
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
        let none = EngineConfig::resolve(&args(&ok), "m".into(), 0).expect_err("a refusal");
        assert!(
            none.to_string()
                .contains("tokens_per_gb_kvcache must be positive, got 0")
        );
    }

    #[test]
    fn a_foreign_maximum_is_refused_only_when_it_was_given() {
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
