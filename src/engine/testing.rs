//! What unit tests of `engine` share: settings from flags, and the recorded data.

use std::path::{Path, PathBuf};

use crate::engine::args::{EngineArgs, WorkloadValues};
use crate::engine::config::{CacheFacts, EngineConfig};
use crate::engine::flags::TABLE;
use crate::engine::workload::Finished;

/// What these flags give, without defaults.
pub fn given(words: &[&str]) -> EngineArgs {
    crate::cli::table_rules::typed(&TABLE, EngineArgs::default(), words)
}

/// What these flags give to workloads, defaults included.
pub fn workload_values(words: &[&str]) -> WorkloadValues {
    given(words).or(TABLE.presets()).workload_values
}

/// Settings with an engine URL, a model and 100 tokens per GB, unless the flags say otherwise.
pub fn config(words: &[&str]) -> EngineConfig {
    let args = given(&[&["--engine-url", "http://127.0.0.1:1", "--model", "m"], words].concat());
    let args = args.or(TABLE.presets());
    let tokens_per_gb = args.tokens_per_gb_kvcache.unwrap_or(100);
    let model = args.model.clone().unwrap_or_default();
    EngineConfig::resolve(&args, model, tokens_per_gb, CacheFacts::default()).unwrap()
}

/// A request that succeeded.
pub fn finished(id: impl Into<String>, text: impl Into<String>) -> Finished {
    Finished {
        id: id.into(),
        succeeded: true,
        text: text.into(),
        ttft_s: 0.05,
        output_tokens: 1,
    }
}

/// A file or folder of tests/golden/engine.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/engine")
        .join(name)
}
