//! `server` against the mock server: every transfer mode, every generation, and every kind of failure.

use std::process::{Output, Stdio};

use lmcache_bench::server::rpc::WireKind;
use serde_json::Value;

use crate::support::mock_server::{MockServer, WIRES, everywhere, of_release, releases};
use crate::support::{Dir, json, stderr, stdout, warning_codes};

mod concurrency;
mod ends;
mod keys;
mod releases;
mod unwinding;
mod wires;
mod wrong_url;

/// Checks that no session, job, lock or registration is left at the server.
fn assert_nothing_left(server: &MockServer) {
    let status = server.status();
    let memory = &status["storage_manager"]["l1_manager"];
    assert_eq!(status["active_sessions"], 0, "{status}");
    assert_eq!(status["active_prefetch_jobs"], 0, "{status}");
    assert_eq!(
        (&memory["write_locked_count"], &memory["read_locked_count"]),
        (&0.into(), &0.into()),
        "{status}"
    );
    for ids in ["registered_gpu_ids", "registered_non_cuda_instance_ids"] {
        assert!(status[ids].as_array().is_none_or(Vec::is_empty), "{status}");
    }
}

/// The names of shared memory that a run created and that still exist.
fn shared_memory(pid: u32) -> Vec<String> {
    shared_memory_of(&format!("{pid}-"))
}

/// The same of a run in this process, where other tests have runs of their own.
fn shared_memory_of(run: &str) -> Vec<String> {
    let prefix = format!("lmcache-bench-kv-{run}");
    let names = std::fs::read_dir("/dev/shm")
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with(&prefix))
        .collect()
}

#[test]
fn every_transfer_mode_and_generation_passes_and_leaves_nothing() {
    for generation in releases() {
        let pool = format!("test-{}-{generation}", std::process::id());
        for (name, mock, client) in [
            ("engine_driven, inline", vec![], vec![]),
            (
                "engine_driven, shared memory of the server",
                vec!["--shm-name", &pool],
                vec![],
            ),
            (
                "lmcache_driven, POSIX shared memory of the client",
                vec![],
                vec!["--transfer-mode", "lmcache_driven"],
            ),
        ] {
            let mut mock = mock;
            mock.extend(["--release", generation]);
            let server = MockServer::start(&mock);
            for wire in WIRES {
                let (output, report) = json(server.client_by(*wire).args(&client));
                let metrics = &report["metrics"];
                assert!(output.status.success(), "{generation} {name}: {}", stderr(&output));
                assert_eq!(metrics["results"]["pass_rate"], 100.0);
                assert_eq!(metrics["server"]["transport"], name);
                assert_eq!(metrics["server"]["wire"], wire.text());
                assert_eq!(metrics["server"]["release"], generation);
                assert_eq!(metrics["verify"]["chunks_compared"], 4);
                for section in ["cold_lookup", "cold_store", "warm_lookup", "warm_retrieve"] {
                    assert_eq!(metrics[section][format!("{section}_count")], 2, "{section}");
                }
                assert_nothing_left(&server);
            }
        }
    }
}

#[test]
fn shapes_ranks_and_groups_pass() {
    everywhere(&[()], |release, wire, ()| shapes_ranks_and_groups(release, wire));
}

fn shapes_ranks_and_groups(release: &str, wire: WireKind) {
    let server = MockServer::start(&of_release(release, &[]));
    let driven = ["--transfer-mode", "lmcache_driven"];
    for spec in [
        "(2,16,8,3,5):uint8:2",
        "(2,16,8,3,5):int8:2",
        "(2,16,16,1,7):float32:1",
        "(2,16,4,2,8):bfloat16:3",
        "(1,16,8,1,24):float16:2",
    ] {
        for ranks in ["1", "2"] {
            for mode in [&[][..], &driven[..]] {
                let mut command = server.client_by(wire);
                command
                    .args(["--kvcache-shape-spec", spec, "--tp-size", ranks])
                    .args(mode);
                let (output, report) = json(&mut command);
                assert!(
                    output.status.success(),
                    "{release} {spec} tp {ranks} {mode:?}: {}",
                    stderr(&output)
                );
                // All ranks are compared, including those that did not store.
                let compared = 4 * ranks.parse::<u64>().unwrap();
                assert_eq!(report["metrics"]["verify"]["chunks_compared"], compared);
            }
        }
    }
    let groups = [
        "--kvcache-shape-spec",
        "(1,16,8,1,24):float16:2;(2,16,8,3,5):bfloat16:2",
    ];
    let (output, report) = json(server.client_by(wire).args(groups).args(driven));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(report["metrics"]["verify"]["server_chunks_compared"], 8);
    assert_nothing_left(&server);
}

/// Runs against a server with a fault, of each release and over each wire. Checks that the exit code is 1, that standard error
/// contains `want` and that all count the same.
fn failing(fault: &str, client: &[&str], want: &str) -> (Output, Value) {
    let mut runs = everywhere(&[()], |release, wire, ()| {
        let server = MockServer::start(&of_release(release, &["--fault", fault]));
        let (output, report) = json(server.client_by(wire).args(["--rpc-timeout-s", "3"]).args(client));
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{release} {wire:?} {fault}: {text}");
        assert!(text.contains(want), "{release} {wire:?} {fault}: {text}");
        (output, report)
    });
    let (output, report) = runs.remove(0);
    // The releases are recognised by different numbers of requests.
    let is_comparable = !fault.starts_with("die@");
    for (_, other) in runs.into_iter().filter(|_| is_comparable) {
        assert_eq!(
            counts(&other),
            counts(&report),
            "{fault} {}",
            other["metrics"]["server"]
        );
    }
    (output, report)
}

/// What does not depend on time.
fn counts(report: &Value) -> [Value; 3] {
    let metrics = &report["metrics"];
    let mut results = metrics["results"].clone();
    for name in ["elapsed_s", "requests_per_s"] {
        assert!(results.as_object_mut().unwrap().remove(name).is_some());
    }
    [results, metrics["verify"].clone(), metrics["run"]["report"].clone()]
}

#[test]
fn corrupt_bytes_are_a_mismatch_in_every_transfer_mode() {
    let driven = ["--transfer-mode", "lmcache_driven"];
    for client in [&[][..], &driven[..], &["--checksum", "md5"][..]] {
        let (_, report) = failing("corrupt", client, "CHECKSUM MISMATCH in chunk 0 of rank 0");
        assert_eq!(report["metrics"]["verify"]["mismatched"], 2);
        assert_eq!(report["metrics"]["results"]["checksum_ok"], 0);
    }
}

/// Without overwriting the blocks after the store, their bytes would still be right.
#[test]
fn a_retrieve_that_copies_nothing_is_a_mismatch() {
    let (_, report) = failing(
        "move-nothing",
        &["--transfer-mode", "lmcache_driven"],
        "CHECKSUM MISMATCH in chunk 1 of rank 0",
    );
    assert_eq!(report["metrics"]["verify"]["mismatched"], 2);
    assert_eq!(report["metrics"]["results"]["pass_rate"], 0.0);
}

#[test]
fn missed_refused_and_wrongly_digested_chunks_do_not_pass() {
    let driven = ["--transfer-mode", "lmcache_driven"];
    for (fault, client, want, key) in [
        ("partial-hit", &[][..], "only 1 of 2 stored chunks were found", "missed"),
        ("refuse:commit_store", &[], "did not take all chunks", "refused"),
        ("refuse:prepare_retrieve", &[], "refused a retrieve", "refused"),
        ("refuse:store", &driven, "did not take all chunks", "refused"),
        ("refuse:retrieve", &driven, "refused a retrieve", "refused"),
        (
            "wrong-checksum",
            &driven,
            "the server's checksums of rank 0 are not",
            "server_mismatched",
        ),
    ] {
        let (_, report) = failing(fault, client, want);
        assert_eq!(report["metrics"]["verify"][key], 2, "{fault}");
        assert_eq!(report["metrics"]["results"]["pass_rate"], 0.0);
    }
}

#[test]
fn missing_truncated_and_mistyped_replies_fail_only_their_sequence() {
    for (fault, want) in [
        ("drop-reply:commit_store@1", "though the server answers others"),
        ("drop-reply:lookup@1", "LOOKUP was not answered"),
        (
            "truncate-reply:prepare_retrieve@1",
            "the reply to PREPARE_RETRIEVE is malformed",
        ),
        (
            "wrong-type:query_prefetch_status@1",
            "the reply to QUERY_PREFETCH_STATUS is malformed",
        ),
    ] {
        let (_, report) = failing(fault, &[], want);
        let results = &report["metrics"]["results"];
        assert_eq!(
            (&results["checksum_ok"], &results["checksum_fail"]),
            (&1.into(), &1.into()),
            "{fault}"
        );
        assert_eq!(report["metrics"]["verify"]["rpc_failed"], 1, "{fault}");
    }
}

#[test]
fn entries_of_an_earlier_run_are_not_hit_with_a_salt_and_fail_without() {
    everywhere(&[()], |release, wire, ()| {
        let server = MockServer::start(&of_release(release, &[]));
        for _ in 0..2 {
            assert!(
                server.client_by(wire).output().unwrap().status.success(),
                "salted runs do not share entries"
            );
        }
        assert!(
            server
                .client_by(wire)
                .arg("--no-salt")
                .output()
                .unwrap()
                .status
                .success()
        );
        let (output, report) = json(server.client_by(wire).arg("--no-salt"));
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("2 of 2 chunks were there before they were stored"));
        assert_eq!(report["metrics"]["results"]["checksum_ok"], 0);
        assert_eq!(report["metrics"]["verify"]["earlier_entries"], 2);
        assert!(warning_codes(&report["metrics"]).contains(&"earlier-entries"));
        assert_nothing_left(&server);
    });
}

/// The first chunk is an entry of an earlier run with other bytes. The rest is stored, and all chunks are retrieved unchanged.
#[test]
fn a_partial_cold_hit_is_not_a_mismatch() {
    everywhere(&[()], |release, wire, ()| {
        let server = MockServer::start(&of_release(release, &[]));
        let first = server
            .client_by(wire)
            .args(["--no-salt", "--num-tokens", "16", "--seed", "7"])
            .output()
            .unwrap();
        assert!(first.status.success(), "{}", stderr(&first));
        let (output, report) = json(server.client_by(wire).arg("--no-salt"));
        assert_eq!(output.status.code(), Some(1));
        let verify = &report["metrics"]["verify"];
        assert_eq!(
            (&verify["earlier_entries"], &verify["mismatched"]),
            (&2.into(), &0.into()),
            "{verify}"
        );
        assert_nothing_left(&server);
    });
}

#[test]
fn a_transfer_mode_that_the_server_lacks_is_an_error_with_advice() {
    let cases = [
        (
            "lmcache_driven",
            "engine_driven",
            "--supported-transfer-mode auto or engine_driven",
        ),
        (
            "engine_driven",
            "lmcache_driven",
            "--supported-transfer-mode that includes lmcache_driven",
        ),
    ];
    everywhere(&cases, |release, wire, (supported, wanted, word)| {
        let server = MockServer::start(&of_release(release, &["--supported-transfer-mode", supported]));
        let mut command = server.client_by(wire);
        command.args(["--transfer-mode", wanted]).stdout(Stdio::null());
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(word), "{}", stderr(&output));
        assert_eq!(shared_memory(pid), Vec::<String>::new());
    });
}

/// The text without the memory that is free, which changes from one moment to the next.
fn without_free_memory(text: String) -> String {
    match (text.split_once("but only "), text.split_once(" are available")) {
        (Some((before, _)), Some((_, after))) => format!("{before}but only ... are available{after}"),
        _ => text,
    }
}

#[test]
fn wrong_addresses_and_values_are_refused() {
    let server = MockServer::start(&[]);
    let http_port = server.http_url.trim_start_matches("http://");
    for (flags, code, want) in [
        (
            vec!["--rpc-url", "tcp://127.0.0.1:1"],
            1,
            "could not reach the cache server at tcp://127.0.0.1:1",
        ),
        (vec!["--rpc-url", http_port], 1, "an HTTP server is there"),
        (vec!["--rpc-url", "http://h:1"], 2, "is an HTTP address"),
        (vec!["--rpc-url", "grpc://h:1"], 2, "is a gRPC address"),
        (vec!["--url", "tcp://h:1"], 2, "is no HTTP address"),
        (
            vec!["--kvcache-shape-spec", "(2,16,24,1,4):uint8:1"],
            2,
            "must be a multiple of block_size 24",
        ),
        (
            vec!["--kvcache-shape-spec", "(2,16,8,1,4):half:1"],
            2,
            "Unrecognized dtype 'half'",
        ),
        (
            vec!["--kvcache-shape-spec", "(2,99999999,8,99,999):uint8:99"],
            1,
            "GiB of memory but only",
        ),
        (vec!["--num-tokens", "3"], 2, "has no whole chunk of 16"),
        (vec!["--end", "0"], 2, "--end is 0"),
        (vec!["--mode", "gpu"], 1, "could not load the CUDA driver"),
        (
            vec!["--output", "/nonexistent/report"],
            1,
            "could not write the report to --output",
        ),
    ] {
        let said = |wire| {
            let output = server
                .client_by(wire)
                .env("LMCACHE_BENCH_LIBCUDA", "/nonexistent/libcuda.so.1")
                .args(&flags)
                .output()
                .unwrap();
            let text = stderr(&output);
            assert_eq!(output.status.code(), Some(code), "{wire:?} {flags:?}: {text}");
            assert!(text.contains(want), "{wire:?} {flags:?}: {text}");
            without_free_memory(text)
        };
        let texts: Vec<String> = WIRES.iter().map(|wire| said(*wire)).collect();
        assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "{texts:#?}");
    }
    assert_nothing_left(&server);
}

#[test]
fn a_missing_http_api_is_only_a_warning() {
    everywhere(&[()], |release, wire, ()| {
        let server = MockServer::start(&of_release(release, &[]));
        let driven = ["--transfer-mode", "lmcache_driven"];
        let url = "http://user:secret@127.0.0.1:1";
        let (output, report) = json(server.client_by(wire).args(driven).args(["--url", url]));
        assert!(output.status.success());
        assert!(!report.to_string().contains("secret"), "{report}");
        let codes = warning_codes(&report["metrics"]);
        assert!(
            codes.contains(&"no-http") && codes.contains(&"no-server-checksums"),
            "{report}"
        );
        let (output, report) = json(server.client_by(wire).args(driven).args(["--url", ""]));
        assert!(output.status.success());
        let codes = warning_codes(&report["metrics"]);
        assert!(!codes.contains(&"no-http") && codes.contains(&"no-server-checksums"));
    });
}

#[test]
fn the_report_is_written_to_standard_output_and_to_a_file() {
    let (server, dir) = (MockServer::start(&[]), Dir::new());
    let path = dir.join("report.json");
    let mut command = server.client();
    let output = command
        .args(["-q", "--format", "json", "--output"])
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(stderr(&output), "");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), stdout(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["title"], "Server Bench Result");
    let text = stdout(&server.client().output().unwrap());
    for line in [
        "Server chunk_size = 16",
        "[seq=0] LOOKUP cold:  0/2 chunks hit",
        "[seq=1] STORE:        2 chunks stored",
        "[seq=1] LOOKUP warm:  2/2 chunks hit",
        "[seq=1] RETRIEVE:     2 chunks retrieved",
        "[seq=1] CHECKSUM MATCH OK",
        "==== Server Bench Result ====",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let quiet = stdout(&server.client().arg("-q").output().unwrap());
    assert!(quiet.starts_with("====") && quiet.contains("Pass rate (%)"), "{quiet}");
}
