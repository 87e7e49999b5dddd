//! How a run of `server` ends early: the server is lost, nobody reads the output, or a signal arrives.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use serde_json::Value;

use super::{assert_nothing_left, failing, shared_memory};
use crate::support::bench;
use crate::support::mock_server::{MockServer, PATIENT, everywhere, of_release};

pub fn kill(child: &std::process::Child, signal: &str) {
    let pid = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args([signal, &pid])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn losing_the_server_ends_the_run_with_a_partial_report() {
    let driven = ["--transfer-mode", "lmcache_driven"];
    for (fault, client, want) in [
        ("die@13", &[][..], "answers nothing any more"),
        ("die@13", &driven, "answers nothing any more"),
        ("disconnect:commit_store@2", &[], "COMMIT_STORE lost its connection"),
    ] {
        let (_, report) = failing(fault, client, want);
        assert_eq!(report["metrics"]["run"]["report"], "partial (aborted)", "{fault}");
    }
}

#[test]
fn a_killed_server_is_reported_and_no_shared_memory_is_left() {
    everywhere(&["engine_driven", "lmcache_driven"], |release, wire, mode| {
        let mut server = MockServer::start(&of_release(release, &[]));
        let mut command = server.client_by(wire);
        command.args(["--transfer-mode", mode, "--end", "1000000", "--rpc-timeout-s", "3"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("[seq=3] CHECKSUM MATCH OK")));
        server.kill();
        let report: Vec<String> = lines.map(Result::unwrap).collect();
        assert!(
            report.iter().any(|line| line.ends_with("partial (aborted)")),
            "{report:#?}"
        );
        assert_eq!(shared_memory(child.id()), Vec::<String>::new());
        let mut text = String::new();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{text}");
        assert!(
            text.contains("is the server still running?") || text.contains("could not reach"),
            "{text}"
        );
    });
}

/// A run without `--end`.
pub fn endless(server: &MockServer, mode: &str) -> std::process::Command {
    let shape = crate::support::mock_server::SHAPE;
    let mut command = bench();
    command.args(["server", "--mode", "cpu", "--rpc-url", &server.rpc_url]);
    command.args(["--url", &server.http_url, "--num-tokens", "40"]);
    command.args(["--kvcache-shape-spec", shape, "--interval", "0.001"]);
    command.args(["--transfer-mode", mode]).args(PATIENT);
    command
}

#[test]
fn an_endless_run_ends_when_standard_output_is_closed() {
    let server = MockServer::start(&[]);
    let mut command = endless(&server, "engine_driven");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("[seq=3] STORE")));
    drop(lines);
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{text}");
    assert!(text.contains("Broken pipe"), "{text}");
    assert_nothing_left(&server);
}

/// Standard output stays open, so the whole report is written.
#[test]
fn an_endless_run_ends_when_standard_error_is_closed() {
    let server = MockServer::start(&[]);
    let mut command = endless(&server, "lmcache_driven");
    command
        .args(["--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("[seq=3] STORE")));
    drop(lines);
    let report: Value = serde_json::from_reader(child.stdout.take().unwrap()).unwrap();
    let (pid, status) = (child.id(), child.wait().unwrap());
    assert_eq!(status.code(), Some(141), "{report}");
    assert!(report.to_string().contains("partial (SIGPIPE)"), "{report}");
    assert_nothing_left(&server);
    assert_eq!(shared_memory(pid), Vec::<String>::new());
}

#[test]
fn signals_end_an_endless_run_with_a_report_and_nothing_left() {
    let cases = [
        ("-INT", "engine_driven", 0, "complete (until SIGINT)"),
        ("-INT", "lmcache_driven", 0, "complete (until SIGINT)"),
        ("-TERM", "lmcache_driven", 143, "partial (SIGTERM)"),
        ("-HUP", "lmcache_driven", 129, "partial (SIGHUP)"),
    ];
    everywhere(&cases, |release, wire, (signal, mode, code, state)| {
        if signal == "-HUP" && crate::support::hangups_are_ignored() {
            println!("skipped: SIGHUP is ignored here, as under nohup");
            return;
        }
        let server = MockServer::start(&of_release(release, &[]));
        let mut command = endless(&server, mode);
        command.args(["--wire", wire.text()]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("[seq=3] STORE")));
        kill(&child, signal);
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(rest.iter().any(|line| line.ends_with(state)), "{rest:#?}");
        assert_nothing_left(&server);
    });
}

/// A server returns the hits of a lookup once. A run that did not wait for that reply could not free their locks.
#[test]
fn a_signal_during_a_lookup_leaves_no_locks() {
    everywhere(&["engine_driven", "lmcache_driven"], |release, wire, mode| {
        let server = MockServer::start(&of_release(release, &["--delay", "query_prefetch_status=100"]));
        let mut command = endless(&server, mode);
        command.args(["--wire", wire.text()]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The next lookup hits stored chunks.
        assert!(lines.any(|line| line.unwrap().contains("[seq=0] STORE")));
        kill(&child, "-TERM");
        lines.for_each(drop);
        assert_eq!(child.wait().unwrap().code(), Some(143));
        assert_nothing_left(&server);
    });
}

#[test]
fn memory_of_a_killed_run_is_removed_by_the_next_one() {
    // Another test that runs at the same time may remove it too.
    let path = format!("/dev/shm/lmcache-bench-kv-test-{}", std::process::id());
    std::fs::write(&path, b"left behind").unwrap();
    let server = MockServer::start(&[]);
    assert!(server.client().output().unwrap().status.success());
    assert!(!std::path::Path::new(&path).exists());
}
