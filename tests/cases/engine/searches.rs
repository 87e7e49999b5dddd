//! Searches for the highest load that keeps its limits.

use std::process::Output;

use serde_json::Value;

use super::runs::{at_mock, code};
use crate::support::mock::Mock;
use crate::support::{report, stderr};

fn search(mock: &Mock, flags: &[&str]) -> Output {
    let mut command = at_mock(mock, &[&["--find-max"], flags].concat());
    command.current_dir(mock.dir.path()).output().unwrap()
}

fn metrics(output: &Output) -> Value {
    report(output)["metrics"].clone()
}

#[test]
fn a_search_brackets_the_capacity_of_a_queue() {
    // Two servers of 10 ms: 200 requests per second. The start doubles to 148 and 296.
    let mock = Mock::start(&["--ttft-ms", "10", "--servers", "2"]);
    let flags = ["--slo", "ttft.p50=500ms", "--request-rate", "37", "--cooldown", "1ms"];
    let times = ["--duration", "1s", "--warmup-time", "200ms", "--budget", "1"];
    let output = search(&mock, &[&flags[..], &times].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = metrics(&output);
    let max = &metrics["max_load"];
    let (holds, fails) = (max["holds"].as_f64().unwrap(), max["fails"].as_f64().unwrap());
    assert!(100.0 < holds && holds < fails && holds < 300.0, "{max}");
    assert_eq!(max["ended"], "found", "{metrics}");
    assert_eq!(max["holds_known"], "for a full duration", "{max}");
    let criterion = &metrics["slo_criteria"]["ttft.p50=500ms"];
    assert_eq!(criterion["verdict"], "kept", "{metrics}");
    assert!(criterion["interval_low"].as_f64() <= criterion["value"].as_f64());
    let steps = metrics["steps"].as_object().unwrap();
    assert!(steps.len() >= 6, "{metrics}");
    assert_eq!(metrics["probes"].as_array().unwrap().len(), steps.len());
    assert_eq!(steps["1"]["outcome"], "held", "{metrics}");
}

#[test]
fn answers_that_take_longer_than_the_warm_up_do_not_fail_a_probe() {
    let mock = Mock::start(&["--ttft-ms", "1500"]);
    let flags = ["--slo", "ttft.p50=60s", "--request-rate", "20", "--arrival", "constant"];
    let times = ["--duration", "1s", "--warmup-time", "0", "--budget", "0.06"];
    let output = search(&mock, &[&flags[..], &times].concat());
    // No answer came in the window of a second, and none had to.
    let steps = &metrics(&output)["steps"];
    assert_eq!(steps["1"]["outcome"], "held", "{steps}");
    assert_eq!(steps["1"]["ended_per_s"], 0.0, "{steps}");
}

#[test]
fn a_search_in_which_nothing_holds_ends_with_3() {
    let mock = Mock::start(&["--ttft-ms", "30"]);
    let flags = [
        "--find-max-over",
        "concurrency",
        "--num-requests",
        "10",
        "--slo",
        "ttft.p50=10ms",
    ];
    let output = search(&mock, &flags);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    let metrics = metrics(&output);
    assert_eq!(metrics["max_load"]["ended"], "no load holds");
    assert_eq!(metrics["steps"]["1"]["outcome"], "failed");
}

#[test]
fn a_search_ends_with_its_budget_also_in_the_middle_of_a_probe() {
    let mock = Mock::start(&["--ttft-ms", "1000"]);
    let load = [
        "--slo",
        "ttft.p50=2s",
        "--duration",
        "1s",
        "--warmup-time",
        "0",
        "--request-rate",
        "10",
    ];
    // The first probe needs two seconds and fits by its duration.
    let report = report(&search(&mock, &[&load[..], &["--budget", "0.02"]].concat()));
    assert_eq!(
        report["metrics"]["max_load"]["ended"], "the budget was used up",
        "{report}"
    );
    assert_eq!(report["metrics"]["steps"], serde_json::json!({}), "{report}");
}

#[test]
fn a_pause_beyond_the_budget_is_not_begun() {
    let mock = Mock::start(&["--ttft-ms", "1"]);
    let flags = ["--slo", "ttft.p50=60s", "--request-rate", "20", "--cooldown", "1h"];
    let output = search(
        &mock,
        &[&flags[..], &["--duration", "100ms", "--warmup-time", "0"]].concat(),
    );
    let metrics = metrics(&output);
    assert_eq!(metrics["max_load"]["ended"], "the budget was used up", "{metrics}");
    assert_eq!(metrics["steps"].as_object().unwrap().len(), 1, "{metrics}");
}
