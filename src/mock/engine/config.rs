//! The settings of a mock engine, checked against one another. Nothing is opened here.

use std::path::PathBuf;

use super::fault::Faults;
use super::metrics::MetricsOf;
use super::schedule::Pace;
use super::stall::Stall;
use crate::error::Error;
use crate::ledger::simulate::CacheSizes;
use crate::mock::engine::flags::{MockEngineArgs, TABLE};

/// All settings of `mock engine`. `Config::default()` is a fast engine on a free port of the loopback interface.
#[derive(Clone, Debug)]
pub struct Config {
    pub host: String,
    pub port: u16,
    pub model: String,
    pub max_model_len: u64,
    pub pace: Pace,
    /// Requests in service at a time; 0 is no limit.
    pub servers: u64,
    /// Counted from the arrival of the first request that is answered with tokens.
    pub stall: Stall,
    /// Tokens of an answer whose request names no number.
    pub default_tokens: u64,
    /// An answer ends after so many tokens unless the request has `ignore_eos`.
    pub eos_after: Option<u64>,
    pub tokens_per_event: u64,
    /// Events that may share one write when several are due.
    pub events_per_write: u64,
    pub tokenizer: Option<PathBuf>,
    pub api_key: Option<String>,
    pub cache: CacheSizes,
    pub tokens_per_gb: Option<u64>,
    pub metrics: MetricsOf,
    /// MiB before the counters.
    pub metrics_padding_mib: u64,
    pub metrics_restart_after: Option<u64>,
    /// Whether caches can be cleared by requests.
    pub resets: bool,
    pub log: Option<PathBuf>,
    pub log_events: bool,
    pub faults: Faults,
    /// The faults hit every n-th request.
    pub fault_every: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config::from_args(&TABLE.presets()).expect("a test checks the defaults")
    }
}

fn usage(flag: &str, sentence: impl std::fmt::Display) -> Error {
    Error::Usage(format!("lmcache-bench mock engine: --{flag} {sentence}"))
}

/// A whole number within bounds.
fn whole(flag: &str, value: i64, least: u64, most: u64) -> Result<u64, Error> {
    u64::try_from(value)
        .ok()
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| usage(flag, format_args!("must be {least} to {most}, got {value}")))
}

/// A number that is neither negative nor beyond `most`.
fn real(flag: &str, value: f64, most: f64) -> Result<f64, Error> {
    match (0.0..=most).contains(&value) {
        true => Ok(value),
        false => Err(usage(flag, format_args!("must be 0 to {most}, got {value}"))),
    }
}

/// Milliseconds as nanoseconds; an hour at most.
fn delay_ns(flag: &str, value_ms: f64) -> Result<u64, Error> {
    real(flag, value_ms, 3_600_000.0).map(|ms| (ms * 1e6).round() as u64)
}

/// Microseconds per token as nanoseconds; a second at most.
fn cost_ns(flag: &str, value_us: f64) -> Result<f64, Error> {
    real(flag, value_us, 1e6).map(|us| us * 1e3)
}

const TOKENS_MAX: u64 = 1 << 40;
const PADDING_MIB_MAX: u64 = 256;
const SERVERS_MAX: u64 = 65_536;
const STALL_S_MAX: f64 = 86_400.0;

impl Config {
    pub fn from_args(args: &MockEngineArgs) -> Result<Config, Error> {
        if args.model.is_empty() {
            return Err(usage("model", "must not be empty"));
        }
        let pace = Pace {
            ttft_ns: delay_ns("ttft-ms", args.ttft_ms)?,
            itl_ns: if args.flat_out {
                0
            } else {
                delay_ns("itl-ms", args.itl_ms)?
            },
            computed_token_ns: cost_ns("ttft-us-per-uncached-token", args.ttft_us_per_uncached_token)?,
            hbm_token_ns: cost_ns("hbm-us-per-token", args.hbm_us_per_token)?,
            dram_token_ns: cost_ns("dram-us-per-token", args.dram_us_per_token)?,
            disk_token_ns: cost_ns("disk-us-per-token", args.disk_us_per_token)?,
            dram_ns: delay_ns("dram-ms", args.dram_ms)?,
            disk_ns: delay_ns("disk-ms", args.disk_ms)?,
            jitter: real("jitter", args.jitter, 1.0)?,
            seed: args.seed as u64,
        };
        let faults = Faults::parse(&args.fault).map_err(|cause| usage("fault", format_args!("is wrong: {cause}")))?;
        Ok(Config {
            host: args.host.clone(),
            port: whole("port", args.port, 0, 65_535)? as u16,
            model: args.model.clone(),
            max_model_len: whole("max-model-len", args.max_model_len, 1, TOKENS_MAX)?,
            pace,
            stall: stall(args)?,
            servers: whole("servers", args.servers, 0, SERVERS_MAX)?,
            default_tokens: whole("default-tokens", args.default_tokens, 1, super::ask::ANSWER_TOKENS_MAX)?,
            eos_after: (args.eos_after)
                .map(|tokens| whole("eos-after", tokens, 1, super::ask::ANSWER_TOKENS_MAX))
                .transpose()?,
            tokens_per_event: whole("tokens-per-event", args.tokens_per_event, 1, 1024)?,
            events_per_write: whole("events-per-write", args.events_per_write, 1, 1024)?,
            tokenizer: args.tokenizer.clone(),
            api_key: args.api_key.clone(),
            cache: cache_sizes(args)?,
            tokens_per_gb: (args.tokens_per_gb)
                .map(|tokens| whole("tokens-per-gb", tokens, 1, 1 << 30))
                .transpose()?,
            metrics: args.metrics,
            metrics_padding_mib: whole("metrics-padding", args.metrics_padding, 0, PADDING_MIB_MAX)?,
            metrics_restart_after: (args.metrics_restart_after)
                .map(|answers| whole("metrics-restart-after", answers, 1, TOKENS_MAX))
                .transpose()?,
            resets: !args.no_reset,
            log: args.log.clone(),
            log_events: args.log_events,
            faults,
            fault_every: whole("fault-every", args.fault_every, 1, TOKENS_MAX)?,
        })
    }
}

/// The stall of the whole engine; empty without the flags.
fn stall(args: &MockEngineArgs) -> Result<Stall, Error> {
    let span_ns = |flag: &str, value: f64| real(flag, value, STALL_S_MAX).map(|seconds| (seconds * 1e9).round() as u64);
    match (args.stall_at, args.stall_for) {
        (None, None) => Ok(Stall::default()),
        (Some(_), None) => Err(usage("stall-at", "needs --stall-for, the length of the stall")),
        (None, Some(_)) => Err(usage("stall-for", "needs --stall-at, the beginning of the stall")),
        (Some(begin_s), Some(length_s)) => {
            let begin_ns = span_ns("stall-at", begin_s)?;
            Ok(Stall {
                begin_ns,
                end_ns: begin_ns + span_ns("stall-for", length_s)?,
            })
        }
    }
}

fn cache_sizes(args: &MockEngineArgs) -> Result<CacheSizes, Error> {
    let tier = |name: &str, tokens: i64, gb: Option<f64>| -> Result<u64, Error> {
        let Some(gb) = gb else {
            return whole(&format!("{name}-tokens"), tokens, 0, TOKENS_MAX);
        };
        let flag = format!("{name}-gb");
        let per_gb = args
            .tokens_per_gb
            .ok_or_else(|| usage(&flag, "needs --tokens-per-gb to become a number of tokens"))?;
        Ok((real(&flag, gb, 1e6)? * whole("tokens-per-gb", per_gb, 1, 1 << 30)? as f64) as u64)
    };
    let block_tokens = whole("block-tokens", args.block_tokens, 1, 1 << 20)?;
    let chunk_tokens = whole("chunk-tokens", args.chunk_tokens, 1, 1 << 20)?;
    Ok(CacheSizes {
        hbm_tokens: tier("hbm", args.hbm_tokens, args.hbm_gb)?,
        dram_tokens: tier("dram", args.dram_tokens, args.dram_gb)?,
        disk_tokens: tier("disk", args.disk_tokens, args.disk_gb)?,
        block_tokens: block_tokens as usize,
        chunk_tokens: chunk_tokens as usize,
        blend: args.blend,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: fn(&mut MockEngineArgs)) -> String {
        let mut args = TABLE.presets();
        change(&mut args);
        Config::from_args(&args).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_accepted() {
        let config = Config::default();
        assert_eq!((config.host.as_str(), config.port), ("127.0.0.1", 0));
        assert_eq!((config.pace.ttft_ns, config.pace.itl_ns), (20_000_000, 5_000_000));
        assert_eq!(config.cache.hbm_tokens, 0);
    }

    #[test]
    fn refusals_name_the_flag() {
        assert!(refused(|args| args.port = 65_536).contains("--port must be 0 to 65535"));
        assert!(refused(|args| args.ttft_ms = -1.0).contains("--ttft-ms must be 0 to"));
        assert!(refused(|args| args.itl_ms = f64::NAN).contains("--itl-ms"));
        assert!(refused(|args| args.dram_ms = -1.0).contains("--dram-ms must be 0 to"));
        assert!(refused(|args| args.disk_ms = 1e9).contains("--disk-ms must be 0 to"));
        assert!(refused(|args| args.servers = -1).contains("--servers must be 0 to 65536"));
        assert!(refused(|args| args.stall_at = Some(1.0)).contains("--stall-at needs --stall-for"));
        assert!(refused(|args| args.stall_for = Some(1.0)).contains("--stall-for needs --stall-at"));
        let endless = |args: &mut MockEngineArgs| (args.stall_at, args.stall_for) = (Some(0.0), Some(f64::INFINITY));
        assert!(refused(endless).contains("--stall-for must be 0 to 86400"));
        assert!(refused(|args| args.metrics_padding = 257).contains("--metrics-padding must be 0 to 256"));
        assert!(refused(|args| args.metrics_restart_after = Some(0)).contains("--metrics-restart-after must be 1 to"));
        assert!(refused(|args| args.jitter = 1.5).contains("--jitter"));
        assert!(refused(|args| args.dram_gb = Some(1.0)).contains("--dram-gb needs --tokens-per-gb"));
        assert!(refused(|args| args.fault = "reste".into()).contains("unknown fault"));
        assert!(refused(|args| args.model.clear()).contains("--model must not be empty"));
    }

    #[test]
    fn sizes_in_gb_become_tokens() {
        let args = MockEngineArgs {
            tokens_per_gb: Some(1000),
            hbm_gb: Some(1.5),
            ..TABLE.presets()
        };
        assert_eq!(Config::from_args(&args).unwrap().cache.hbm_tokens, 1500);
    }
}
