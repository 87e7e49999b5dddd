//! The command line of `mock engine` as typed values; `config` checks them.

use std::path::PathBuf;

use super::metrics::MetricsOf;

mod page;
mod table;

pub use page::page;
pub use table::TABLE;

/// The command line of `mock engine` as typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MockEngineArgs {
    pub host: String,
    pub port: i64,
    pub model: String,
    pub api_key: Option<String>,
    pub max_model_len: i64,
    pub tokenizer: Option<PathBuf>,
    pub log: Option<PathBuf>,
    pub log_events: bool,
    pub ttft_ms: f64,
    pub itl_ms: f64,
    pub flat_out: bool,
    pub servers: i64,
    pub stall_at: Option<f64>,
    pub stall_for: Option<f64>,
    pub jitter: f64,
    pub seed: i64,
    pub tokens_per_event: i64,
    pub events_per_write: i64,
    pub default_tokens: i64,
    pub eos_after: Option<i64>,
    pub ttft_us_per_uncached_token: f64,
    pub hbm_us_per_token: f64,
    pub dram_us_per_token: f64,
    pub disk_us_per_token: f64,
    pub dram_ms: f64,
    pub disk_ms: f64,
    pub hbm_tokens: i64,
    pub dram_tokens: i64,
    pub disk_tokens: i64,
    pub tokens_per_gb: Option<i64>,
    pub hbm_gb: Option<f64>,
    pub dram_gb: Option<f64>,
    pub disk_gb: Option<f64>,
    pub block_tokens: i64,
    pub chunk_tokens: i64,
    pub blend: bool,
    pub metrics: MetricsOf,
    pub metrics_padding: i64,
    pub metrics_restart_after: Option<i64>,
    pub no_reset: bool,
    pub fault: String,
    pub fault_every: i64,
}
