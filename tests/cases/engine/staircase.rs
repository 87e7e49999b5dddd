//! The staircase against the mock engine, whose tiers are exact.

use std::io::{BufRead, BufReader, Read};
use std::process::{Output, Stdio};

use serde_json::Value;

use super::interrupts::kill;
use super::runs::{code, engine_at};
use crate::support::mock::Mock;
use crate::support::{bench, report, stderr};

fn staircase(mock: &Mock, flags: &[&str]) -> Output {
    let mut command = engine_at(mock);
    command.arg("--staircase");
    command.args(["--format", "json", "--tokens-per-gb-kvcache", "10000"]);
    command.args(flags).current_dir(mock.dir.path()).output().unwrap()
}

fn metrics(output: &Output) -> Value {
    report(output)["metrics"].clone()
}

#[test]
fn the_size_of_the_engines_own_cache_is_found() {
    let mock = Mock::start(&["--hbm-tokens", "20000", "--ttft-ms", "0"]);
    let output = staircase(&mock, &["--save", "result=run.json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = metrics(&output);
    let usable = &metrics["kv_usable"];
    let found = usable["hbm_tokens"].as_f64().unwrap();
    assert!((found / 20_000.0 - 1.0).abs() < 0.05, "{usable}");
    let fails = usable["hbm_fails_tokens"].as_f64().unwrap();
    assert!(found < fails && fails < 1.025 * found, "{usable}");
    assert!(
        (usable["hbm_gb"].as_f64().unwrap() - found / 10_000.0).abs() < 0.001,
        "{usable}"
    );
    assert_eq!(usable["ended"], "found");
    let rows = metrics["kv_staircase"].as_object().unwrap();
    let first = &rows["1"];
    assert!(first["hbm"].as_f64().unwrap() > 98.0, "{first}");
    let last = &rows[&rows.len().to_string()];
    assert_eq!(
        (last["hbm"].as_f64(), last["computed"].as_f64()),
        (Some(0.0), Some(100.0))
    );
    let saved = std::fs::read_to_string(mock.dir.join("run.json")).unwrap();
    let saved: Value = serde_json::from_str(&saved).unwrap();
    let tables = &saved["samples"]["tables"];
    assert_eq!(tables["kv_staircase"]["rows"].as_array().unwrap().len(), rows.len());
    assert!(!tables["kv_probes"]["rows"].as_array().unwrap().is_empty());
}

#[test]
fn the_document_length_and_the_passes_are_as_asked_for() {
    let mock = Mock::start(&["--hbm-tokens", "3000", "--ttft-ms", "0"]);
    let asked = ["--staircase-document-length", "200", "--staircase-passes", "2"];
    let output = staircase(&mock, &[&asked[..], &["--save", "result=run.json"]].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let saved = std::fs::read_to_string(mock.dir.join("run.json")).unwrap();
    let saved: Value = serde_json::from_str(&saved).unwrap();
    let first = &saved["samples"]["tables"]["kv_staircase"]["rows"][0];
    // Documents, their length, a shorter one, passes. The first working set is a quarter of HBM.
    assert_eq!(
        (&first[0], &first[1], &first[2], &first[3]),
        (&3.into(), &200.into(), &148.into(), &2.into())
    );
}

/// A token that is computed takes 50 us; one from DRAM 5 us, with 18 ms for each load, and one from disk 10 us, with 32 ms.
#[test]
fn the_size_of_each_tier_is_found_and_every_source_is_timed() {
    let tiers = [
        "--hbm-tokens",
        "1024",
        "--dram-tokens",
        "4096",
        "--disk-tokens",
        "10240",
    ];
    let computed = ["--ttft-ms", "0", "--ttft-us-per-uncached-token", "50"];
    let dram = ["--dram-us-per-token", "5", "--dram-ms", "18"];
    let disk = ["--disk-us-per-token", "10", "--disk-ms", "32"];
    let sizes = ["--tokens-per-gb", "10000", "--chunk-tokens", "64"];
    let mock = Mock::start(&[&tiers[..], &computed, &dram, &disk, &sizes].concat());
    let asked = ["--staircase-document-length", "1035", "--staircase-passes", "1"];
    let output = staircase(&mock, &[&asked[..], &["--lmcache-url", &mock.address]].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = metrics(&output);
    let usable = &metrics["kv_usable"];
    for (tier, tokens) in [("hbm", 1024.0), ("l1", 4096.0), ("l2", 10240.0)] {
        assert_eq!(usable[format!("{tier}_found")], "found", "{usable}");
        let found = usable[format!("{tier}_tokens")].as_f64().unwrap();
        assert!((found / tokens - 1.0).abs() < 0.05, "{tier}: {usable}");
    }
    // A line for each source says that its tier was isolated, by tokens. What the lines are is measured time: docs/results/ledger.md.
    let lines = &metrics["kv_break_even"];
    for source in ["computed", "hbm", "l1", "l2"] {
        assert!(
            lines[source]["per_token_us"].is_f64(),
            "{source}: {lines} {}",
            metrics["kv_reading"]
        );
    }
}

#[test]
fn what_the_budget_does_not_reach_is_said_and_the_report_is_whole() {
    // A working set of four documents takes more than a second.
    let mock = Mock::start(&["--hbm-tokens", "1000000", "--ttft-ms", "80"]);
    let output = staircase(&mock, &["--budget", "0.05"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = metrics(&output);
    assert_eq!(metrics["kv_usable"]["ended"], "the budget was used up");
    let reading = metrics["kv_reading"].to_string();
    assert!(reading.contains("raise --budget to reach it"), "{reading}");
}

#[test]
fn flags_of_another_load_are_refused_before_anything_is_sent() {
    let mock = Mock::start(&[]);
    for flags in [
        &["--workload", "random-prefill"][..],
        &["--request-rate", "5"],
        &["--sweep", "rate=1,2"],
    ] {
        let output = staircase(&mock, flags);
        assert_eq!(code(&output), 2, "{}", stderr(&output));
        assert!(stderr(&output).contains(flags[0]), "{}", stderr(&output));
    }
    let (_, log) = mock.end("-TERM");
    assert!(log.is_empty(), "{log:?}");
}

#[test]
fn without_an_engine_url_nothing_is_asked() {
    let output = bench().args(["engine", "--staircase"]).output().unwrap();
    assert_eq!(code(&output), 1);
    assert!(
        stderr(&output).contains("missing --engine-url; --staircase asks no questions, so give it"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_interrupt_keeps_the_working_sets_that_are_whole() {
    let mock = Mock::start(&["--hbm-tokens", "1000000", "--ttft-ms", "50"]);
    let mut command = engine_at(&mock);
    command.arg("--staircase");
    let mut child = command
        .stdout(Stdio::piped())
        .current_dir(mock.dir.path())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut shown = String::new();
    while !shown.contains("working set 2: ") {
        assert!(out.read_line(&mut shown).unwrap() > 0, "{shown}");
    }
    // Eight documents of the second take more than a second.
    kill(&child);
    out.read_to_string(&mut shown).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{shown}");
    assert!(shown.contains("by a signal"), "{shown}");
    let rows = shown
        .lines()
        .skip_while(|line| !line.contains(" KV Staircase "))
        .skip(2);
    assert_eq!(rows.take_while(|line| !line.starts_with('-')).count(), 1, "{shown}");
}
