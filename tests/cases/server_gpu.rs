//! `server --mode gpu` against the mock server, both with the stand-in driver: the order of driver calls, the failure of each
//! call, and clean-up. No test here uses a GPU.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::cuda::stand_in;
use crate::support::mock_server::{MockServer, PATIENT, of_release, releases};
use crate::support::{Dir, bench, json, stderr, stdout};

const SHAPE: &str = "(2,32,4,2,8):float16:3";

fn mock(flags: &[&str]) -> MockServer {
    MockServer::start_with(flags, |command| {
        command.env("LMCACHE_BENCH_LIBCUDA", stand_in());
    })
}

/// `server --mode gpu` with the stand-in driver: two sequences of two chunks.
fn client(mock: &MockServer, shape: &str) -> Command {
    let mut command = bench();
    command.env("LMCACHE_BENCH_LIBCUDA", stand_in());
    command.args([
        "server",
        "--mode",
        "gpu",
        "--rpc-url",
        &mock.rpc_url,
        "--url",
        &mock.http_url,
    ]);
    command.args([
        "--kvcache-shape-spec",
        shape,
        "--num-tokens",
        "40",
        "--rpc-timeout-s",
        "4",
    ]);
    command.args(["--start", "0", "--end", "2", "--interval", "0"]);
    command.args(PATIENT);
    command
}

fn assert_passed(output: &Output, report: &Value) {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    assert_eq!(report["metrics"]["verify"]["sequences_passed"], 2, "{report}");
}

fn transport(report: &Value) -> String {
    report.to_string()
}

#[test]
fn the_server_copies_from_and_to_device_memory() {
    for release in releases() {
        let mock = mock(&of_release(release, &[]));
        for extra in [&["--checksum", "md5"][..], &["--checksum", "fast"]] {
            let (output, report) = json(client(&mock, SHAPE).args(extra));
            assert_passed(&output, &report);
            assert!(transport(&report).contains("lmcache_driven, CUDA memory of the client"));
            assert_eq!(
                report["metrics"]["gpu"]["cold_store"]["p50_ms"], 1.5,
                "{release}: {report}"
            );
        }
    }
}

#[test]
fn the_servers_checksums_equal_those_of_device_memory() {
    for release in releases() {
        let mock = mock(&of_release(release, &[]));
        for shape in [
            "(2,32,4,2,8):bfloat16:2",
            "(1,32,4,2,8):uint8:2",
            "(2,32,4,1,8):float16:1;(1,32,4,1,8):uint8:2",
        ] {
            let (output, report) = json(&mut client(&mock, shape));
            assert_passed(&output, &report);
            assert_eq!(
                report["metrics"]["verify"]["server_chunks_compared"], 8,
                "{release} {shape}: {report}"
            );
        }
    }
}

#[test]
fn engine_driven_transfers_copy_device_memory() {
    for release in releases() {
        for flags in [&["--shm-name", ""][..], &[]] {
            let name = format!("lmcache-bench-test-pool-{}-{release}", std::process::id());
            let flags: Vec<&str> = match flags {
                [flag, _] => vec![flag, &name],
                _ => vec![],
            };
            let mock = mock(&of_release(release, &flags));
            let (output, report) =
                json(client(&mock, SHAPE).args(["--transfer-mode", "engine_driven", "--tp-size", "2"]));
            assert_passed(&output, &report);
            assert!(transport(&report).contains("engine_driven, CUDA memory"), "{report}");
            assert_eq!(
                report["metrics"]["gpu"]["warm_retrieve"]["max_ms"], 3.0,
                "two ranks: {report}"
            );
        }
    }
}

/// The device copies from and to the server's memory itself. If the driver refuses to lock that, copies go through buffers.
#[test]
fn the_servers_memory_is_locked_while_it_is_used() {
    let dir = Dir::new();
    let name = format!("lmcache-bench-test-locked-{}", std::process::id());
    let mock = mock(&["--shm-name", &name]);
    let locked = |line: &String| line.ends_with("of host memory locked");
    for (fails, expected) in [
        ("none:1:1", "engine_driven, CUDA memory to shared memory of the server"),
        (
            "cuMemHostRegister_v2:1:1",
            "engine_driven, CUDA memory through buffers to shared memory of the server",
        ),
    ] {
        let mut command = client(&mock, SHAPE);
        command.args(["--transfer-mode", "engine_driven", "-q", "--format", "json"]);
        command.env("STANDIN_FAIL", fails);
        let (output, calls) = run_logged(&dir, command);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_passed(&output, &report);
        assert!(transport(&report).contains(expected), "{report}");
        let at = |wanted: &str| calls.iter().position(|line| line == wanted);
        let count = calls.iter().filter(|line| locked(line)).count();
        if fails.starts_with("none") {
            assert_eq!(count, 1, "{calls:?}");
            let waited = at("context synchronized").expect("copies end before the memory is unlocked");
            assert!(
                at("host memory unlocked").is_some_and(|unlocked| unlocked > waited),
                "{calls:?}"
            );
        } else {
            assert_eq!((count, at("host memory unlocked")), (0, None), "{calls:?}");
        }
    }
}

#[test]
fn several_clients_share_the_device_and_release_it() {
    let dir = Dir::new();
    for transfer in ["lmcache_driven", "engine_driven"] {
        for extra in [&["--block-allocation", "random"][..], &["--checksum", "fast"]] {
            let mock = mock(&[]);
            let path = dir.join("calls");
            let _ = fs::remove_file(&path);
            let mut command = client(&mock, SHAPE);
            command.args(["--concurrency", "2", "--transfer-mode", transfer]);
            command.args(extra).args(["--end", "6"]).env("STANDIN_LOG", &path);
            let (output, report) = json(&mut command);
            assert_eq!(output.status.code(), Some(0), "{transfer}: {}", stderr(&output));
            assert_eq!(report["metrics"]["verify"]["sequences_passed"], 6, "{report}");
            let calls = fs::read_to_string(&path).unwrap();
            assert!(
                !calls.lines().any(|call| call.starts_with("leaked")),
                "{transfer}: {calls}"
            );
            assert_eq!(calls.lines().last(), Some("context released"), "{transfer}: {calls}");
        }
    }
}

#[test]
fn wrong_bytes_in_device_memory_are_a_mismatch() {
    for release in releases() {
        let mock = mock(&of_release(release, &["--fault", "corrupt:retrieve"]));
        let output = client(&mock, SHAPE).args(["--checksum", "fast"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("CHECKSUM MISMATCH"), "{}", stderr(&output));
    }
}

/// Runs the command and returns its output and the driver calls, one per line.
fn run_logged(dir: &Dir, mut command: Command) -> (Output, Vec<String>) {
    let path = dir.join("calls");
    let _ = fs::remove_file(&path);
    let output = command.env("STANDIN_LOG", &path).output().unwrap();
    let text = fs::read_to_string(&path).unwrap_or_default();
    (output, text.lines().map(str::to_owned).collect())
}

#[test]
fn the_server_waits_for_our_event_and_we_wait_for_its_event() {
    let dir = Dir::new();
    let mock = mock(&[]);
    let (output, calls) = run_logged(&dir, client(&mock, SHAPE));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let at = |wanted: &str, from: usize| {
        let found = calls[from..].iter().position(|call| call == wanted);
        from + found.unwrap_or_else(|| panic!("no '{wanted}' after line {from}: {calls:?}"))
    };
    // Our event is recorded after the fill and shared before the request. The server's event is opened after the reply, and our
    // stream waits for it.
    let shared = at("event shared", 0);
    assert!(calls[..shared].iter().any(|call| call == "event recorded"));
    assert!(calls[..shared].iter().any(|call| call == "event created with flags 7"));
    let opened = at("event opened", shared);
    let waited = at("stream waits for event", opened);
    // Four transfers, each with its own pair of events.
    assert_eq!(calls.iter().filter(|call| *call == "event shared").count(), 4);
    assert_eq!(calls.iter().filter(|call| *call == "event opened").count(), 4);
    assert!(waited > opened);
    // Using an event that its creator has destroyed is undefined, also in other processes.
    let reached = at("event reached", waited);
    let destroyed = at("event with flags 7 destroyed", shared);
    assert!(
        destroyed > reached,
        "our event is destroyed before the server is done: {calls:?}"
    );
}

#[test]
fn all_driver_resources_are_released_in_order() {
    for release in releases() {
        let dir = Dir::new();
        let mock = mock(&of_release(release, &[]));
        for transfer in ["lmcache_driven", "engine_driven"] {
            let mut command = client(&mock, SHAPE);
            command.args(["--transfer-mode", transfer]);
            let (output, calls) = run_logged(&dir, command);
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            let count = |wanted: &str| calls.iter().filter(|call| *call == wanted).count();
            assert!(
                !calls.iter().any(|call| call.starts_with("leaked")),
                "{transfer}: {calls:?}"
            );
            assert_eq!(count("memory allocated"), count("memory freed"), "{transfer}");
            assert_eq!(count("host memory allocated"), count("host memory freed"), "{transfer}");
            assert_eq!(
                calls.last().map(String::as_str),
                Some("context released"),
                "{transfer}: {calls:?}"
            );
        }
    }
}

/// Whichever call fails, the run ends with exit code 1 and the driver's error text, and nothing stays allocated.
#[test]
fn a_failing_driver_call_is_reported_and_leaks_nothing() {
    let dir = Dir::new();
    let mock = mock(&[]);
    let calls = [
        ("cuInit", 1),
        ("cuDeviceGetCount", 1),
        ("cuDeviceGet", 1),
        ("cuDeviceGetUuid_v2", 1),
        ("cuDevicePrimaryCtxRetain", 1),
        ("cuCtxSetCurrent", 1),
        ("cuModuleLoadData", 1),
        ("cuModuleGetFunction", 2),
        ("cuMemGetInfo_v2", 1),
        ("cuStreamCreate", 1),
        ("cuMemAlloc_v2", 2),
        ("cuIpcGetMemHandle", 1),
        ("cuLaunchKernel", 1),
        ("cuMemsetD8Async", 1),
        ("cuMemcpyDtoHAsync_v2", 1),
        ("cuMemcpyHtoDAsync_v2", 1),
        ("cuEventCreate", 2),
        ("cuEventRecord", 1),
        ("cuIpcGetEventHandle", 1),
        ("cuIpcOpenEventHandle", 1),
        ("cuStreamWaitEvent", 1),
        ("cuEventElapsedTime", 1),
        ("cuStreamSynchronize", 1),
    ];
    for (call, nth) in calls {
        let mut command = client(&mock, SHAPE);
        command.env("STANDIN_FAIL", format!("{call}:{nth}:2"));
        let (output, log) = run_logged(&dir, command);
        let text = format!("{}{}", stderr(&output), stdout(&output));
        assert_eq!(output.status.code(), Some(1), "{call}: {text}");
        assert!(
            text.contains("CUDA_ERROR_OUT_OF_MEMORY (out of memory), code 2"),
            "{call}: {text}"
        );
        assert!(!log.iter().any(|line| line.starts_with("leaked")), "{call}: {log:?}");
    }
}

#[test]
fn unusable_devices_shapes_and_drivers_are_refused() {
    let mock = mock(&[]);
    let refused = |change: &dyn Fn(&mut Command)| {
        let mut command = client(&mock, SHAPE);
        change(&mut command);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        stderr(&output)
    };
    let text = refused(&|command| {
        command.args(["--device", "7"]);
    });
    assert!(text.contains("--device 7: there are 2 CUDA devices"), "{text}");
    let text = refused(&|command| {
        command.args(["--kvcache-shape-spec", "(2,32,1,1,3):uint8:1"]);
    });
    assert!(text.contains("blocks of a multiple of 8 bytes"), "{text}");
    let text = refused(&|command| {
        command.args(["--kvcache-shape-spec", "(2,65536,16,8,128):float16:32"]);
    });
    assert!(text.contains("of device memory but only 1.0 GiB are free"), "{text}");
    let text = refused(&|command| {
        command.env("LMCACHE_BENCH_LIBCUDA", "/nonexistent/libcuda.so.1");
    });
    assert!(text.contains("--mode gpu: could not load the CUDA driver"), "{text}");
}
