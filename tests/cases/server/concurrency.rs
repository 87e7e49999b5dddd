//! `server --concurrency` and `--block-allocation`: several clients at a time, and which blocks their requests take.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use lmcache_bench::server::config::{Machine, RunConfig};
use lmcache_bench::server::flags::{BlockAllocation, Mode, ServerArgs, TABLE, TransferMode};
use lmcache_bench::server::http::{ChecksumRequest, HttpApi};
use lmcache_bench::server::plan::{Identity, Plan};
use lmcache_bench::server::runner::{Runner, ServerChecksums};
use lmcache_bench::server::session::Session;
use lmcache_bench::server::share::Common;
use serde_json::Value;

use super::ends::{endless, kill};
use super::{assert_nothing_left, failing, shared_memory};
use crate::support::mock_server::{MockServer, SHAPE, everywhere, of_release};
use crate::support::{json, stderr, stdout, warning_codes};

/// The instance ids of one kind that are registered.
fn registered(status: &Value, kind: &str) -> HashSet<u64> {
    let ids = status[kind].as_array().unwrap();
    ids.iter().map(|id| id.as_u64().unwrap()).collect()
}

#[test]
fn several_clients_pass_in_every_transfer_mode_and_leave_nothing() {
    let driven = ["--transfer-mode", "lmcache_driven"];
    let cases = [
        ("engine_driven, inline", false, &[][..]),
        ("engine_driven, shared memory of the server", true, &[]),
        ("lmcache_driven, POSIX shared memory of the client", false, &driven),
    ];
    everywhere(&cases, |release, wire, (transport, has_pool, client)| {
        let pool = format!("test-{}-concurrency-{release}-{}", std::process::id(), wire.text());
        let mock = if has_pool { &["--shm-name", &pool][..] } else { &[] };
        let server = MockServer::start(&of_release(release, mock));
        for allocation in ["sequential", "random"] {
            let mut command = server.client_by(wire);
            command.args(["--concurrency", "3", "--end", "7", "--tp-size", "2"]);
            command.args(["--block-allocation", allocation]).args(client);
            let (output, report) = json(&mut command);
            let metrics = &report["metrics"];
            assert!(output.status.success(), "{transport}: {}", stderr(&output));
            assert_eq!(metrics["server"]["transport"], transport);
            assert_eq!(metrics["server"]["block_allocation"], allocation);
            assert_eq!(metrics["config"]["concurrency"], 3);
            assert_eq!(metrics["results"]["total_requests"], 7);
            assert_eq!(metrics["results"]["pass_rate"], 100.0);
            assert_eq!(metrics["verify"]["chunks_compared"], 28);
            let compared = if transport.starts_with("lmcache") { 56 } else { 0 };
            let verify = &metrics["verify"];
            assert_eq!(verify["server_chunks_compared"], compared, "{}", stderr(&output));
            for section in ["cold_lookup", "cold_store", "warm_lookup", "warm_retrieve"] {
                assert_eq!(metrics[section][format!("{section}_count")], 7, "{section}");
            }
            assert_nothing_left(&server);
        }
    });
}

#[test]
fn elapsed_time_and_rate_agree_with_the_number_of_requests() {
    let server = MockServer::start(&[]);
    // Two pauses of a client that runs two sequences without a pause after the last pass: three of 0.1 s.
    let mut command = server.client();
    command.args(["--concurrency", "2", "--end", "4", "--interval", "0.1"]);
    let (output, report) = json(&mut command);
    assert!(output.status.success(), "{}", stderr(&output));
    let results = &report["metrics"]["results"];
    let (elapsed, rate) = (
        results["elapsed_s"].as_f64().unwrap(),
        results["requests_per_s"].as_f64().unwrap(),
    );
    assert!(elapsed >= 0.3, "{results}");
    assert!((elapsed * rate - 4.0).abs() < 0.1, "{results}");
    let own = report["metrics"]["run"]["own_work_percent"].as_f64().unwrap();
    // Rounded, so that it may be none.
    assert!((0.0..100.0).contains(&own), "{own}");
    let keys: Vec<&String> = results.as_object().unwrap().keys().collect();
    assert_eq!(keys[3..], ["pass_rate", "elapsed_s", "requests_per_s"]);
}

#[test]
fn more_clients_than_sequences_are_registered_and_released() {
    let server = MockServer::start(&[]);
    let output = server.client().args(["--concurrency", "5"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("Registered 1 rank(s) for each of 5 clients"), "{text}");
    assert!(
        text.contains("[seq=1] CHECKSUM MATCH OK") && !text.contains("[seq=2]"),
        "{text}"
    );
    assert_nothing_left(&server);
}

#[test]
fn clients_are_registered_together_with_ids_of_their_own_and_end_with_a_signal() {
    for (signal, mode, kind, code, state) in [
        (
            "-INT",
            "engine_driven",
            "registered_non_cuda_instance_ids",
            0,
            "complete (until SIGINT)",
        ),
        (
            "-TERM",
            "lmcache_driven",
            "registered_gpu_ids",
            143,
            "partial (SIGTERM)",
        ),
    ] {
        let server = MockServer::start(&[]);
        let mut command = endless(&server, mode);
        command.args(["--concurrency", "4", "--tp-size", "2"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Until each client has stored for the second time, in whatever order.
        let mut awaited: Vec<String> = (4..8).map(|sequence| format!("[seq={sequence}] STORE")).collect();
        let done = lines.any(|line| {
            let line = line.unwrap();
            awaited.retain(|start| !line.starts_with(start));
            // The first client is far ahead only if the others wait for it.
            awaited.is_empty() || line.starts_with("[seq=4000]")
        });
        assert!(done && awaited.is_empty(), "{awaited:?}");
        assert_eq!(registered(&server.status(), kind).len(), 8, "four clients of two ranks");
        kill(&child, signal);
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(rest.iter().any(|line| line.ends_with(state)), "{rest:#?}");
        assert_nothing_left(&server);
        assert_eq!(shared_memory(child.id()), Vec::<String>::new());
    }
}

#[test]
fn a_fault_of_one_client_counts_once_and_stops_no_other() {
    let driven = ["--transfer-mode", "lmcache_driven"];
    for (fault, mode, want, key) in [
        (
            "corrupt@2",
            &[][..],
            "CHECKSUM MISMATCH in chunk 0 of rank 0",
            "mismatched",
        ),
        (
            "corrupt@2",
            &driven,
            "CHECKSUM MISMATCH in chunk 0 of rank 0",
            "mismatched",
        ),
        ("refuse:prepare_retrieve@2", &[], "refused a retrieve", "refused"),
        (
            "drop-reply:commit_store@2",
            &[],
            "though the server answers others",
            "rpc_failed",
        ),
    ] {
        let mut client = vec!["--concurrency", "3", "--end", "9"];
        client.extend(mode);
        let (_, report) = failing(fault, &client, want);
        let results = &report["metrics"]["results"];
        assert_eq!(
            (&results["checksum_ok"], &results["checksum_fail"]),
            (&8.into(), &1.into()),
            "{fault}"
        );
        assert_eq!(report["metrics"]["verify"][key], 1, "{fault}");
        assert_eq!(report["metrics"]["run"]["report"], "complete", "{fault}");
    }
}

#[test]
fn a_server_that_dies_ends_all_clients() {
    let client = ["--concurrency", "4", "--end", "3000"];
    let (_, report) = failing("die@60", &client, "answers nothing any more");
    assert_eq!(report["metrics"]["run"]["report"], "partial (aborted)");
    let failed = report["metrics"]["results"]["checksum_fail"].as_u64().unwrap();
    assert!((1..=4).contains(&failed), "{report}");
    let left = warning_codes(&report["metrics"])
        .iter()
        .filter(|code| **code == "left-behind")
        .count();
    assert!((1..=9).contains(&left), "{report}");
}

/// All of them end their requests and unregister, also the one that lost its connection: the server is still there.
#[test]
fn the_end_of_one_client_ends_the_others() {
    let server = MockServer::start(&["--fault", "disconnect:commit_store@5"]);
    let mut command = server.client();
    // Fewer than a hundred requests take three seconds at least.
    command.args(["--concurrency", "3", "--end", "3000", "--interval", "0.1"]);
    let (output, report) = json(&mut command);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("COMMIT_STORE lost its connection"),
        "{}",
        stderr(&output)
    );
    let metrics = &report["metrics"];
    assert_eq!(metrics["run"]["report"], "partial (aborted)");
    assert_eq!(metrics["results"]["checksum_fail"], 1);
    assert!(metrics["results"]["total_requests"].as_u64().unwrap() < 100, "{report}");
    assert_nothing_left(&server);
}

#[test]
fn a_client_that_cannot_register_leaves_no_other_registered() {
    let server = MockServer::start(&["--fault", "drop-reply:register_engine_context@3"]);
    let mut command = server.client();
    command.args(["--concurrency", "4", "--rpc-timeout-s", "3"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains("REGISTER_KV_CACHE_ENGINE_DRIVEN_CONTEXT failed for rank 0"),
        "{text}"
    );
    assert_nothing_left(&server);
}

#[test]
fn values_out_of_range_are_refused() {
    let server = MockServer::start(&[]);
    for (flags, want) in [
        (["--concurrency", "0"], "--concurrency is 0"),
        (["--concurrency", "257"], "--concurrency is 257"),
        (["--block-allocation", "highest"], "--block-allocation"),
    ] {
        let output = server.client().args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(stderr(&output).contains(want), "{}", stderr(&output));
    }
}

/// Asks the server for its digests, and keeps the blocks that were asked for: those of the cold pass, then of the warm one.
struct Recorder {
    api: HttpApi,
    blocks: Arc<Mutex<Vec<Vec<u64>>>>,
}

impl ServerChecksums for Recorder {
    fn digests(&mut self, instance_id: u64, blocks: &[u64], chunk_blocks: usize) -> Result<Vec<String>, String> {
        self.blocks.lock().unwrap().push(blocks.to_vec());
        let request = ChecksumRequest {
            instance_id,
            block_ids: blocks.to_vec(),
            chunk_blocks: chunk_blocks as u64,
        };
        self.api.checksums(&request).map_err(|error| error.to_string())
    }
}

/// The blocks of all passes of two sequences. The server's digests of these blocks are ours, so the transfers used them.
fn blocks_of(generation: &str, shape: &str, block_allocation: BlockAllocation) -> Vec<Vec<u64>> {
    let server = MockServer::start(&["--release", generation]);
    let args = ServerArgs {
        rpc_url: server.rpc_url.clone(),
        url: server.http_url.clone(),
        mode: Mode::Cpu,
        transfer_mode: TransferMode::LmcacheDriven,
        num_tokens: 40,
        kvcache_shape_spec: Some(shape.into()),
        end: Some(2),
        interval: 0.0,
        block_allocation,
        ..TABLE.presets()
    };
    let config = RunConfig::resolve(&args, Machine::default()).unwrap();
    let client = server.connect();
    let found = client.server().clone();
    let plan = Plan::new(&config, found.chunk_size as usize, found.generation).unwrap();
    let mut session = Session::open(client, &config, plan, Identity::new(true), None).unwrap();
    let blocks = Arc::new(Mutex::new(Vec::new()));
    let mut recorder = Recorder {
        api: server.http_api(),
        blocks: Arc::clone(&blocks),
    };
    let common = Common::new(1);
    let mut on_event = |_, _| {};
    let samples = Runner::new(
        &mut session,
        &config,
        common.share(0),
        Some(&mut recorder),
        &mut on_event,
    )
    .run();
    assert_eq!(
        (samples.tally.passed, samples.tally.failed),
        (2, 0),
        "{:?}",
        samples.tally
    );
    assert!(session.close().is_empty());
    assert_nothing_left(&server);
    let blocks = blocks.lock().unwrap().clone();
    assert_eq!(blocks.len(), 4);
    blocks
}

#[test]
fn random_allocation_takes_other_blocks_for_the_warm_pass() {
    let sequential = blocks_of("0.5.6", SHAPE, BlockAllocation::Sequential);
    assert_eq!(sequential, [[0, 1, 2, 3]; 4]);
    // As LMCache's bench takes them: the same 16 blocks, four of them for a request.
    let random = blocks_of("0.5.6", SHAPE, BlockAllocation::Random);
    let reference = [[12, 15, 6, 0], [8, 15, 7, 6], [9, 7, 5, 15], [6, 8, 2, 4]];
    assert_eq!(random, reference);
}

#[test]
fn block_zero_is_not_used_where_it_is_the_null_block() {
    const ONE_BLOCK_CHUNKS: &str = "(2,3,16,4,16):float16:2";
    for (generation, sequential, random) in [("0.5.6", [1, 2], 1..3), ("0.5.0", [0, 1], 0..3)] {
        let taken = blocks_of(generation, ONE_BLOCK_CHUNKS, BlockAllocation::Sequential);
        assert_eq!(taken, [sequential; 4], "{generation}");
        let taken = blocks_of(generation, ONE_BLOCK_CHUNKS, BlockAllocation::Random).concat();
        let least = taken.iter().min().copied();
        assert_eq!(least, Some(random.start), "{generation}: {taken:?}");
        assert!(taken.iter().all(|id| random.contains(id)), "{generation}: {taken:?}");
    }
}
