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

/// The tables of the result that was saved as run.json.
fn saved_tables(mock: &Mock) -> Value {
    let saved = std::fs::read_to_string(mock.dir.join("run.json")).unwrap();
    let saved: Value = serde_json::from_str(&saved).unwrap();
    saved["samples"]["tables"].clone()
}

#[test]
fn the_size_of_the_engines_own_cache_is_found() {
    let mock = Mock::start(&["--hbm-tokens", "20000", "--ttft-ms", "0"]);
    let output = staircase(&mock, &["--save", "result=run.json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = metrics(&output);
    let usable = &metrics["kv_usable"];
    let found = usable["hbm_tokens"].as_f64().unwrap();
    assert!(found <= 20_000.0 && found > 0.95 * 20_000.0, "{usable}");
    let [holds, fails] = ["hbm_holds_tokens", "hbm_fails_tokens"].map(|key| usable[key].as_f64().unwrap());
    assert!(holds < fails && fails < 1.025 * holds, "{usable}");
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
    let tables = saved_tables(&mock);
    assert_eq!(tables["kv_staircase"]["rows"].as_array().unwrap().len(), rows.len());
    assert!(!tables["kv_probes"]["rows"].as_array().unwrap().is_empty());
}

#[test]
fn the_document_length_and_the_passes_are_as_asked_for() {
    let mock = Mock::start(&["--hbm-tokens", "3000", "--ttft-ms", "0"]);
    let asked = ["--staircase-document-length", "200", "--staircase-passes", "2"];
    let output = staircase(&mock, &[&asked[..], &["--save", "result=run.json"]].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let tables = saved_tables(&mock);
    let first = &tables["kv_staircase"]["rows"][0];
    // Documents, their length, a shorter one, passes. The first working set is a quarter of HBM.
    assert_eq!(
        (&first[0], &first[1], &first[2], &first[3]),
        (&3.into(), &200.into(), &148.into(), &2.into())
    );
}

#[test]
fn documents_of_which_hbm_holds_nothing_are_refused() {
    let mock = Mock::start(&["--hbm-tokens", "3000", "--block-tokens", "64"]);
    let output = staircase(&mock, &["--staircase-document-length", "64"]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("--staircase-document-length 64 is not longer than a block of 64 tokens"),
        "{}",
        stderr(&output)
    );
    let (_, log) = mock.end("-TERM");
    let prompts = log.iter().filter(|entry| entry["path"] == "/v1/chat/completions");
    assert_eq!(prompts.count(), 0, "{log:?}");
}

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
    let delays = ["--ttft-ms", "0", "--ttft-us-per-uncached-token", "5"];
    let sizes = ["--tokens-per-gb", "10000", "--chunk-tokens", "64"];
    let mock = Mock::start(&[&tiers[..], &delays, &sizes].concat());
    let asked = ["--staircase-document-length", "1035", "--staircase-passes", "1"];
    let output = staircase(&mock, &[&asked[..], &["--lmcache-url", &mock.address]].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = metrics(&output);
    let usable = &metrics["kv_usable"];
    for (tier, tokens) in [("hbm", 1024.0), ("l1", 4096.0), ("l2", 10240.0)] {
        assert_eq!(usable[format!("{tier}_found")], "found", "{usable}");
        let found = usable[format!("{tier}_tokens")].as_f64().unwrap();
        assert!(found <= tokens && found > 0.95 * tokens, "{tier}: {usable}");
        // With the ends of its prompts, of which no tier holds anything.
        assert!(
            usable[format!("{tier}_holds_tokens")].as_f64().unwrap() > found,
            "{usable}"
        );
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
    // The first pass over the first working set takes 10 s of 6, and the shortest prompts take 53 ms.
    let mock = Mock::start(&[
        "--hbm-tokens",
        "1000000",
        "--ttft-ms",
        "0",
        "--ttft-us-per-uncached-token",
        "40",
    ]);
    let asked = [
        "--budget",
        "0.1",
        "--staircase-document-length",
        "5000",
        "--save",
        "result=run.json",
    ];
    let output = staircase(&mock, &asked);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = metrics(&output);
    assert_eq!(metrics["kv_usable"]["ended"], "the budget was used up");
    let reading = metrics["kv_reading"].to_string();
    assert!(reading.contains("was not measured to its end"), "{reading}");
    assert!(reading.contains("raise --budget to reach it"), "{reading}");
    // Prompts have the rest of the budget.
    let tables = saved_tables(&mock);
    let prompts = &tables["kv_probes"]["rows"];
    assert!(!prompts.as_array().unwrap().is_empty(), "{reading}");
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
    // A working set of one document takes 4 s and the second one, of two, 8: as long the signal may take to come.
    let mock = Mock::start(&["--hbm-tokens", "4000", "--ttft-ms", "2000"]);
    let mut command = engine_at(&mock);
    command.args([
        "--staircase",
        "--staircase-document-length",
        "1000",
        "--staircase-passes",
        "1",
    ]);
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
