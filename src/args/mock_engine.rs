//! The command line of `mock engine` as typed values. Must never check a value against another or a range: that is the
//! config's part.

use std::path::PathBuf;

mod page;
mod table;

pub use page::page;
pub use table::TABLE;

/// The command line of `mock engine` as typed.
#[derive(Clone, Debug, PartialEq)]
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
    pub fault: String,
    pub fault_every: i64,
}

impl Default for MockEngineArgs {
    /// What a command line without flags means.
    fn default() -> MockEngineArgs {
        let mut args = MockEngineArgs {
            host: String::new(),
            port: 0,
            model: String::new(),
            api_key: None,
            max_model_len: 0,
            tokenizer: None,
            log: None,
            log_events: false,
            ttft_ms: 0.0,
            itl_ms: 0.0,
            flat_out: false,
            jitter: 0.0,
            seed: 0,
            tokens_per_event: 0,
            events_per_write: 0,
            default_tokens: 0,
            eos_after: None,
            ttft_us_per_uncached_token: 0.0,
            hbm_us_per_token: 0.0,
            dram_us_per_token: 0.0,
            disk_us_per_token: 0.0,
            hbm_tokens: 0,
            dram_tokens: 0,
            disk_tokens: 0,
            tokens_per_gb: None,
            hbm_gb: None,
            dram_gb: None,
            disk_gb: None,
            block_tokens: 0,
            chunk_tokens: 0,
            blend: false,
            fault: String::new(),
            fault_every: 0,
        };
        TABLE
            .apply_presets(&mut args)
            .expect("a test hands every default to its setter");
        args
    }
}
