//! LMCache's recorded l2 reports, rendered again from their values: JSON and terminal output must be equal byte for byte.

use serde_json::{Map, Value as Json};

use super::Renderer;
use super::json::ReferenceJson;
use super::terminal::Terminal;
use crate::result::RunResult;
use crate::result::model::{Entry, Section, Value};

const VECTORS: &str = include_str!("../../tests/golden/l2-report-vectors.json");

const LABELS: [(&str, &str); 29] = [
    ("l2_adapter_json", "L2 adapter JSON"),
    ("num_keys", "Keys / submit"),
    ("in_flight", "In-flight / round"),
    ("keys_per_round", "Keys / round"),
    ("data_size_kb", "Data size / key (KB)"),
    ("data_per_round_mb", "Data / round (MB)"),
    ("measurement_rounds", "Measurement rounds"),
    ("warmup_rounds", "Warmup rounds"),
    ("lookup_max_hit_rate", "Lookup max hit rate"),
    ("config", "Configuration"),
    ("operation", "Operation"),
    ("rounds", "Rounds"),
    ("rounds_timed_out", "Rounds timed out"),
    ("total_keys", "Total keys"),
    ("total_success", "Total success"),
    ("duration_avg_ms", "Duration avg (ms)"),
    ("duration_min_ms", "Duration min (ms)"),
    ("duration_max_ms", "Duration max (ms)"),
    ("duration_p50_ms", "Duration p50 (ms)"),
    ("duration_p99_ms", "Duration p99 (ms)"),
    ("duration_std_ms", "Duration std (ms)"),
    ("throughput_avg_mbps", "Throughput avg (MB/s)"),
    ("throughput_min_mbps", "Throughput min (MB/s)"),
    ("throughput_max_mbps", "Throughput max (MB/s)"),
    ("ops_per_sec_avg", "Avg ops/s"),
    ("latency_per_key_ms", "Avg latency / key (ms)"),
    ("expected_max_hit_rate", "Expected max hit rate"),
    ("expected_hit_count", "Expected hit keys"),
    ("actual_hit_rate", "Actual hit rate"),
];

fn label(key: &str) -> &'static str {
    LABELS
        .iter()
        .find(|(known, _)| *known == key)
        .unwrap_or_else(|| panic!("no label for {key}"))
        .1
}

fn value(key: &str, json: &Json) -> Value {
    match json {
        Json::String(text) => Value::text(text.clone()),
        Json::Number(number) if number.is_u64() => Value::count(number.as_u64().unwrap()),
        // LMCache prints infinite throughputs as `Infinity`, which is not JSON; ours are null.
        Json::Null => Value::Number {
            value: f64::INFINITY,
            decimals: 2,
        },
        Json::Number(number) => {
            let decimals = match key {
                "latency_per_key_ms" => 3,
                "lookup_max_hit_rate" | "expected_max_hit_rate" | "actual_hit_rate" => 4,
                _ => 2,
            };
            Value::Number {
                value: number.as_f64().unwrap(),
                decimals,
            }
        }
        other => panic!("{key}: {other}"),
    }
}

fn section(key: &str, entries: &Map<String, Json>) -> Section {
    let heading = match entries.get("operation") {
        Some(operation) => operation.as_str().unwrap().to_owned(),
        None => label(key).to_owned(),
    };
    let entries = entries
        .iter()
        .map(|(key, json)| Entry::new(key.clone(), label(key), value(key, json)));
    Section::entries(key.to_owned(), heading, entries.collect())
}

#[test]
fn both_renderings_equal_the_references() {
    let vectors: Json = serde_json::from_str(VECTORS).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 3);
    for case in cases {
        let name = case["case"].as_str().unwrap();
        let want_json = case["json"].as_str().unwrap().replace(": Infinity", ": null");
        let values: Json = serde_json::from_str(&want_json).unwrap();
        let sections = values["metrics"].as_object().unwrap();
        let mut result = RunResult::new(
            "l2",
            values["title"].as_str().unwrap().to_owned(),
            std::time::Instant::now(),
        );
        let entries = |(key, entries): (&String, &Json)| section(key, entries.as_object().unwrap());
        result.sections = sections.iter().map(entries).collect();
        let rendered = |renderer: &dyn Renderer| String::from_utf8(renderer.render(&result)).unwrap();
        assert_eq!(rendered(&Terminal), case["terminal"].as_str().unwrap(), "{name}");
        assert_eq!(rendered(&ReferenceJson), want_json, "{name}");
    }
}
