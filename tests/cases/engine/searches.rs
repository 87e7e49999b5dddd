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

/// Short probes, and a budget for all that a search may try.
const TIMES: [&str; 6] = ["--duration", "1s", "--warmup-time", "200ms", "--budget", "1"];

fn metrics(output: &Output) -> Value {
    report(output)["metrics"].clone()
}

#[test]
fn a_search_brackets_the_capacity_of_a_queue() {
    // Two servers of 10 ms: with n in flight an answer takes n * 5 ms, so that 24 hold. A stall of the machine is in the latency
    // of those in flight alone, which are few of a probe's.
    let mock = Mock::start(&["--ttft-ms", "10", "--servers", "2"]);
    let over = ["--find-max-over", "concurrency", "--max-concurrency", "5"];
    let flags = ["--slo", "ttft.p50=120ms", "--cooldown", "1ms"];
    let output = search(&mock, &[&over[..], &flags, &TIMES].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = metrics(&output);
    let max = &metrics["max_load"];
    let (holds, fails) = (max["holds"].as_f64().unwrap(), max["fails"].as_f64().unwrap());
    assert!(10.0 <= holds && holds < fails && fails <= 40.0, "{max}");
    assert_eq!(max["ended"], "found", "{metrics}");
    assert_eq!(max["holds_known"], "for a full duration", "{max}");
    let criterion = &metrics["slo_criteria"]["ttft.p50=120ms"];
    assert_eq!(criterion["verdict"], "kept", "{metrics}");
    assert!(criterion["interval_low"].as_f64() <= criterion["value"].as_f64());
    let steps = metrics["steps"].as_object().unwrap();
    assert!(steps.len() >= 6, "{metrics}");
    assert_eq!(metrics["probes"].as_array().unwrap().len(), steps.len());
    assert_eq!(steps["1"]["outcome"], "held", "{metrics}");
}

/// A stall of the machine may fail a probe of a rate that the queue can keep, so only the upper end is sure.
#[test]
fn a_search_for_a_rate_ends_above_what_holds_and_not_far_above_the_capacity() {
    // 200 requests per second. The start doubles to 148, 296 and 592, where a request waits for more than a second.
    let mock = Mock::start(&["--ttft-ms", "10", "--servers", "2"]);
    let flags = ["--slo", "ttft.p50=500ms", "--request-rate", "37", "--cooldown", "1ms"];
    let metrics = metrics(&search(&mock, &[&flags[..], &TIMES].concat()));
    let max = &metrics["max_load"];
    let fails = max["fails"].as_f64().unwrap();
    assert!(
        fails < 600.0 && max["holds"].as_f64().is_none_or(|holds| holds < fails),
        "{max}"
    );
    let steps = metrics["steps"].as_object().unwrap();
    assert_eq!(metrics["probes"].as_array().unwrap().len(), steps.len());
}

#[test]
fn answers_that_take_longer_than_the_warm_up_do_not_fail_a_probe() {
    let mock = Mock::start(&["--ttft-ms", "1500"]);
    let flags = ["--slo", "ttft.p50=60s", "--request-rate", "20", "--arrival", "constant"];
    // The pause does not fit into the budget, so there is one probe.
    let times = [
        "--duration",
        "1s",
        "--warmup-time",
        "0",
        "--budget",
        "0.2",
        "--cooldown",
        "1m",
    ];
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
    let mock = Mock::start(&["--ttft-ms", "3000"]);
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
    // The first probe needs four seconds of 1.5 and fits by its duration.
    let report = report(&search(&mock, &[&load[..], &["--budget", "0.025"]].concat()));
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
