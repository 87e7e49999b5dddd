//! The settings, target and latencies of the result file, from the samples.

use serde_json::{Map, Value as Json, json};

use super::config::RunConfig;
use super::samples::{Measured, OperationSamples, RunSamples};
use super::summary::RunFacts;
use crate::result::samples::{Samples, Table};
use crate::url::without_password;

/// Settings by flag name.
pub fn settings(config: &RunConfig, cache_salt: &str) -> Map<String, Json> {
    let settings = json!({
        "rpc-url": config.rpc_url.to_string(),
        "url": config.http_url.as_deref().map(without_password),
        "mode": config.mode.text(),
        "device": config.device,
        "transfer-mode": config.transfer_mode.text(),
        "tp-size": config.ranks,
        "num-tokens": config.num_tokens,
        "kvcache-shape-spec": config.shape.to_string(),
        "start": config.start,
        "end": config.end,
        "interval": config.interval.as_secs_f64(),
        "concurrency": config.clients,
        "block-allocation": config.block_allocation.text(),
        "salt": config.salted,
        "cache-salt": cache_salt,
        "checksum": config.checksum.name(),
        "wire": config.wire.text(),
        "seed": config.seed,
        "connect-timeout-s": config.connect_timeout.as_secs_f64(),
        "rpc-timeout-s": config.rpc_timeout.as_secs_f64(),
    });
    match settings {
        Json::Object(settings) => settings,
        _ => Map::new(),
    }
}

pub fn target(facts: &RunFacts<'_>) -> Map<String, Json> {
    let server = &facts.server;
    let target = json!({
        "protocol": server.generation.label,
        "release": server.release,
        "transfer": server.transport,
        "chunk_tokens": server.chunk_tokens,
        "chunk_bytes": server.chunk_bytes,
    });
    match target {
        Json::Object(target) => target,
        _ => Map::new(),
    }
}

/// For each kind of operation a table of the first operations, and a histogram of all latencies.
pub fn samples(run: &RunSamples) -> Samples {
    let mut samples = Samples::default();
    for operation in Measured::ALL {
        let (name, of) = (operation.key(), run.of(operation));
        let Some(histogram) = of.latency.histogram() else {
            continue;
        };
        let table = if of.bytes == 0 { lookups(of) } else { transfers(of) };
        samples.tables.insert(name.to_owned(), table);
        samples.histograms.insert(format!("{name}.latency"), histogram.into());
    }
    samples
}

fn lookups(of: &OperationSamples) -> Table {
    let mut table = Table::new(&[("latency_ms", Some("ms"))]);
    of.latency
        .exact_ms()
        .iter()
        .for_each(|ms| table.push(vec![(*ms).into()]));
    table.rows_left_out += of.latency.count() - of.latency.exact_ms().len() as u64;
    table
}

fn transfers(of: &OperationSamples) -> Table {
    let ms = Some("ms");
    let mut table = Table::new(&[("latency_ms", ms), ("wait_ms", ms), ("copy_ms", ms), ("cpu_ms", ms)]);
    let parts = of.wait.exact_ms().iter().zip(of.copy.exact_ms()).zip(of.cpu.exact_ms());
    for (latency, ((wait, copy), cpu)) in of.latency.exact_ms().iter().zip(parts) {
        table.push(vec![(*latency).into(), (*wait).into(), (*copy).into(), (*cpu).into()]);
    }
    table.rows_left_out += of.latency.count() - of.latency.exact_ms().len() as u64;
    table
}
