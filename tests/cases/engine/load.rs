//! Load that takes the place of a workload's pacing: arrivals, limits on concurrency, warm-up time, and objectives.

use std::process::Output;

use serde_json::Value;

use super::runs::{at_mock, code, csv_rows};
use crate::support::ks::p_value;
use crate::support::mock::{Mock, served};
use crate::support::{Dir, report, stderr, stdout, warning_codes};

fn run(mock: &Mock, folder: &Dir, flags: &[&str]) -> Output {
    let mut command = at_mock(mock, flags);
    command.arg("--output-dir").arg(folder.path()).output().unwrap()
}

/// A column of the requests of a saved result.
fn column(folder: &Dir, name: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(folder.join("run.json")).unwrap();
    let result: Value = serde_json::from_str(&text).unwrap();
    let table = &result["samples"]["tables"]["requests"];
    let columns = table["columns"].as_array().unwrap();
    let at = columns.iter().position(|column| column["key"] == name).unwrap();
    let rows = table["rows"].as_array().unwrap();
    rows.iter().map(|row| row[at].as_f64().unwrap()).collect()
}

fn save(folder: &Dir) -> String {
    format!("result={}", folder.join("run.json").display())
}

#[test]
fn poisson_arrivals_are_poisson_and_all_are_sent() {
    let (mock, folder) = (Mock::start(&["--ttft-ms", "1", "--itl-ms", "1"]), Dir::new());
    let saved = save(&folder);
    let output = run(
        &mock,
        &folder,
        &["--request-rate", "200", "--num-requests", "600", "--save", &saved],
    );
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let mut due_ms = column(&folder, "scheduled_ms");
    due_ms.sort_by(f64::total_cmp);
    assert_eq!(due_ms.len(), 600);
    assert!((2500.0..3500.0).contains(&due_ms[599]), "{}", due_ms[599]);
    let gaps: Vec<f64> = due_ms.windows(2).map(|pair| (pair[1] - pair[0]) / 5.0).collect();
    let p = p_value(&gaps, |gap| 1.0 - (-gap).exp());
    assert!(p > 0.01, "{p}");
    let (_, log) = mock.end("-TERM");
    let served = served(&log).count();
    assert_eq!(served, due_ms.len());
    let load = &report(&output)["metrics"]["load"];
    assert_eq!((&load["rate_configured"], &load["unsent"]), (&200.0.into(), &0.into()));
}

#[test]
fn the_same_seed_gives_the_same_arrivals_and_other_prompts_do_not_change_them() {
    let mock = Mock::start(&["--ttft-ms", "1"]);
    let due = |seed: &str, length: &str| {
        let folder = Dir::new();
        let (saved, rate) = (save(&folder), ["--request-rate", "100", "--num-requests", "20"]);
        let flags = ["--seed", seed, "--rp-request-length", length, "--save", &saved];
        assert_eq!(code(&run(&mock, &folder, &[&rate[..], &flags].concat())), 0);
        let mut due = column(&folder, "scheduled_ms");
        due.sort_by(f64::total_cmp);
        due
    };
    assert_eq!(due("7", "20"), due("7", "90"));
    assert_ne!(due("7", "20"), due("8", "20"));
}

#[test]
fn what_a_limit_holds_back_is_in_the_latencies_from_the_schedule_alone() {
    let (mock, folder) = (Mock::start(&["--ttft-ms", "100"]), Dir::new());
    let load = [
        "--request-rate",
        "50",
        "--arrival",
        "constant",
        "--duration",
        "3s",
        "--max-concurrency",
        "1",
    ];
    let output = run(&mock, &folder, &load);
    let report = report(&output);
    let metrics = &report["metrics"];
    assert!(
        warning_codes(&report["metrics"]).contains(&"load-held-back"),
        "{report}"
    );
    assert!(stdout(&output).contains("--max-concurrency 1 held them back"));
    let sent = csv_rows(&folder).len() as u64;
    assert_eq!(metrics["load"]["unsent"].as_u64().unwrap() + sent, 150);
    assert_eq!(metrics["load"]["rate_due"], 50.0);
    let (latencies, p99) = (&metrics["latency_ms"], |row: &str, of: &Value| {
        of[row]["p99"].as_f64().unwrap()
    });
    let waited = p99("ttft_scheduled", latencies) - p99("ttft", latencies);
    assert!(waited > 500.0 && p99("slot_wait", latencies) > 500.0, "{latencies}");
}

#[test]
fn a_stall_of_the_engine_is_in_the_p99_from_the_schedule_and_not_in_the_one_from_dispatch() {
    let p99s = |rate: u32| {
        // The stall is from 0.5 s to 4.5 s of 5 s of arrivals.
        let stall = ["--stall-at", "0.5", "--stall-for", "4", "--ttft-ms", "0"];
        let (mock, folder) = (Mock::start(&stall), Dir::new());
        let (per_second, count) = (rate.to_string(), (5 * rate).to_string());
        let rate = ["--request-rate", &per_second, "--num-requests", &count];
        // One place: a single request meets the stall, less than 1 % of all.
        let output = run(&mock, &folder, &[&rate[..], &["--max-concurrency", "1"]].concat());
        let latencies = report(&output)["metrics"]["latency_ms"].clone();
        ["ttft_scheduled", "ttft"].map(|row| latencies[row].clone())
    };
    let p99s = &p99s;
    let rows: Vec<[Value; 2]> = std::thread::scope(|scope| {
        let runs = [50, 100, 200].map(|rate| scope.spawn(move || p99s(rate)));
        runs.map(|run| run.join().unwrap()).into()
    });
    for [scheduled, dispatch] in &rows {
        let ms = |row: &Value, key: &str| row[key].as_f64().unwrap();
        assert!(ms(scheduled, "p99") > 1000.0, "{rows:?}");
        assert!(ms(dispatch, "p99") < 1000.0 && ms(dispatch, "max") > 1000.0, "{rows:?}");
    }
}

#[test]
fn a_closed_loop_keeps_its_concurrency_and_starts_the_list_again() {
    let (mock, folder) = (Mock::start(&["--ttft-ms", "5"]), Dir::new());
    let qa = [
        "--workload",
        "long-doc-qa",
        "--kv-cache-volume",
        "1",
        "--ldqa-document-length",
        "50",
    ];
    let load = ["--max-concurrency", "3", "--num-requests", "10"];
    let report = report(&run(&mock, &folder, &[&qa[..], &load].concat()));
    assert_eq!(report["metrics"]["traffic"]["in_flight_peak"], 3);
    assert_eq!(report["metrics"]["load"]["concurrency_configured"], 3);
    // Two documents with two questions each.
    let rows = csv_rows(&folder);
    let ids: Vec<&str> = rows.iter().map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!((ids.len(), ids.iter().filter(|id| id.contains('#')).count()), (10, 6));
    assert!(
        ids.contains(&"doc0_q1#2") && ids.iter().filter(|id| id.ends_with("#3")).count() == 2,
        "{ids:?}"
    );
    assert_eq!(report["metrics"]["load"]["list_repeats"], 2);
    assert!(
        warning_codes(&report["metrics"]).contains(&"repeated-prompts"),
        "{report}"
    );
}

#[test]
fn requests_of_the_warm_up_time_are_sent_and_not_measured() {
    let (mock, folder) = (Mock::start(&["--ttft-ms", "2"]), Dir::new());
    let load = ["--request-rate", "100", "--arrival", "constant", "--num-requests", "80"];
    let times = ["--warmup-time", "300ms", "--duration", "60s"];
    let report = report(&run(&mock, &folder, &[&load[..], &times].concat()));
    assert_eq!(report["metrics"]["load"]["unmeasured"], 30);
    assert_eq!(report["metrics"]["results"]["successful"], 50);
    assert_eq!(csv_rows(&folder).len(), 50);
    let (_, log) = mock.end("-TERM");
    assert_eq!(served(&log).count(), 80);
}

#[test]
fn a_percentile_that_is_broken_ends_with_3_and_one_that_is_kept_with_0() {
    let mock = Mock::start(&["--ttft-ms", "30"]);
    let of = |limits: &str| run(&mock, &Dir::new(), &["--rp-num-requests", "20", "--slo", limits]);
    let kept = of("ttft.p99=60s,ttft=60s");
    let said = stderr(&kept);
    assert!(code(&kept) == 0 && !said.contains("--slo"), "{said}");
    let metrics = &report(&kept)["metrics"];
    assert_eq!(
        (&metrics["slo"]["good"], &metrics["slo"]["good_share"]),
        (&20.into(), &100.0.into())
    );
    assert_eq!(metrics["slo"]["good_share_low"], 83.89);
    assert_eq!(metrics["slo_criteria"]["ttft.p99=60s"]["verdict"], "kept");
    let broken = of("ttft.p50=10ms,e2el=10ms");
    assert_eq!(code(&broken), 3);
    assert!(
        stderr(&broken).contains("\nlmcache-bench engine: --slo ttft.p50=10ms is broken: "),
        "{}",
        stderr(&broken)
    );
    let metrics = &report(&broken)["metrics"];
    assert_eq!(
        (&metrics["slo"]["good"], &metrics["slo"]["clock"]),
        (&0.into(), &"dispatch".into())
    );
    // No criterion, so nothing to end with 3.
    assert_eq!(code(&of("ttft=10ms")), 0);
}

#[test]
fn failures_break_a_percentile_before_they_fail_the_run() {
    let mock = Mock::start(&["--fault", "status=500", "--fault-every", "2"]);
    let failing = ["--rp-num-requests", "10"];
    assert_eq!(code(&run(&mock, &Dir::new(), &failing)), 1);
    let output = run(&mock, &Dir::new(), &[&failing[..], &["--slo", "ttft.p90=60s"]].concat());
    assert_eq!(code(&output), 3);
    assert!(
        stderr(&output).contains("is broken by requests that failed"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn flags_about_load_that_cannot_be_are_refused_before_anything_is_sent() {
    let mock = Mock::start(&[]);
    let chat = [
        "--workload",
        "multi-round-chat",
        "--mrc-qps",
        "2",
        "--request-rate",
        "3",
    ];
    let cases: [(&[&str], &str); 13] = [
        (&["--request-rate", "0"], "a rate must be above 0"),
        (&["--request-rate", "-1"], "a rate must be above 0"),
        (&["--request-rate", "nan"], "a rate must be above 0"),
        (&["--request-rate", "1e9"], "at most 1000000 requests per second"),
        (&chat, "--mrc-qps is the workload's own rate"),
        (&["--arrival", "gamma"], "--arrival needs a rate"),
        (
            &["--request-rate", "1", "--burstiness", "2"],
            "--burstiness is the shape of --arrival gamma",
        ),
        (
            &["--max-concurrency", "0"],
            "--max-concurrency is 0 but must be 1 to 65536",
        ),
        (&["--num-requests", "0"], "--num-requests is 0 but must be"),
        (&["--duration", "0"], "--duration is 0 but must be above 0"),
        (&["--duration", "5 days"], "is no duration"),
        (
            &["--slo", "ttft=fast"],
            "--slo: 'ttft=fast' has no time; write it as 800ms",
        ),
        (
            &["--until-steady", "30s"],
            "--until-steady 30s is over before the 30s that a steady state is judged by",
        ),
    ];
    for (flags, why) in cases {
        let output = run(&mock, &Dir::new(), flags);
        assert_eq!((code(&output), stdout(&output).as_str()), (2, ""), "{flags:?}");
        assert!(stderr(&output).contains(why), "{flags:?}: {}", stderr(&output));
    }
    let (_, log) = mock.end("-TERM");
    assert!(log.iter().all(|line| line["path"] == "/v1/models"), "{log:?}");
}

#[test]
fn a_run_ends_when_it_is_steady_and_says_why_when_it_is_not() {
    let (mock, folder) = (Mock::start(&["--ttft-ms", "1000"]), Dir::new());
    let load = ["--request-rate", "50", "--arrival", "constant"];
    let saves = [
        "--save",
        &save(&folder),
        "--save",
        &format!("series.csv={}", folder.join("series.csv").display()),
    ];
    let steady = ["--until-steady", "10m", "--steady-window", "5s"];
    let report_steady = report(&run(&mock, &folder, &[&load[..], &steady, &saves].concat()));
    let load_section = &report_steady["metrics"]["load"];
    let since = load_section["steady_since_s"].as_f64().unwrap();
    assert!(since < 595.0 && load_section["not_steady"].is_null(), "{load_section}");
    // Every request that is measured was due since then.
    let first_ms = column(&folder, "scheduled_ms").into_iter().fold(f64::MAX, f64::min);
    assert!(first_ms >= since * 1e3, "{first_ms} {since}");
    let series = std::fs::read_to_string(folder.join("series.csv")).unwrap();
    let rows: Vec<Vec<&str>> = series.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0][..4], ["second", "width_s", "started", "finished"]);
    let started: u64 = rows[1..].iter().map(|row| row[2].parse::<u64>().unwrap()).sum();
    let measured = report_steady["metrics"]["results"]["successful"].as_u64().unwrap();
    let before = load_section["unmeasured"].as_u64().unwrap_or(0);
    assert_eq!(started, measured + before);

    let short = ["--until-steady", "60s", "--steady-window", "5s", "--num-requests", "50"];
    let report = report(&run(&mock, &Dir::new(), &[&load[..], &short].concat()));
    assert!(warning_codes(&report["metrics"]).contains(&"not-steady"), "{report}");
    let why = report["metrics"]["load"]["not_steady"].as_str().unwrap();
    assert!(why.ends_with("and a window is 5 s long"), "{why}");
}

#[test]
fn connections_of_an_open_loop_are_opened_before_they_are_needed() {
    // Answers of three seconds: all are in flight, more than are planned for.
    let (mock, folder) = (Mock::start(&["--ttft-ms", "3000"]), Dir::new());
    let load = ["--request-rate", "2", "--arrival", "constant", "--num-requests", "6"];
    let report = report(&run(&mock, &folder, &load));
    let traffic = &report["metrics"]["traffic"];
    assert!(traffic["in_flight_peak"].as_u64().unwrap() > 4, "{traffic}");
    assert_eq!(traffic["connections_opened"], 0, "{traffic}");
    assert!(
        !warning_codes(&report["metrics"]).contains(&"late-connections"),
        "{report}"
    );
}

#[test]
fn what_is_going_to_happen_is_said_before_the_run() {
    let mock = Mock::start(&["--ttft-ms", "1"]);
    let said = |flags: &[&str]| stderr(&run(&mock, &Dir::new(), flags)).to_string();
    let single = said(&[
        "--request-rate",
        "100",
        "--burstiness",
        "0.5",
        "--arrival",
        "gamma",
        "--warmup-time",
        "100ms",
        "--duration",
        "200ms",
        "--max-concurrency",
        "9",
    ]);
    let load = "Load: 100 requests/s (gamma, burstiness 0.5), at most 9 in flight, 100ms warm-up, 200ms measured\n";
    assert!(single.contains(load), "{single}");
    assert!(single.contains("Measuring for 200ms after 100ms\n"), "{single}");
    let sweep = said(&[
        "--sweep",
        "concurrency=1,2",
        "--num-requests",
        "4",
        "--cooldown",
        "0",
        "--repeats",
        "2",
    ]);
    assert!(
        sweep.contains("Sweep: concurrency=1,2, 4 requests, 2 times each\n"),
        "{sweep}"
    );
    assert!(sweep.contains("step 5 of 5: concurrency 1\n"), "{sweep}");
    let search = said(&[
        "--find-max",
        "--slo",
        "ttft.p50=1us",
        "--num-requests",
        "1",
        "--budget",
        "0.1",
        "--cooldown",
        "1h",
        "--request-rate",
        "9",
    ]);
    let load = "Search: the highest rate that keeps ttft.p50=1us, 1 request, within 6s\n";
    assert!(search.contains(load), "{search}");
    assert!(search.contains("probing rate 9\n"), "{search}");
}
