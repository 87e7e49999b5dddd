//! LMCache's recorded summaries, recomputed from its raw rounds. Where LMCache is wrong, a table lists the value expected here.

use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::*;
use crate::l2::adapter::IoPath;
use crate::l2::flags::{L2Args, TABLE};
use crate::report::Renderer;
use crate::report::json::ReferenceJson;

fn number(value: &Json) -> i64 {
    value.as_i64().expect("a whole number")
}

fn config(args: &Json) -> RunConfig {
    let only = |name: &str| match name {
        "store" => Operation::Store,
        "lookup" => Operation::Lookup,
        _ => Operation::Load,
    };
    let args = L2Args {
        num_keys: number(&args["num_keys"]),
        in_flight: number(&args["in_flight"]),
        data_size_kb: number(&args["data_size_kb"]),
        rounds: number(&args["rounds"]),
        warmup_rounds: number(&args["warmup_rounds"]),
        lookup_max_hit_rate: args["lookup_max_hit_rate"].as_f64().expect("a rate"),
        only: args["only"].as_str().map(only),
        ..TABLE.presets()
    };
    RunConfig::resolve(&args, None).expect("the vectors are valid runs")
}

/// The samples that the runner would have collected for these raw rounds.
fn phase(raw: &Json, config: &RunConfig) -> PhaseSamples {
    let operation = match raw["operation"].as_str() {
        Some("Store") => Operation::Store,
        Some("Lookup") => Operation::Lookup,
        _ => Operation::Load,
    };
    let io_path = IoPath {
        name: String::new(),
        depth: 1,
    };
    let mut phase = PhaseSamples::new(operation, io_path, ["Create", "Transfer", "Rename"]);
    let warmup = usize::try_from(config.warmup_rounds).expect("small");
    let durations = raw["round_durations_s_including_warmup"].as_array().expect("a list");
    let counts = raw["success_counts_including_warmup"].as_array().expect("a list");
    for (duration, count) in durations.iter().zip(counts).skip(warmup) {
        let success = count.as_u64().expect("a count");
        let bytes = if operation == Operation::Lookup {
            0
        } else {
            config.object_bytes as u64
        };
        phase.rounds.push(Round {
            duration: Duration::from_secs_f64(duration.as_f64().expect("seconds")),
            success,
            moved_bytes: success * bytes,
            probe: None,
        });
    }
    phase
}

fn recomputed(case: &Json) -> Json {
    let config = config(&case["args"]);
    let phases: Vec<PhaseSamples> = case["operations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|raw| phase(raw, &config))
        .collect();
    let facts = RunFacts {
        config: &config,
        adapter_json: r#"{"type":"fs","base_path":"l2dir"}"#,
        knows_device: true,
        storage_path: None,
        storage: Storage::default(),
        interrupted: None,
        adapter_sections: Vec::new(),
        adapter_class: "Fs",
        started: Instant::now(),
    };
    serde_json::from_slice(&ReferenceJson.render(&result(&facts, &phases, Vec::new()))).expect("JSON")
}

#[test]
fn the_references_sections_are_recomputed_to_the_digit() {
    let vectors = include_str!("../../../tests/golden/l2-report-vectors.json");
    let vectors: Json = serde_json::from_str(vectors).expect("the fixture is JSON");
    // (case, section, key) -> ours. One key of the last load round failed: its bytes and its operation do not count.
    // Hits are not scaled for warmup a second time.
    let mended: [(&str, &str, &str, f64); 5] = [
        ("three_ops", "op_1", "expected_hit_count", 12.0),
        ("three_ops", "op_2", "throughput_avg_mbps", 44.6),
        ("three_ops", "op_2", "throughput_min_mbps", 25.61),
        ("three_ops", "op_2", "ops_per_sec_avg", 2854.15),
        ("lookup_rate_over_one", "op_0", "expected_hit_count", 4.0),
    ];
    for name in [
        "three_ops",
        "one_round_no_warmup",
        "hundred_rounds",
        "lookup_rate_over_one",
    ] {
        let cases = vectors["cases"].as_array().expect("a list");
        let case = cases.iter().find(|case| case["case"] == name).expect("a known case");
        let ours = recomputed(case);
        let text = case["json"].as_str().expect("a text");
        let theirs: Json = serde_json::from_str(text).expect("the fixture is JSON");
        for (section, entries) in theirs["metrics"].as_object().expect("an object") {
            for (key, value) in entries.as_object().expect("an object") {
                let found = &ours["metrics"][section][key];
                match mended.iter().find(|row| (row.0, row.1, row.2) == (name, section, key)) {
                    Some((.., ours)) => assert_eq!(found.as_f64(), Some(*ours), "{name} {section} {key}"),
                    None => assert_eq!(found, value, "{name} {section} {key}"),
                }
            }
        }
    }
}

#[test]
fn a_run_without_all_of_its_phases_is_partial() {
    let args = serde_json::json!({
        "num_keys": 1, "in_flight": 1, "data_size_kb": 4, "rounds": 1, "warmup_rounds": 0, "lookup_max_hit_rate": 0.5,
    });
    let config = config(&args);
    let stored = serde_json::json!({
        "operation": "Store", "round_durations_s_including_warmup": [0.1], "success_counts_including_warmup": [1],
    });
    let facts = RunFacts {
        config: &config,
        adapter_json: "{}",
        knows_device: true,
        storage_path: None,
        storage: Storage::default(),
        interrupted: None,
        adapter_sections: Vec::new(),
        adapter_class: "Fs",
        started: Instant::now(),
    };
    let text = ReferenceJson.render(&result(&facts, &[phase(&stored, &config)], Vec::new()));
    let text = String::from_utf8(text).expect("JSON is UTF-8");
    assert!(text.contains(r#""report": "partial (aborted)""#), "{text}");
}
