//! LMCache's recorded reports, recomputed from its raw latencies, byte for byte.

use serde_json::Value as Json;

use super::*;
use crate::report::Renderer;
use crate::report::json::ReferenceJson;
use crate::report::terminal::Terminal;
use crate::server::config::Machine;
use crate::server::flags::{Mode, ServerArgs, TABLE};
use crate::server::transport::Transfer;

const VECTORS: &str = include_str!("../../../tests/golden/server/report-vectors.json");

fn config() -> RunConfig {
    let args = ServerArgs {
        mode: Mode::Cpu,
        ..TABLE.presets()
    };
    RunConfig::resolve(&args, Machine::default()).unwrap()
}

fn samples(case: &Json) -> RunSamples {
    let mut samples = RunSamples::default();
    let operations = ["cold.lookup", "cold.store", "warm.lookup", "warm.retrieve"];
    for (name, operation) in operations.iter().zip(Measured::ALL) {
        for ms in case["latencies_ms"][name].as_array().into_iter().flatten() {
            let latency = Duration::from_secs_f64(ms.as_f64().unwrap() / 1e3);
            samples.of_mut(operation).record_lookup(latency);
        }
    }
    for passed in case["checksum_match"].as_array().unwrap() {
        let mismatch = (Failure::Mismatch, "differs".to_owned());
        let failures = if passed.as_bool().unwrap() {
            vec![]
        } else {
            vec![mismatch]
        };
        samples.tally.record(&failures);
    }
    samples
}

#[test]
fn reports_equal_the_references_byte_for_byte() {
    let vectors: Json = serde_json::from_str(VECTORS).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    for case in cases {
        let mut result = RunResult::new("server", "Server Bench Result", Instant::now());
        result.sections = reference_sections(&config(), &samples(case));
        let rendered = |renderer: &dyn Renderer| String::from_utf8(renderer.render(&result)).unwrap();
        assert_eq!(
            rendered(&Terminal),
            case["terminal"].as_str().unwrap(),
            "{}",
            case["case"]
        );
        assert_eq!(
            rendered(&ReferenceJson),
            case["json"].as_str().unwrap(),
            "{}",
            case["case"]
        );
    }
    assert!(cases.len() >= 3);
}

fn whole(samples: &RunSamples, interrupted: Option<&'static str>) -> Json {
    let facts = RunFacts {
        config: &config(),
        server: ServerFacts {
            generation: "0.5.6",
            release: None,
            chunk_tokens: 256,
            chunk_bytes: 1 << 25,
            chunks_per_request: 2,
            transport: "engine_driven, inline",
        },
        seed: 42,
        cache_salt: "",
        start_to_first_rpc: Duration::from_millis(3),
        start_to_first_reply: Duration::from_millis(4),
        started: Instant::now(),
        interrupted,
    };
    let result = result(&facts, samples, Vec::new());
    let rendered = |renderer: &dyn Renderer| String::from_utf8(renderer.render(&result)).unwrap();
    assert!(rendered(&Terminal).lines().all(|line| line.chars().count() <= 80));
    serde_json::from_str(&rendered(&ReferenceJson)).unwrap()
}

#[test]
fn bandwidth_and_parts_of_the_time_are_computed() {
    let mut samples = RunSamples::default();
    let transfer = Transfer {
        accepted: true,
        bytes: GIB / 4,
        wait: Duration::from_millis(60),
        copy: Duration::from_millis(40),
        gpu: None,
    };
    let store = samples.of_mut(Measured::ColdStore);
    (0..4).for_each(|_| store.record_transfer(Duration::from_millis(100), Duration::from_millis(30), &transfer));
    samples.tally.record(&[]);
    let detail = &whole(&samples, None)["metrics"]["detail"]["cold_store"];
    assert_eq!(
        (detail["gib_per_s"].as_f64(), detail["copy_gib_per_s"].as_f64()),
        (Some(2.5), Some(6.25))
    );
    assert_eq!(
        (detail["wait_p50_ms"].as_f64(), detail["copy_p50_ms"].as_f64()),
        (Some(60.0), Some(40.0))
    );
    assert_eq!(detail["cpu_p50_ms"].as_f64(), Some(30.0));
}

#[test]
fn warnings_and_the_state_of_the_run_are_shown() {
    let mut samples = RunSamples::default();
    samples.tally.record(&[(Failure::EarlierEntries, "x".into())]);
    (samples.late_commits, samples.longest_commit) = (1, Duration::from_millis(7));
    let report = whole(&samples, None);
    let codes: Vec<_> = report["metrics"]["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["earlier-entries", "late-commits", "few-sequences"]);
    assert_eq!(report["metrics"]["verify"]["earlier_entries"], 1);
    assert_eq!(report["metrics"]["results"]["pass_rate"], 0.0);
    let state = |signal| whole(&samples, signal)["metrics"]["run"]["report"].clone();
    assert_eq!(
        (state(None), state(Some("SIGINT"))),
        ("complete".into(), "complete (until SIGINT)".into())
    );
    samples.aborted = Some("gone".into());
    assert_eq!(whole(&samples, None)["metrics"]["run"]["report"], "partial (aborted)");
}
