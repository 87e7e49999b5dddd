//! The settings, target, rounds and histograms of the result file, from the samples.

use serde_json::{Map, Value as Json, json};

use super::config::RunConfig;
use super::samples::PhaseSamples;
use super::summary::RunFacts;
use crate::result::samples::{Samples, Table};
use crate::stats::histogram::LatencyHistogram;
use crate::units::duration_ns;

/// Settings by flag name. Passwords and keys in the adapter JSON are masked.
pub fn settings(config: &RunConfig, adapter_json: &str) -> Map<String, Json> {
    let operations: Vec<&str> = config.operations.iter().map(|operation| operation.text()).collect();
    let python = config.python.as_ref().map(|path| path.display().to_string());
    let settings = json!({
        "l2-adapter": adapter_json,
        "num-keys": config.plan.num_keys(),
        "in-flight": config.plan.in_flight(),
        "data-size-kb": config.data_size_kb,
        "l1-align-bytes": config.align_bytes,
        "l1-use-hugepages": config.huge_pages,
        "rounds": config.rounds,
        "warmup-rounds": config.warmup_rounds,
        "lookup-max-hit-rate": config.lookup_max_hit_rate,
        "skip-verify": !config.verify,
        "operations": operations,
        "cold": config.cold,
        "seed": config.seed,
        "round-timeout-s": config.round_timeout.map(|timeout| timeout.as_secs_f64()),
        "io-engine": config.io_engine.text(),
        "io-depth": config.io_depth,
        "fdatasync": config.fdatasync,
        "recycle": config.recycle,
        "probe": config.probe,
        "via": config.via.map(|via| via.text()),
        "python": python,
        "apply-serde": config.apply_serde,
    });
    match settings {
        Json::Object(settings) => settings,
        _ => Map::new(),
    }
}

/// The file system and the device behind the storage path.
pub fn target(facts: &RunFacts<'_>) -> Map<String, Json> {
    let mut target = Map::new();
    target.insert("adapter".into(), facts.adapter_class.into());
    if let Some(path) = &facts.storage_path {
        let known = [
            ("path", Some(path.clone())),
            ("file_system", facts.storage.file_system.clone()),
            ("device", facts.storage.device.clone()),
            ("device_model", facts.storage.model.clone()),
        ];
        let known = known
            .into_iter()
            .filter_map(|(name, text)| Some((name.to_owned(), text?.into())));
        target.extend(known);
    }
    target
}

/// The table `rounds`, and for each operation the histograms of its steps, `store.service` and so on.
pub fn samples(phases: &[PhaseSamples]) -> Samples {
    let mut rounds = Table::new(&[
        ("operation", None),
        ("round", None),
        ("duration_ns", Some("ns")),
        ("success_keys", None),
        ("moved_bytes", Some("bytes")),
        ("probe_ns", Some("ns")),
        ("probe_fresh_ns", Some("ns")),
    ]);
    let mut samples = Samples::default();
    for phase in phases {
        let operation = phase.operation.text();
        for (number, round) in phase.rounds.iter().enumerate() {
            let written = round.probe.map(|slice| duration_ns(slice.written));
            let fresh = round.probe.and_then(|slice| slice.fresh).map(duration_ns);
            rounds.push(vec![
                operation.into(),
                (number as u64).into(),
                duration_ns(round.duration).into(),
                round.success.into(),
                round.moved_bytes.into(),
                written.into(),
                fresh.into(),
            ]);
        }
        let latencies = &phase.latencies;
        let steps: [(&str, &LatencyHistogram); 7] = [
            ("queued", &latencies.queued),
            ("open", &latencies.open),
            ("transfer", &latencies.transfer),
            ("publish", &latencies.publish),
            ("service", &latencies.service),
            ("task_slat", &latencies.task_slat),
            ("task_clat", &latencies.task_clat),
        ];
        for (step, histogram) in steps.into_iter().filter(|(_, histogram)| !histogram.is_empty()) {
            samples
                .histograms
                .insert(format!("{operation}.{step}"), histogram.into());
        }
    }
    samples.tables.insert("rounds".into(), rounds);
    samples
}
