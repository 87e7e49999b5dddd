//! LMCache's adapters through the Python helper, with a stand-in `lmcache` package so that only a Python is needed. The real
//! one is tested by `scripts/interop/bridge.sh`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::support::{Dir, bench, fs_spec, json, skip_without, stderr, stdout};

/// Far more than a helper needs to notice that it is alone.
const GONE_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether the helper can run here; if not, says so, and the case has nothing to show.
fn has_python() -> bool {
    // os.eventfd came with 3.10, as LMCache asks for.
    let probe = Command::new("python3")
        .args(["-c", "import os; os.eventfd"])
        .stderr(Stdio::null())
        .status();
    let found = probe.is_ok_and(|status| status.success());
    if !found {
        skip_without("a python3 from 3.10 on", "install it and run this again");
    }
    found
}

fn fake_lmcache() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake_lmcache")
}

/// `l2 --via lmcache` with the stand-in package and small objects.
fn bridged(spec: &str) -> Command {
    let mut command = bench();
    command
        .env("PYTHONPATH", fake_lmcache())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("LMCACHE_PYTHON")
        .env_remove("VIRTUAL_ENV")
        .env_remove("FAKE_LMCACHE_ALIVE")
        .args([
            "l2",
            "--via",
            "lmcache",
            "--num-keys",
            "4",
            "--data-size-kb",
            "16",
            "--l2-adapter",
            spec,
        ]);
    command
}

fn plugin(class_name: &str) -> String {
    format!(r#"{{"type":"plugin","module_path":"fake","class_name":"{class_name}"}}"#)
}

/// Reads a FIFO that the helper holds open: the end of it is the end of the helper.
struct Alive {
    gone: mpsc::Receiver<()>,
}

impl Alive {
    fn watch(command: &mut Command, dir: &Dir) -> Alive {
        let path = dir.join("alive");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        command.env("FAKE_LMCACHE_ALIVE", &path);
        let (sender, gone) = mpsc::channel();
        thread::spawn(move || {
            File::open(&path).unwrap().read_to_end(&mut Vec::new()).unwrap();
            sender.send(()).unwrap();
        });
        Alive { gone }
    }

    fn assert_gone(self) {
        self.gone.recv_timeout(GONE_TIMEOUT).expect("the helper is still there");
    }
}

fn assert_failed(output: &Output, sentence: &str) {
    assert_eq!(output.status.code(), Some(1), "{}", stderr(output));
    assert!(stderr(output).contains(sentence), "{}", stderr(output));
}

#[test]
fn both_sides_load_what_the_other_stored() {
    if !has_python() {
        return;
    }
    let dir = Dir::new();
    for (stores, loads) in [("lmcache", "native"), ("native", "lmcache"), ("lmcache", "lmcache")] {
        let path = dir.join(&format!("{stores}-{loads}"));
        let run = |via: &str, flags: &[&str]| {
            // The last --via wins.
            let output = bridged(&fs_spec(&path))
                .args(["--via", via, "--rounds", "3", "--in-flight", "2"])
                .args(flags)
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(0), "{stores} {loads}: {}", stderr(&output));
            stdout(&output)
        };
        run(stores, &["--only", "store"]);
        assert!(run(loads, &["--only", "lookup", "--lookup-max-hit-rate", "1"]).contains("found=8/8"));
        let text = run(loads, &["--only", "load", "--no-skip-verify"]);
        assert!(text.contains("All 24 keys data verified OK."), "{text}");
    }
}

#[test]
fn stored_again_nothing_moves_and_the_report_says_so() {
    if !has_python() {
        return;
    }
    let dir = Dir::new();
    let spec = fs_spec(&dir.join("store"));
    let (_, first) = json(bridged(&spec).args(["--only", "store"]));
    let (_, again) = json(bridged(&spec).args(["--only", "store"]));
    let detail = |report: &serde_json::Value| report["metrics"]["detail_0"].clone();
    assert_eq!(detail(&first)["keys_already_there"], 0);
    assert_eq!(detail(&first)["moved_mb"], 0.06);
    assert_eq!(detail(&again)["keys_already_there"], 4);
    assert_eq!(detail(&again)["moved_mb"], 0.0);
}

#[test]
fn the_cost_of_the_bridge_is_in_the_report() {
    if !has_python() {
        return;
    }
    let dir = Dir::new();
    let (output, report) = json(&mut bridged(&fs_spec(&dir.join("store"))));
    assert!(output.status.success(), "{}", stderr(&output));
    let bridge = &report["metrics"]["bridge"];
    assert_eq!(
        (&bridge["bridge_submits"], &bridge["bridge_keys_per_submit"]),
        (&200.into(), &4.into())
    );
    assert!(bridge["bridge_submit_us_p50"].as_f64().unwrap() > 0.0);
    let rows = report["metrics"]["bridge_latency"].as_object().unwrap();
    for row in [
        "mock_lmcache",
        "mock_bridge",
        "store_bridge",
        "lookup_lmcache",
        "load_lmcache",
    ] {
        assert!(rows.contains_key(row), "{row}: {rows:?}");
    }
    assert_eq!(
        report["metrics"]["detail_0"]["io_path"],
        "LMCache's FSL2Adapter in Python"
    );
}

#[test]
fn a_helper_that_dies_is_one_message() {
    if !has_python() {
        return;
    }
    let dir = Dir::new();
    let mut command = bridged(&plugin("Dies"));
    let alive = Alive::watch(&mut command, &dir);
    let (output, report) = json(&mut command);
    assert_failed(
        &output,
        "the Python helper ended with exit code 7; its last line was: about to die",
    );
    assert_eq!(report["metrics"]["op_0"]["total_success"], 0);
    alive.assert_gone();
}

#[test]
fn a_helper_that_hangs_is_ended() {
    if !has_python() {
        return;
    }
    let dir = Dir::new();
    let mut command = bridged(&plugin("Hangs"));
    let alive = Alive::watch(&mut command, &dir);
    let output = command.args(["--round-timeout-s", "3"]).output().unwrap();
    assert_failed(&output, "has still not finished a task of a timed-out round");
    alive.assert_gone();
}

#[test]
fn an_adapter_that_is_never_made_has_the_time_of_a_round() {
    if !has_python() {
        return;
    }
    let dir = Dir::new();
    let mut command = bridged(&plugin("NeverMade"));
    let alive = Alive::watch(&mut command, &dir);
    let output = command.args(["--round-timeout-s", "0.2"]).output().unwrap();
    assert_failed(&output, "LMCache's adapter was not there after 0.2 s");
    alive.assert_gone();
}

/// Ten rounds of lookups that never end cost one time limit, not ten.
#[test]
fn a_server_that_cannot_be_reached_ends_the_run_with_its_first_round() {
    if !has_python() {
        return;
    }
    let spec = r#"{"type":"resp","host":"127.0.0.1","port":1}"#;
    let ends = |operation: &str| {
        let mut command = bridged(spec);
        command.args(["--only", operation, "--rounds", "10", "--warmup-rounds", "0"]);
        let (output, report) = json(command.args(["--round-timeout-s", "3"]));
        assert_failed(&output, "has still not finished a task of a timed-out round");
        assert_eq!(report["metrics"]["op_0"]["rounds_timed_out"], 1, "{operation}");
    };
    thread::scope(|scope| {
        for operation in ["store", "lookup", "load"] {
            scope.spawn(move || ends(operation));
        }
    });
}

#[test]
fn what_lmcache_refuses_is_passed_on() {
    if !has_python() {
        return;
    }
    let cases = [
        (
            "Raises",
            "LMCache's adapter refused the task: RuntimeError: no store today",
        ),
        (
            "FailsStores",
            "reports the whole store task as failed; the last line of its log is: ERROR: the disk is made of cheese",
        ),
        ("FailsToClose", "RuntimeError: it is stuck"),
        ("Refuses", "[Init] Failed to create adapter: connection refused"),
        (
            "NeedsSdk",
            "[Init] Failed to create adapter: No module named 'some_sdk'",
        ),
    ];
    for (class_name, sentence) in cases {
        let output = bridged(&plugin(class_name)).args(["--only", "store"]).output().unwrap();
        assert_failed(&output, sentence);
    }
    let output = bridged(&plugin("SpecError")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let expected = "Error parsing L2 adapter config: --l2-adapter #1 ('plugin'): LMCache does not like it\n";
    assert_eq!(stderr(&output), expected);
}

#[test]
fn a_missing_python_or_lmcache_gets_advice() {
    let output = bridged(&plugin("X"))
        .args(["--python", "/no/such/python"])
        .output()
        .unwrap();
    assert_failed(&output, "could not start /no/such/python: No such file or directory");
    assert!(stderr(&output).contains("--python or LMCACHE_PYTHON"));
    let output = bridged(&plugin("X")).env("VIRTUAL_ENV", "/no/venv").output().unwrap();
    assert_failed(&output, "could not start /no/venv/bin/python");
    if !has_python() {
        return;
    }
    let dir = Dir::new();
    std::fs::copy(Path::new(fake_lmcache()).join("torch.py"), dir.join("torch.py")).unwrap();
    let output = bridged(&plugin("X")).env("PYTHONPATH", dir.path()).output().unwrap();
    assert_failed(
        &output,
        "python3 has no module 'lmcache'; install LMCache there with `python3 -m pip install lmcache`",
    );
    assert_eq!(stderr(&output).matches('\n').count(), 1);
}

#[test]
fn what_cannot_be_done_is_refused_before_python_starts() {
    let output = bridged(&plugin("X")).args(["--via", "native"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("--via native: this program has no adapter of its own for type 'plugin'"));
    let p2p = r#"{"type":"p2p","peer_mq_server_url":"a","peer_transfer_channel_server_url":"b"}"#;
    let output = bridged(p2p).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("'p2p' only reads"), "{}", stderr(&output));
    let output = bridged(&plugin("X")).arg("--fdatasync").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).starts_with("--fdatasync is for the native adapters"),
        "{}",
        stderr(&output)
    );
}

/// Starts a run with endless rounds and returns once the first has ended.
fn endless(dir: &Dir) -> (std::process::Child, BufReader<std::process::ChildStdout>, Alive) {
    let mut command = bridged(&fs_spec(&dir.join("store")));
    let alive = Alive::watch(&mut command, dir);
    let mut child = command
        .args(["--only", "load", "--rounds", "1000000", "--warmup-rounds", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("] Round 1:") {
        assert!(reader.read_line(&mut text).unwrap() > 0, "ended early: {text}");
    }
    (child, reader, alive)
}

#[test]
fn an_interrupt_still_ends_with_a_report() {
    if !has_python() {
        return;
    }
    let dir = Dir::new();
    let (mut child, mut reader, alive) = endless(&dir);
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(text.contains("partial (SIGINT)"), "{text}");
    alive.assert_gone();
}

#[test]
fn the_helper_does_not_outlive_a_killed_benchmark() {
    if !has_python() {
        return;
    }
    let dir = Dir::new();
    let (mut child, _reader, alive) = endless(&dir);
    child.kill().unwrap();
    child.wait().unwrap();
    alive.assert_gone();
}
