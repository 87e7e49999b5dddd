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

/// The recorded reports are those of 0.5.6; 0.5.7 has added three rows. One client, two requests per second.
fn with_rows_of_0_5_7(recorded: &str, seconds: f64) -> String {
    let row = |label: &str, value: f64| format!("{label}{value:>width$.2}", width = 64 - label.len());
    let rows = [
        ("Interval (s):", format!("Concurrency:{:>52}", 1)),
        ("Pass rate (%):", row("Elapsed (s):", seconds)),
        ("Elapsed (s):", row("Requests / s:", 2.0)),
        ("      \"interval\":", "      \"concurrency\": 1".into()),
        ("      \"pass_rate\":", format!("      \"elapsed_s\": {seconds:?}")),
        ("      \"elapsed_s\":", "      \"requests_per_s\": 2.0".into()),
    ];
    let mut lines: Vec<String> = recorded.split('\n').map(str::to_owned).collect();
    for (after, row) in rows {
        if let Some(at) = lines.iter().position(|line| line.starts_with(after)) {
            if after.contains('"') {
                lines[at].push(',');
            }
            lines.insert(at + 1, row);
        }
    }
    lines.join("\n")
}

#[test]
fn reports_equal_the_references_byte_for_byte() {
    let vectors: Json = serde_json::from_str(VECTORS).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    for case in cases {
        let mut result = RunResult::new("server", "Server Bench Result", Instant::now());
        let mut samples = samples(case);
        let seconds = samples.tally.completed() as f64 / 2.0;
        samples.elapsed = Duration::from_secs_f64(seconds);
        result.sections = reference_sections(&config(), Generation::V0_5_6, &samples);
        let rendered = |renderer: &dyn Renderer| String::from_utf8(renderer.render(&result)).unwrap();
        assert_eq!(
            rendered(&Terminal),
            with_rows_of_0_5_7(case["terminal"].as_str().unwrap(), seconds),
            "{}",
            case["case"]
        );
        assert_eq!(
            rendered(&ReferenceJson),
            with_rows_of_0_5_7(case["json"].as_str().unwrap(), seconds),
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
            generation: Generation::V0_5_6,
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

#[test]
fn the_pass_rate_has_the_label_of_its_release() {
    for (generation, label) in [
        (Generation::V0_5_6, "Pass rate (%):"),
        (Generation::V0_5_7, "Checksum pass rate (%):"),
    ] {
        let mut result = RunResult::new("server", "Server Bench Result", Instant::now());
        result.sections = reference_sections(&config(), generation, &RunSamples::default());
        let text = String::from_utf8(Terminal.render(&result)).unwrap();
        assert!(text.lines().any(|line| line.starts_with(label)), "{text}");
    }
}

#[test]
fn several_clients_that_fill_and_check_most_of_the_time_are_named() {
    let codes = |clients: u32, own_ms: u64| {
        let mut samples = RunSamples::default();
        (0..FEW_SEQUENCES).for_each(|_| samples.tally.record(&[]));
        samples.client_time = Duration::from_millis(100);
        samples.own_work = Duration::from_millis(own_ms);
        let mut warnings = Vec::new();
        let config = RunConfig { clients, ..config() };
        add_warnings(&config, &samples, &mut warnings);
        (own_work_percent(&samples), warnings)
    };
    assert_eq!(codes(2, 50), (50.0, vec![]));
    assert_eq!(codes(1, 60), (60.0, vec![]));
    assert_eq!(codes(2, 60), (60.0, vec![Warning::ClientBound { percent: 60.0 }]));
    assert_eq!(own_work_percent(&RunSamples::default()), 0.0);
}
