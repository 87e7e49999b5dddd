//! What unit tests of `engine` share: settings from flags, and the recorded data.

use std::path::{Path, PathBuf};

use crate::engine::args::{EngineArgs, WorkloadValues};
use crate::engine::config::{CacheFacts, EngineConfig};
use crate::engine::flags::TABLE;
use crate::engine::samples::record::Record;
use crate::engine::timestamp::Stamp;
use crate::engine::workload::Finished;
use crate::load::offer::Offer;

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

/// The load of these flags.
pub fn offer(flags: &[&str]) -> Offer {
    let config = config(&[&["--workload", "random-prefill"], flags].concat());
    config.load.offer.expect("flags about the load")
}

/// A request that succeeded.
pub fn finished(id: impl Into<String>, text: impl Into<String>) -> Finished {
    Finished {
        id: id.into(),
        succeeded: true,
        text: text.into(),
        ttft_s: 0.05,
        output_tokens: 1,
        cached_tokens: None,
    }
}

/// A record of a request that was due and sent at one time and ended with its only token at another, in nanoseconds.
pub fn succeeded(due_ns: i64, ended_ns: i64) -> Record {
    let mut record = Record::begin("r".into(), Stamp(due_ns), Stamp(due_ns));
    record.finished = Stamp(ended_ns);
    record.answer.first_token = Some(record.finished);
    record.answer.last_token = Some(record.finished);
    record
}

/// A file or folder of tests/golden/engine.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/engine")
        .join(name)
}
