//! The outputs of `l2`: streams, formats, LMCache's sections, quiet runs, files.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::support::{Dir, bench, json, l2, stderr, stdout};

/// The lines of LMCache's sections with figures replaced: the form that scripts rely on.
fn shape(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let timed = [
            "Duration",
            "Throughput",
            "Avg ",
            "Queue depth",
            "CPU",
            "Data across",
            "Check speed",
            "Start to",
        ];
        let cells = [
            "Queued",
            "Create",
            "Open",
            "Transfer",
            "Rename",
            "Close",
            "Key total",
            "Task ",
        ];
        let volatile = timed.iter().chain(&cells).any(|start| line.starts_with(start));
        if line.trim_start().starts_with("p50") {
            lines.push("columns #".to_owned());
        } else if volatile {
            let label: String = line.chars().take_while(|c| *c != ':' && !c.is_ascii_digit()).collect();
            lines.push(format!("{} #", label.trim_end()));
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_terminal_report_has_the_golden_shape() {
    let dir = Dir::new();
    let output = l2(std::path::Path::new("store"))
        .args([
            "--in-flight",
            "2",
            "--rounds",
            "3",
            "--lookup-max-hit-rate",
            "0.5",
            "--no-skip-verify",
        ])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let start = text.find("===").unwrap();
    let report = &text[start..text.find("[Cleanup]").unwrap()];
    assert!(
        report
            .lines()
            .all(|line| line.len() == 64 || line.starts_with("- ") || line.starts_with("  ")),
        "{report}"
    );
    // Labels and warnings depend on the file system below the temporary directory; the sections before do not.
    let report = &report[..report
        .find("--- Run")
        .map_or(report.len(), |at| report[..at].rfind('\n').unwrap() + 1)];
    let shaped: String = shape(report)
        .lines()
        .filter(|line| !line.starts_with("Measured"))
        .map(|l| format!("{l}\n"))
        .collect();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/l2-terminal.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden, &shaped).unwrap();
    }
    assert_eq!(
        shaped,
        fs::read_to_string(golden).unwrap(),
        "set UPDATE_GOLDEN=1 to accept a change"
    );
}

#[test]
fn json_stdout_is_json_and_progress_goes_to_stderr() {
    let dir = Dir::new();
    let (output, value) = json(l2(&dir.join("store")).args(["--rounds", "2"]));
    assert!(output.status.success());
    assert!(stderr(&output).contains("[Store] Round 3:"), "{}", stderr(&output));
    let metrics = &value["metrics"];
    assert_eq!(value["title"], "L2 Adapter Benchmark Result");
    assert_eq!(metrics["op_0"]["operation"], "Store");
    assert_eq!(metrics["op_2"]["total_success"], 8);
    let keys: Vec<&String> = metrics["op_0"].as_object().unwrap().keys().collect();
    let reference = [
        "operation",
        "rounds",
        "rounds_timed_out",
        "keys_per_round",
        "total_keys",
        "total_success",
        "duration_avg_ms",
        "duration_min_ms",
        "duration_max_ms",
        "duration_p50_ms",
        "duration_p99_ms",
        "duration_std_ms",
        "throughput_avg_mbps",
        "throughput_min_mbps",
        "throughput_max_mbps",
        "ops_per_sec_avg",
        "latency_per_key_ms",
    ];
    assert_eq!(keys, reference);
}

#[test]
fn progress_lines_are_those_of_the_reference() {
    let dir = Dir::new();
    let output = l2(&dir.join("store")).arg("--no-skip-verify").output().unwrap();
    let text = stdout(&output);
    for line in [
        "\n[Init] Creating adapter...\n[Init] Adapter created successfully (FSL2Adapter).\n\n[Store] Running 1 warmup + 1 ",
        ", success_keys=4/4\n",
        ", found=0/4\n",
        ", loaded=4/4\n",
        "  [Verify] All 4 keys data verified OK.\n",
        "[Cleanup] Closing adapter...\n[Cleanup] Done.\n",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
}

#[test]
fn quiet_prints_only_the_report() {
    let dir = Dir::new();
    let file = dir.join("report.json");
    let output = l2(&dir.join("store"))
        .args(["-q", "--format", "json", "--output"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("{\n  \"title\""), "{}", stdout(&output));
    assert_eq!(fs::read_to_string(file).unwrap(), stdout(&output));
    let output = l2(&dir.join("store")).arg("-q").output().unwrap();
    assert!(stdout(&output).starts_with("====") && !stdout(&output).contains("[Init]"));
}

#[test]
fn paths_that_no_shell_has_expanded_are_used_literally_with_a_note() {
    let dir = Dir::new();
    fs::create_dir(dir.join("~")).unwrap();
    let spec = "\u{feff}{\"type\":\"fs\",\"base_path\":\"~/store\"}";
    let output = bench()
        .args([
            "l2",
            "--num-keys",
            "2",
            "--data-size-kb",
            "4",
            "--output",
            "~/report.txt",
            "--l2-adapter",
            spec,
        ])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let text = stdout(&output);
    assert!(output.status.success(), "{}", stderr(&output));
    for part in [
        "base_path in the adapter JSON: ~/store is taken as it stands",
        "write $HOME/store",
        "--output ~/report.txt is taken as it stands",
    ] {
        // The terminal wraps long lines.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(&text).contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\u{feff}'));
    assert_eq!(dir.names("~/store").len(), 4);
    assert!(dir.join("~/report.txt").exists());
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_the_run() {
    let dir = Dir::new();
    let output = l2(&dir.join("store"))
        .args(["--output", "/proc/no/such"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--output"), "{}", stderr(&output));
    assert!(!dir.join("store").exists());
}

#[test]
fn a_closed_stdout_loses_neither_the_file_nor_the_exit_code() {
    let dir = Dir::new();
    let file = dir.join("report.txt");
    let (reader, mut writer) = std::io::pipe().unwrap();
    drop(reader);
    // A child that another test is starting may have inherited the reader.
    while writer.write_all(b"\n").is_ok() {}
    let child = l2(&dir.join("store"))
        .arg("--output")
        .arg(&file)
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn();
    let output = child.unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("stdout") || stderr(&output).contains("standard output"),
        "{}",
        stderr(&output)
    );
    assert!(fs::read_to_string(file).unwrap().contains("Operation:"));
}
