//! SIGINT and SIGTERM in each phase: a partial report, the documented exit code, no temporary files.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use crate::support::{Dir, bench};

/// Runs many rounds, sends `signal` once `phase` has shown a round, and returns exit code and standard output.
fn interrupted(dir: &Dir, phase: &str, signal: &str) -> (Option<i32>, String) {
    let spec = crate::support::fs_spec(&dir.join("store"));
    let only = phase.to_lowercase();
    if phase != "Store" {
        let stored = bench()
            .args([
                "l2",
                "--only",
                "store",
                "--num-keys",
                "4",
                "--data-size-kb",
                "64",
                "-q",
                "--l2-adapter",
                &spec,
            ])
            .output();
        assert!(stored.unwrap().status.success());
    }
    let mut child = bench()
        .args([
            "l2",
            "--only",
            &only,
            "--num-keys",
            "4",
            "--data-size-kb",
            "64",
            "--l2-adapter",
            &spec,
        ])
        .args(["--rounds", "1000000", "--warmup-rounds", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("] Round 3:") {
        assert!(reader.read_line(&mut text).unwrap() > 0, "ended early: {text}");
    }
    assert!(
        Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    text.clear();
    reader.read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code(), text)
}

#[test]
fn every_phase_ends_with_a_partial_report() {
    for (phase, signal, code, mark) in [
        ("Store", "-INT", 130, "partial (SIGINT)"),
        ("Lookup", "-TERM", 143, "partial (SIGTERM)"),
        ("Load", "-INT", 130, "partial (SIGINT)"),
        ("Store", "-HUP", 129, "partial (SIGHUP)"),
    ] {
        if signal == "-HUP" && crate::support::hangups_are_ignored() {
            println!("skipped: SIGHUP is ignored here, as under nohup");
            continue;
        }
        let dir = Dir::new();
        let (exit, text) = interrupted(&dir, phase, signal);
        assert_eq!(exit, Some(code), "{phase}: {text}");
        assert!(
            text.contains(mark) && text.contains("Rounds not run:"),
            "{phase}: {text}"
        );
        assert!(dir.names("store").iter().all(|name| name.ends_with(".data")), "{phase}");
    }
}

/// Failures before the signal are reported as at the end of a complete run.
#[test]
fn failures_before_a_signal_are_not_lost() {
    let dir = Dir::new();
    let spec = crate::support::fs_spec(&dir.join("store"));
    let mut child = bench()
        .args(["l2", "--only", "load", "--num-keys", "2", "--data-size-kb", "4"])
        .args(["--rounds", "1000000", "--l2-adapter", &spec])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("] Round 3:") {
        assert!(reader.read_line(&mut text).unwrap() > 0, "ended early: {text}");
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    reader.read_to_string(&mut text).unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(
        said.starts_with("Load round 1: bench-model@0x00000000@0@") && said.contains(": not found"),
        "{said}"
    );
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("lmcache-bench: stopped by SIGINT; "), "{said}");
}
