//! Several loads in one run: sweeps and searches.

use std::collections::HashSet;
use std::process::Output;

use serde_json::Value;

use super::runs::{at_mock, code};
use crate::support::mock::Mock;
use crate::support::{bench, report, stderr, stdout};

fn run(mock: &Mock, flags: &[&str]) -> Output {
    let mut command = at_mock(mock, flags);
    command
        .args(["--cooldown", "1ms"])
        .current_dir(mock.dir.path())
        .output()
        .unwrap()
}

fn metrics(output: &Output) -> Value {
    report(output)["metrics"].clone()
}

/// The prompts that the mock has seen, from its log; the warmup has none in this workload.
fn prompts(log: &[Value]) -> usize {
    log.iter().filter(|line| line["path"] == "/v1/chat/completions").count()
}

#[test]
fn a_sweep_has_a_row_for_each_load_and_the_first_again() {
    let mock = Mock::start(&["--ttft-ms", "5"]);
    let saved = mock.dir.join("run.json").display().to_string();
    let save = format!("result={saved}");
    let flags = ["--sweep", "concurrency=1,2,4", "--num-requests", "12", "--save", &save];
    let output = run(&mock, &[&flags[..], &["--slo", "ttft.p50=60s"]].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = metrics(&output);
    assert_eq!(metrics["steps"].as_object().unwrap().len(), 4, "{metrics}");
    assert_eq!(metrics["sweep"]["steps"], 3);
    assert_eq!(metrics["sweep"]["holds"], 4.0);
    assert!(metrics["sweep"]["saturation"].as_f64().is_some() && metrics["sweep"]["knee"].as_f64().is_some());
    let text = std::fs::read_to_string(&saved).unwrap();
    let result: Value = serde_json::from_str(&text).unwrap();
    let rows = result["samples"]["tables"]["steps"]["rows"].as_array().unwrap();
    let loads: Vec<f64> = rows.iter().map(|row| row[0].as_f64().unwrap()).collect();
    assert_eq!(loads, [1.0, 2.0, 4.0, 1.0]);
    // The saved result can be shown again.
    let shown = bench().args(["report", &saved]).output().unwrap();
    assert!(stdout(&shown).contains("\nagain "), "{}", stdout(&shown));
    // Files about the requests of one load are not written.
    assert!(!mock.dir.join("bench_results.csv").exists());
    assert_eq!(prompts(&mock.end("-TERM").1), 48);
}

#[test]
fn steps_have_prompts_of_their_own_unless_they_are_to_be_the_same() {
    for (workload, own) in [
        ("long-doc-qa", true),
        ("multi-round-chat", true),
        ("random-prefill", true),
        ("random-prefill", false),
    ] {
        let mock = Mock::start(&["--ttft-ms", "1", "--hbm-tokens", "100000"]);
        let small = [
            "--workload",
            workload,
            "--kv-cache-volume",
            "1",
            "--ldqa-document-length",
            "50",
            "--rp-request-length",
            "90",
        ];
        let chat = ["--mrc-shared-prompt-length", "20", "--mrc-chat-history-length", "20"];
        let load = ["--sweep", "concurrency=1,2", "--num-requests", "4", "--no-warmup"];
        let reuse: &[&str] = if own { &[] } else { &["--reuse"] };
        let output = run(&mock, &[&small[..], &chat, &load, reuse].concat());
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let warnings = metrics(&output)["warnings"].to_string();
        assert_eq!(warnings.contains("same-prompts"), !own, "{warnings}");
        // The first requests of the three steps are alike only where prompts are used again.
        let (_, log) = mock.end("-TERM");
        let served: Vec<&Value> = log
            .iter()
            .filter(|line| line["path"] == "/v1/chat/completions")
            .collect();
        let computed: HashSet<u64> = [0, 4, 8]
            .map(|at| served[at]["prompt_sources"]["computed"].as_u64().unwrap())
            .into_iter()
            .collect();
        let first = served[0]["prompt_sources"]["computed"].as_u64().unwrap();
        let again = served[4]["prompt_sources"]["computed"].as_u64().unwrap();
        assert_eq!(again >= first, own, "{workload}: {computed:?}");
    }
}

#[test]
fn a_search_brackets_the_capacity_of_a_queue_within_its_budget() {
    // Two servers of 10 ms: 200 requests per second.
    let mock = Mock::start(&["--ttft-ms", "10", "--servers", "2"]);
    let flags = [
        "--find-max",
        "--slo",
        "ttft.p50=500ms",
        "--request-rate",
        "50",
        "--duration",
        "1s",
    ];
    let output = run(
        &mock,
        &[&flags[..], &["--warmup-time", "200ms", "--budget", "0.15"]].concat(),
    );
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = metrics(&output);
    let max = &metrics["max_load"];
    let holds = max["holds"].as_f64().unwrap();
    assert!((50.0..400.0).contains(&holds), "{max}");
    assert!(
        ["found", "the budget was used up", "too few requests for the percentile"]
            .contains(&max["ended"].as_str().unwrap()),
        "{max}"
    );
    let criterion = &metrics["slo_criteria"]["ttft.p50=500ms"];
    assert_eq!(criterion["verdict"], "kept", "{metrics}");
    assert!(criterion["interval_low"].as_f64() <= criterion["value"].as_f64());
    let probes = metrics["probes"].as_array().unwrap().len();
    assert_eq!(probes, metrics["steps"].as_object().unwrap().len());
    assert!(metrics["steps"]["1"]["outcome"] == "held", "{metrics}");
}

#[test]
fn a_search_in_which_nothing_holds_ends_with_3() {
    let mock = Mock::start(&["--ttft-ms", "30"]);
    let flags = [
        "--find-max",
        "--find-max-over",
        "concurrency",
        "--num-requests",
        "10",
        "--slo",
        "ttft.p50=10ms",
    ];
    let output = run(&mock, &flags);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    let metrics = metrics(&output);
    assert_eq!(metrics["max_load"]["ended"], "no load holds");
    assert_eq!(metrics["steps"]["1"]["outcome"], "failed");
}

#[test]
fn steps_that_cannot_be_are_refused_before_anything_is_sent() {
    let mock = Mock::start(&[]);
    let cases: [(&[&str], &str); 13] = [
        (
            &["--sweep", "rate=1:10000:+1"],
            "at most 100 steps, and this one has 10000",
        ),
        (&["--sweep", "rate=0,1"], "a rate must be above 0"),
        (&["--sweep", "users=1"], "is no sweep"),
        (&["--sweep", "rate=1,2", "--request-rate", "3"], "--sweep has the loads"),
        (
            &["--sweep", "concurrency=1,2", "--max-concurrency", "3"],
            "--sweep has the loads",
        ),
        (
            &["--sweep", "rate=1,2", "--find-max", "--slo", "ttft=1s"],
            "both choose the loads",
        ),
        (
            &["--sweep", "rate=1,2", "--requests-jsonl", "x"],
            "--requests-jsonl is about the requests of one load",
        ),
        (
            &["--sweep", "rate=1,2", "--save", "series.csv=x.csv"],
            "--save series.csv=x.csv: this run has no such table; leave it out",
        ),
        (&["--find-max"], "--find-max needs limits to keep"),
        (
            &["--find-max", "--slo", "ttft=1s", "--budget", "0"],
            "--budget is 0 but must be above 0",
        ),
        (&["--repeats", "2"], "--repeats is about the steps"),
        (&["--reuse"], "--reuse is about the steps"),
        (
            &[
                "--workload",
                "multi-round-chat",
                "--mrc-qps",
                "1",
                "--sweep",
                "rate=1,2",
            ],
            "--mrc-qps is the workload's own rate",
        ),
    ];
    for (flags, why) in cases {
        let output = run(&mock, flags);
        assert_eq!((code(&output), stdout(&output).as_str()), (2, ""), "{flags:?}");
        assert!(stderr(&output).contains(why), "{flags:?}: {}", stderr(&output));
    }
    assert_eq!(prompts(&mock.end("-TERM").1), 0);
}

#[test]
fn a_step_may_end_when_it_is_steady_and_counts_its_own_window() {
    let mock = Mock::start(&["--ttft-ms", "10"]);
    let steady = ["--until-steady", "60s", "--steady-window", "5s", "--warmup-time", "0"];
    let output = run(&mock, &[&["--sweep", "concurrency=2"][..], &steady].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = metrics(&output);
    let warnings = metrics["warnings"].to_string();
    // Little's law would not hold if the requests of the window were divided by the limit.
    assert!(
        !warnings.contains("little-broken") && !warnings.contains("not-steady"),
        "{metrics}"
    );
    assert!(
        metrics["steps"]["1"]["ended_per_s"].as_f64().unwrap() > 50.0,
        "{metrics}"
    );
}
