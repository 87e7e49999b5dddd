//! Complete runs of the binary: report, files, exit codes.

use std::net::TcpStream;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::mock::Mock;
use crate::support::script::{After, ScriptServer, Seen, good_answer, plain_answer};
use crate::support::{Dir, bench, stderr, stdout, warning_codes};

/// `engine` with one request in flight: five documents, two questions each.
pub fn engine(url: &str, folder: &Dir, more: &[&str]) -> Command {
    let mut command = certified(url, folder, more);
    command.arg("--no-certificate");
    command
}

/// The same, with the certificate's replay before it.
pub fn certified(url: &str, folder: &Dir, more: &[&str]) -> Command {
    let mut command = bench();
    command.env("OPENAI_API_KEY", "sk-very-secret");
    command.args([
        "engine",
        "--engine-url",
        url,
        "--model",
        "m",
        "--workload",
        "long-doc-qa",
    ]);
    command.args(["--tokens-per-gb-kvcache", "100", "--kv-cache-volume", "2"]);
    command.args(["--ldqa-document-length", "40", "--ldqa-num-inflight-requests", "1"]);
    command.args(["--ldqa-shuffle-policy", "tile"]);
    command.arg("--output-dir").arg(folder.path()).args(more);
    command
}

/// `engine` against a mock engine, without questions and without the replay.
pub fn engine_at(mock: &Mock) -> Command {
    let mut command = bench();
    command.args(["engine", "--engine-url", &mock.address]);
    command.args(["--no-certificate", "--no-interactive"]);
    command
}

/// The same with its report in JSON; of the flags that a workload needs, random-prefill has all.
pub fn at_mock(mock: &Mock, flags: &[&str]) -> Command {
    let mut command = engine_at(mock);
    command.args(["--format", "json"]);
    command.args(["--tokens-per-gb-kvcache", "100", "--rp-request-length", "20"]);
    if !flags.contains(&"--workload") {
        command.args(["--workload", "random-prefill"]);
    }
    command.args(flags);
    command
}

pub fn good(_: &Seen, stream: &mut TcpStream) -> After {
    good_answer(stream, 4);
    After::Keep
}

pub fn code(output: &Output) -> i32 {
    output.status.code().expect("it ends by itself")
}

pub fn csv_rows(folder: &Dir) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("bench_results.csv")).unwrap();
    text.split("\r\n")
        .skip(1)
        .filter(|row| !row.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_good_run_exits_0_and_writes_all_files() {
    let (server, folder) = (ScriptServer::start(good), Dir::new());
    let lines = folder.join("requests.jsonl");
    let report = folder.join("report.txt");
    let more = [
        "--json",
        "--requests-jsonl",
        lines.to_str().unwrap(),
        "--output",
        report.to_str().unwrap(),
    ];
    let output = engine(server.url(), &folder, &more).output().unwrap();
    assert_eq!(
        (code(&output), stderr(&output).as_str()),
        (0, ""),
        "{}",
        stdout(&output)
    );
    let rows = csv_rows(&folder);
    assert_eq!(rows.len(), 10);
    assert!(
        rows.iter().all(|row| row.contains(",True,") && row.contains(",7,4,")),
        "{rows:?}"
    );
    let summary: Value = serde_json::from_slice(&std::fs::read(folder.join("bench_summary.json")).unwrap()).unwrap();
    assert_eq!(summary["results"]["successful_requests"], 10);
    assert_eq!(summary["config"]["workload"], "long-doc-qa");
    assert_eq!(std::fs::read_to_string(&lines).unwrap().lines().count(), 10);
    let shown = stdout(&output);
    assert!(shown.ends_with(&std::fs::read_to_string(&report).unwrap()));
    assert!(
        shown.contains("\nArrival stamps:                                   kernel\n"),
        "{shown}"
    );
    assert!(!shown.contains('\u{1b}'), "no colour and no cursor codes into a pipe");
    // Five warmup requests of one token, then ten.
    assert_eq!(server.seen().len(), 15);
    assert_eq!(server.connections(), 1);
    for text in [shown, std::fs::read_to_string(lines).unwrap()] {
        assert!(!text.contains("very-secret"));
    }
}

/// The time limit for the metrics page is a few seconds, shorter than the limits of a request.
#[test]
fn without_an_answer_about_counters_only_the_counters_are_missing() {
    let (server, folder) = (ScriptServer::start_mute(good), Dir::new());
    let output = engine(server.url(), &folder, &["--format", "json"]).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["metrics"]["results"]["successful"], 10);
    assert!(report["metrics"].get("prompt_sources").is_none());
    let warnings = report["metrics"]["warnings"].as_array().unwrap();
    let warning = warnings.iter().find(|warning| warning["code"] == "no-counters");
    let text = warning.expect("the warning is there")["text"].as_str().unwrap();
    assert!(text.contains(&format!("{}/metrics: timeout", server.url())), "{text}");
    assert!(!text.contains("--engine-url"), "the engine answers: {text}");
}

#[test]
fn with_format_json_standard_output_is_only_json() {
    let (server, folder) = (ScriptServer::start(good), Dir::new());
    let output = engine(server.url(), &folder, &["--format", "json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["metrics"]["results"]["successful"], 10);
    assert_eq!(report["metrics"]["client"]["stamps"], "kernel");
    assert_eq!(report["metrics"]["traffic"]["connections_reused"], 10);
    assert!(
        stderr(&output).contains("Workload: long-doc-qa"),
        "the banner goes elsewhere"
    );
}

#[test]
fn quiet_prints_only_the_report() {
    let (server, folder) = (ScriptServer::start(good), Dir::new());
    let output = engine(server.url(), &folder, &["-q"]).output().unwrap();
    assert!(stdout(&output).starts_with("======== Engine Benchmark Result (long-doc-qa) ====="));
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
}

#[test]
fn failed_requests_are_counted_and_explained_and_exit_1() {
    let answered = AtomicUsize::new(0);
    let server = ScriptServer::start(move |request, stream| {
        if answered.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            return good(request, stream);
        }
        plain_answer(
            stream,
            "500 Internal Server Error",
            "application/json",
            r#"{"error":{"message":"boom"}}"#,
        );
        After::Keep
    });
    let folder = Dir::new();
    let output = engine(server.url(), &folder, &["--no-warmup", "--format", "json"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 1);
    let said = stderr(&output);
    assert!(
        said.contains("5 of 10 requests failed\n  5 x Error code: 500 - boom\n"),
        "{said}"
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["metrics"]["failures"]["http_status"], 5);
    assert!(warning_codes(&report["metrics"]).contains(&"many-failures"), "{report}");
    assert_eq!(
        csv_rows(&folder)
            .iter()
            .filter(|row| row.ends_with(",Error code: 500 - boom"))
            .count(),
        5
    );
    assert_eq!(server.seen().len(), 10, "no request is sent twice");
}

#[test]
fn an_engine_that_is_down_is_one_message() {
    let folder = Dir::new();
    let output = engine("http://127.0.0.1:9", &folder, &[]).output().unwrap();
    assert_eq!(code(&output), 1);
    let said = stderr(&output);
    assert!(
        said.starts_with("Connection error: could not connect to http://127.0.0.1:9: "),
        "{said}"
    );
    assert!(
        said.ends_with("check --engine-url, and that the engine runs\n"),
        "{said}"
    );
}

#[test]
fn https_to_a_plain_http_server_is_one_message() {
    let (server, folder) = (ScriptServer::start(good), Dir::new());
    let url = server.url().replace("http://", "https://");
    let output = engine(&url, &folder, &[]).output().unwrap();
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).starts_with(&format!("Connection error: could not connect to {url}: ")));
}

#[test]
fn with_a_read_only_folder_only_the_files_are_missing() {
    let (server, folder) = (ScriptServer::start(good), Dir::new());
    std::fs::write(folder.join("file"), "").unwrap();
    let blocked = folder.join("file/below");
    let output = engine(
        server.url(),
        &folder,
        &["--json", "--output-dir", blocked.to_str().unwrap()],
    )
    .output()
    .unwrap();
    assert_eq!(code(&output), 1);
    assert!(stdout(&output).contains("Successful requests:                                  10\n"));
    let said = stderr(&output);
    assert!(
        said.contains("could not make the folder --output-dir ") && said.contains("file/below"),
        "{said}"
    );
}

#[test]
fn with_a_full_disk_only_the_files_are_missing() {
    let (server, folder) = (ScriptServer::start(good), Dir::new());
    let output = engine(server.url(), &folder, &["--requests-jsonl", "/dev/full"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 1);
    assert!(stdout(&output).contains("Successful requests:                                  10\n"));
    assert!(stderr(&output).contains("could not write the requests to --requests-jsonl /dev/full: "));
    assert_eq!(csv_rows(&folder).len(), 10);
}

#[test]
fn invalid_addresses_are_refused() {
    let folder = Dir::new();
    for (url, why) in [
        ("http://user:hunter2@127.0.0.1:9", "holds a user or a password"),
        ("", "names no host"),
        ("https:///v1", "names no host"),
        ("ftp://h", "begins with ftp://"),
        ("http://h:65536/v1", "has the port 65536"),
        ("[::1]:x", "has the port x"),
        ("http://127.0.0.1:9 ", "holds ' ', which no address can have"),
        (
            "http://127.0.0.1:9/v1/chat/completions/",
            "ends in /chat/completions, which is added",
        ),
    ] {
        let output = engine(url, &folder, &[]).output().unwrap();
        let said = stderr(&output);
        assert_eq!(code(&output), 1, "{said}");
        assert!(said.starts_with("--engine-url ") && said.contains(why), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_failed_warmup_is_a_warning() {
    let answered = AtomicUsize::new(0);
    let server = ScriptServer::start(move |request, stream| {
        if answered.fetch_add(1, Ordering::SeqCst) < 2 {
            plain_answer(stream, "503 Service Unavailable", "text/plain", "");
            return After::Keep;
        }
        good(request, stream)
    });
    let folder = Dir::new();
    let output = engine(server.url(), &folder, &[]).output().unwrap();
    assert_eq!(code(&output), 0);
    assert!(
        stdout(&output).contains("- 2 of 5 warmup requests failed"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn the_certificate_is_in_the_report() {
    let (server, folder) = (ScriptServer::start(good), Dir::new());
    let mut command = bench();
    command.args([
        "engine",
        "--engine-url",
        server.url(),
        "--model",
        "m",
        "--workload",
        "random-prefill",
    ]);
    command.args([
        "--tokens-per-gb-kvcache",
        "1",
        "--rp-num-requests",
        "2",
        "--rp-request-length",
        "50",
    ]);
    command.args(["--format", "json", "--output-dir"]).arg(folder.path());
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let client = &report["metrics"]["client"];
    assert!(client["error"].as_str().unwrap().starts_with("TTFT p99 "), "{client}");
    let number = |key: &str| client[key].as_f64().unwrap_or_else(|| panic!("{key} in {client}"));
    assert!(number("error_ttft_ms_mean") >= 0.0);
    // The stated error is the larger of the replay's and the run's own.
    let stated = client["error"].as_str().unwrap().split(' ').nth(2).unwrap();
    let stated: f64 = stated.parse().unwrap();
    let shown = number("error_whole_ms_p99").max(number("run_own_ms_p99"));
    // Both are rounded, one to tenths and the other to thousandths.
    assert!((stated - shown).abs() <= 0.051, "{client}");
    assert!(number("run_own_ms_p99") > 0.0 && number("run_events_per_s") > 0.0);
    let basis = client["error_basis"].as_str().unwrap();
    assert!(basis.starts_with("replay") || basis.starts_with("this run"), "{client}");
    assert!(number("error_whole_ms_p99") >= number("error_ttft_ms_p99").max(number("error_lateness_ms_p99")));
    assert!(
        number("lateness_ms_p50") <= number("lateness_ms_p99")
            && number("lateness_ms_p99") <= number("lateness_ms_max")
    );
    assert_eq!(client["error_streams"], 2);
}
