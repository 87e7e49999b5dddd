//! Several loads in one run: sweeps and searches.

use std::process::Output;

use serde_json::Value;

use super::runs::{at_mock, code};
use crate::support::mock::{Mock, served};
use crate::support::{bench, report, stderr, stdout};

fn run(mock: &Mock, flags: &[&str]) -> Output {
    let mut command = at_mock(mock, flags);
    if flags.contains(&"--sweep") {
        command.args(["--cooldown", "1ms"]);
    }
    command.current_dir(mock.dir.path()).output().unwrap()
}

fn metrics(output: &Output) -> Value {
    report(output)["metrics"].clone()
}

/// The table of the steps in a saved result.
fn saved_steps(path: &str) -> Value {
    let text = std::fs::read_to_string(path).unwrap();
    let result: Value = serde_json::from_str(&text).unwrap();
    result["samples"]["tables"]["steps"].clone()
}

/// The prompts that the mock has seen; the warmup has none in this workload.
fn prompts(log: &[Value]) -> usize {
    served(log).count()
}

#[test]
fn a_number_of_requests_that_ends_before_the_time_does_not_bend_the_rates() {
    let mock = Mock::start(&["--ttft-ms", "1"]);
    let flags = [
        "--sweep",
        "rate=4,80",
        "--arrival",
        "constant",
        "--duration",
        "60s",
        "--warmup-time",
        "0",
    ];
    let output = run(&mock, &[&flags[..], &["--num-requests", "9"]].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = metrics(&output);
    for (step, rate) in [("1", 4.0), ("2", 80.0), ("3", 4.0)] {
        let ended = metrics["steps"][step]["ended_per_s"].as_f64().unwrap();
        assert!((1.0..1.5 * rate).contains(&ended), "{metrics}");
    }
    assert_eq!(metrics["sweep"]["saturation"], 80.0, "{metrics}");
}

#[test]
fn requests_that_are_all_sent_before_the_first_has_ended_have_a_throughput() {
    let mock = Mock::start(&["--ttft-ms", "20"]);
    let output = run(&mock, &["--sweep", "concurrency=3", "--num-requests", "3"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = metrics(&output);
    let ended = metrics["steps"]["1"]["ended_per_s"].as_f64().unwrap();
    assert!((0.01..200.0).contains(&ended), "{metrics}");
    assert_eq!(metrics["sweep"]["saturation"], 3.0, "{metrics}");
}

#[test]
fn a_sweep_ends_with_3_where_no_load_keeps_its_percentiles_and_with_1_where_nothing_is_answered() {
    let mock = Mock::start(&["--ttft-ms", "20"]);
    let flags = ["--sweep", "concurrency=1,2", "--num-requests", "4"];
    let broken = run(&mock, &[&flags[..], &["--slo", "ttft.p50=1ms"]].concat());
    assert_eq!(code(&broken), 3, "{}", stderr(&broken));
    assert!(
        stderr(&broken).ends_with("no load of --sweep keeps every percentile of --slo; the report has the steps\n")
    );
    let refusing = Mock::start(&["--fault", "status=503"]);
    let failed = run(&refusing, &flags);
    assert_eq!(code(&failed), 1, "{}", stderr(&failed));
    assert!(
        stderr(&failed).contains("all 12 requests of all steps failed, the first with: "),
        "{}",
        stderr(&failed)
    );
    assert_eq!(metrics(&failed)["steps"].as_object().unwrap().len(), 3);
}

#[test]
fn what_a_step_shares_with_a_run_of_one_load_is_a_warning_too() {
    let mock = Mock::start(&["--ttft-ms", "1", "--flat-out"]);
    let codes = |flags: &[&str]| {
        let output = run(&mock, flags);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        metrics(&output)["warnings"].to_string()
    };
    let few = [
        "--workload",
        "long-doc-qa",
        "--kv-cache-volume",
        "1",
        "--ldqa-document-length",
        "50",
        "--no-warmup",
    ];
    let again = codes(&[&few[..], &["--sweep", "concurrency=1", "--num-requests", "50"]].concat());
    assert!(
        again.contains("repeated-prompts") && again.contains("At concurrency 1 "),
        "{again}"
    );
    let early = [
        "--sweep",
        "rate=100",
        "--num-requests",
        "5",
        "--warmup-time",
        "10s",
        "--arrival",
        "constant",
    ];
    let nothing = codes(&early);
    assert!(nothing.contains("nothing-measured"), "{nothing}");
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
    let table = saved_steps(&saved);
    let rows = table["rows"].as_array().unwrap();
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
        // Four requests a step, and the mock finishes one step before it sees the next. The most that one of a step computed is
        // that of its first prompt, which is in the cache only where prompts are used again. Questions differ by a token.
        let (_, log) = mock.end("-TERM");
        let computed: Vec<u64> = served(&log)
            .map(|line| line["prompt_sources"]["computed"].as_u64().unwrap())
            .collect();
        let most: Vec<u64> = computed.chunks(4).map(|step| *step.iter().max().unwrap()).collect();
        assert_eq!(most.len(), 3, "{workload}: {computed:?}");
        for later in &most[1..] {
            assert_eq!(*later > most[0] / 2, own, "{workload}: {computed:?}");
        }
    }
}

#[test]
fn steps_that_cannot_be_are_refused_before_anything_is_sent() {
    let mock = Mock::start(&[]);
    let cases: [(&[&str], &str); 15] = [
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
        (&["--cooldown", "2s"], "--cooldown is the pause between the steps"),
        (
            &[
                "--find-max",
                "--find-max-over",
                "concurrency",
                "--slo",
                "ttft=1s",
                "--request-rate",
                "5",
            ],
            "--find-max-over concurrency needs no rate",
        ),
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
    // A timetable, because a stall of the machine bends what a closed loop achieves, and answers that are long beside stalls.
    let mock = Mock::start(&["--ttft-ms", "1000"]);
    let saved = mock.dir.join("run.json").display().to_string();
    let save = format!("result={saved}");
    let steady = ["--until-steady", "10m", "--steady-window", "5s", "--warmup-time", "0"];
    let flags = ["--sweep", "rate=50", "--arrival", "constant", "--save", &save];
    let output = run(&mock, &[&flags[..], &steady].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = metrics(&output);
    assert!(!metrics["warnings"].to_string().contains("not-steady"), "{metrics}");
    let table = saved_steps(&saved);
    let first = |key: &str| {
        let columns = table["columns"].as_array().unwrap();
        let at = columns.iter().position(|column| column["key"] == key).unwrap();
        table["rows"][0][at].as_f64().unwrap()
    };
    assert!(first("seconds") < 590.0 && first("ended_per_s") > 20.0, "{table}");
    // Little's law would be off by a factor of 120 if the requests of the window were divided by the limit.
    let served = first("ended_per_s") * first("latency_mean_ms") / 1e3;
    let ratio = first("in_flight_mean") / served;
    assert!((0.5..2.0).contains(&ratio), "{table}");
}
