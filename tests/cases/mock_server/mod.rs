//! The built-in cache server as a client sees it: what it keeps, how it fails on purpose, and that it leaves nothing behind.

use std::path::Path;
use std::time::{Duration, Instant};

use lmcache_bench::server::http::{ChecksumRequest, HttpError};
use lmcache_bench::server::rpc::{
    ChunkLayout, Client, Dtype, EngineContext, Generation, Key, KvMemory, KvRegistration, KvTensor, LayerGroup,
    RpcError,
};
use lmcache_bench::sys::shm::Segment;

use crate::support::mock_server::{MockServer, WIRES};
use crate::support::{bench, stderr};

mod faults;
mod frames;

const CHUNK: &str = "--chunk-size=16";
const LAYOUT_TOKENS: u64 = 16;

/// Two chunks of tokens that begin with `first`, for one worker.
pub fn key(first: u32, request_id: &str) -> Key {
    Key {
        model_name: "m".into(),
        world_size: 1,
        worker_id: Some(0),
        token_ids: (first..first + 32).collect(),
        start: 0,
        end: 32,
        request_id: request_id.into(),
        cache_salt: String::new(),
        num_kv_readers: 1,
    }
}

pub fn context(id: u64) -> EngineContext {
    EngineContext {
        instance_id: id,
        model_name: "m".into(),
        world_size: 1,
        block_size: 8,
        num_layers: 2,
        hidden_dim_size: 4,
        dtype: Dtype::Float16,
        use_mla: false,
        num_physical_slots: LAYOUT_TOKENS,
    }
}

pub fn layout(chunks: usize) -> ChunkLayout {
    ChunkLayout {
        dtype: Dtype::Float16,
        shape: vec![2, 2, LAYOUT_TOKENS, 4],
        chunks,
    }
}

fn pattern(chunk: usize) -> Vec<u8> {
    (0..512).map(|byte| ((byte * 31 + chunk * 7 + 1) % 251) as u8).collect()
}

/// Stores the two chunks of the key inline.
pub fn store(client: &mut Client, key: &Key, id: u64) -> Result<bool, RpcError> {
    client.prepare_store(key, id)?;
    client.commit_store_inline(key, id, &layout(2), &mut |chunk, visit| visit(&pattern(chunk)))
}

pub fn look_up(client: &mut Client, key: &Key) -> u64 {
    client.lookup(key, 1).unwrap();
    client.query_prefetch_status(&key.request_id).unwrap().unwrap()
}

/// The chunks of the key, if they were there.
pub fn retrieve(client: &mut Client, key: &Key, id: u64) -> Result<Option<Vec<Vec<u8>>>, RpcError> {
    let mut back = vec![vec![0; 512]; 2];
    let there = client.prepare_retrieve_inline(key, id, &layout(2), &mut |chunk, at, piece| {
        back[chunk][at as usize..at as usize + piece.len()].copy_from_slice(piece);
    })?;
    Ok(there.then_some(back))
}

#[test]
fn every_generation_is_recognised_and_keeps_inline_chunks() {
    let releases = [
        ("0.5.2", Generation::V0_5_0),
        ("0.5.3", Generation::V0_5_3),
        ("0.5.5", Generation::V0_5_5),
        ("0.5.6", Generation::V0_5_6),
        ("0.5.7rc2", Generation::V0_5_7),
    ];
    for (wire, (release, generation)) in WIRES.iter().flat_map(|wire| releases.map(|release| (*wire, release))) {
        let mock = MockServer::start(&[CHUNK, "--release", release]);
        let mut client = mock.connect_by(wire);
        assert_eq!(client.server().generation, generation);
        assert_eq!(client.server().chunk_size, 16);
        assert_eq!(mock.http_api().release().unwrap(), release);
        assert_eq!(client.register_engine_context(&context(7)).unwrap(), None);
        let (cold, warm) = (key(1, "cold"), key(1, "warm"));
        assert_eq!(look_up(&mut client, &cold), 0);
        assert!(store(&mut client, &cold, 7).unwrap());
        client.end_session("cold").unwrap();
        assert_eq!(retrieve(&mut client, &warm, 7).unwrap(), None, "nothing is locked yet");
        assert_eq!(look_up(&mut client, &warm), 2);
        let back = retrieve(&mut client, &warm, 7).unwrap().unwrap();
        assert_eq!(back, [pattern(0), pattern(1)]);
        assert!(client.commit_retrieve(&warm, 7).unwrap());
        client.end_session("warm").unwrap();
        client.unregister_engine_context(7).unwrap();
        let status = mock.http_api().status().unwrap();
        assert_eq!(
            (status.total_object_count, status.read_locked_count),
            (Some(2), Some(0))
        );
        assert_eq!(
            (status.active_sessions, status.active_prefetch_jobs),
            (Some(0), Some(0))
        );
    }
}

#[test]
fn shared_memory_of_the_server_is_cut_into_slots_and_goes_with_it() {
    let name = format!("test-{}-slots", std::process::id());
    let mut mock = MockServer::start(&[CHUNK, "--l1-size-mb", "1", "--shm-name", &name]);
    let mut client = mock.connect();
    let pool = client.register_engine_context(&context(7)).unwrap().unwrap();
    assert_eq!(pool.shm_name, format!("lmcache_l1_pool_{name}"));
    let mut memory = Segment::open(&pool.shm_name, pool.pool_bytes as usize).unwrap();
    let prepared = client.prepare_store(&key(1, "a"), 7).unwrap();
    assert_eq!(prepared.chunk_indices, [0, 1]);
    for (chunk, slot) in prepared.slots.iter().enumerate() {
        memory.mapping_mut().write(slot.offset as usize, &pattern(chunk));
    }
    assert_eq!(look_up(&mut client, &key(1, "b")), 0, "not before the commit");
    assert!(client.commit_store(&key(1, "a"), 7).unwrap());
    assert!(!client.commit_store(&key(1, "a"), 7).unwrap());
    assert_eq!(look_up(&mut client, &key(1, "c")), 2);
    let slots = client.prepare_retrieve(&key(1, "c"), 7).unwrap().unwrap();
    assert_eq!(slots, prepared.slots);
    assert!(client.commit_retrieve(&key(1, "c"), 7).unwrap());
    assert_eq!(mock.http_api().status().unwrap().read_locked_count, Some(0));
    assert_eq!(mock.stop(), Some(0));
    assert!(!Path::new("/dev/shm").join(&pool.shm_name).exists());
}

#[test]
fn what_was_used_longest_ago_makes_room() {
    // A slot takes a page at least, so 256 chunks fit, which are 128 keys.
    let name = format!("test-{}-lru", std::process::id());
    let mock = MockServer::start(&[CHUNK, "--l1-size-mb", "1", "--shm-name", &name]);
    let mut client = mock.connect();
    client.register_engine_context(&context(7)).unwrap();
    let mut put = |number: u32| {
        let key = key(number * 100, "put");
        let prepared = client.prepare_store(&key, 7).unwrap();
        if !prepared.slots.is_empty() {
            client.commit_store(&key, 7).unwrap();
        }
        prepared.slots.len()
    };
    assert_eq!((0..129).map(&mut put).sum::<usize>(), 258);
    assert_eq!(look_up(&mut client, &key(0, "first")), 0, "the oldest is gone");
    assert_eq!(look_up(&mut client, &key(100, "second")), 2, "and nothing else");
    let counts = mock.http_api().status().unwrap();
    assert_eq!(
        (counts.total_object_count, counts.read_locked_count),
        (Some(256), Some(2))
    );
}

/// One layer of eight blocks with eight tokens each.
fn register(client: &mut Client, segment: &Segment, id: u64, dtype: Dtype) {
    let heads_first = client.server().generation.reads_kv_heads_first;
    let (tokens, heads) = if heads_first { (3, 2) } else { (2, 3) };
    let mut shape = vec![2, 8, 0, 0, 4];
    (shape[tokens], shape[heads]) = (8, 1);
    let stride: Vec<u64> = (0..5).map(|side| shape[side + 1..].iter().product()).collect();
    let registration = KvRegistration {
        instance_id: id,
        tensors: vec![KvTensor {
            memory: KvMemory::CpuShm {
                shm_name: segment.name().into(),
                bytes: segment.mapping().len() as u64,
            },
            dtype,
            shape,
            stride,
            storage_offset: 0,
            device_uuid: "cpu".into(),
        }],
        model_name: "m".into(),
        world_size: 1,
        engine_type: "vllm".into(),
        kv_layout: "NHD".into(),
        groups: vec![LayerGroup {
            engine_group_id: 0,
            layer_indices: vec![0],
            tokens_per_block: 8,
            sw_size_tokens: -1,
        }],
    };
    client.register_kv_cache(&registration).unwrap();
}

#[test]
fn memory_of_the_client_is_read_written_and_digested() {
    for release in ["0.5.0", "0.5.4", "0.5.5", "0.5.6", "0.5.7"] {
        let mock = MockServer::start(&[CHUNK, "--release", release]);
        let mut client = mock.connect();
        let name = format!("lmcache-bench-test-{}-{release}", std::process::id());
        let mut segment = Segment::create(&name, 2 * 8 * 8 * 4 * 2).unwrap();
        let filled: Vec<u8> = (0..1024).map(|byte| (byte * 7 % 251) as u8).collect();
        segment.mapping_mut().write(0, &filled);
        register(&mut client, &segment, 9, Dtype::Bfloat16);
        let (from, to) = (vec![vec![1, 2, 3, 4]], vec![vec![4, 5, 6, 7]]);
        assert!(client.store(&key(1, "a"), 9, &from, b"").unwrap().accepted);
        assert_eq!(look_up(&mut client, &key(1, "b")), 2);
        let digest = |blocks: [u64; 4]| {
            let request = ChecksumRequest {
                instance_id: 9,
                block_ids: blocks.to_vec(),
                chunk_blocks: 2,
            };
            mock.http_api().checksums(&request).unwrap()
        };
        let before = digest([1, 2, 3, 4]);
        assert_ne!(digest([4, 5, 6, 7]), before);
        assert!(client.retrieve(&key(1, "b"), 9, &to, b"", 0).unwrap().accepted);
        assert_eq!(digest([4, 5, 6, 7]), before);
        let mut block = [0; 64];
        segment.mapping().read(5 * 64, &mut block);
        assert_eq!(block, filled[2 * 64..3 * 64], "block 2 went to block 5");
        assert!(
            !client.retrieve(&key(1, "b"), 9, &to, b"", 0).unwrap().accepted,
            "locks are used up"
        );
        client.unregister_kv_cache(9).unwrap();
    }
}

#[test]
fn a_chunk_of_null_blocks_is_not_stored_by_later_releases() {
    for (release, hits) in [("0.5.2", 2), ("0.5.6", 0), ("0.5.7", 0)] {
        let mock = MockServer::start(&[CHUNK, "--release", release]);
        let mut client = mock.connect();
        let name = format!("lmcache-bench-test-{}-null-{release}", std::process::id());
        let segment = Segment::create(&name, 2 * 8 * 8 * 4 * 2).unwrap();
        register(&mut client, &segment, 9, Dtype::Float16);
        let blocks = vec![vec![0, 0, 1, 2]];
        assert!(client.store(&key(1, "a"), 9, &blocks, b"").unwrap().accepted);
        assert_eq!(look_up(&mut client, &key(1, "b")), hits, "{release}");
    }
}

#[test]
fn delays_hold_answers_back() {
    let mock = MockServer::start(&["--delay", "noop=60"]);
    for wire in WIRES {
        let mut client = mock.connect_by(*wire);
        let begun = Instant::now();
        client.noop().unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(60));
        let timing = client.timing();
        assert!(timing.begun <= timing.sent && timing.sent <= timing.answered && timing.answered <= timing.done);
        // The server counts from the arrival, which this thread may see late.
        assert!(timing.answered - timing.begun >= Duration::from_millis(60));
    }
}

#[test]
fn ways_of_transfer_can_be_left_out() {
    for (flag, lmcache, engine) in [
        ("auto", true, true),
        ("lmcache_driven", true, false),
        ("engine_driven", false, true),
    ] {
        let mock = MockServer::start(&["--supported-transfer-mode", flag]);
        let modes = mock.connect().transfer_modes(4_000_000_000).unwrap();
        assert_eq!((modes.lmcache_driven, modes.engine_driven), (lmcache, engine), "{flag}");
        let status = mock.http_api().status().unwrap();
        assert_eq!(status.registered_gpu_ids.is_some(), lmcache);
        assert_eq!(status.registered_non_cuda_instance_ids.is_some(), engine);
    }
}

#[test]
fn http_refuses_as_the_real_server_does() {
    let mock = MockServer::start(&[CHUNK]);
    let request = |block_ids: &[u64]| ChecksumRequest {
        instance_id: 3,
        block_ids: block_ids.to_vec(),
        chunk_blocks: 2,
    };
    let error = mock.http_api().checksums(&request(&[1])).unwrap_err();
    assert_eq!(
        error,
        HttpError::Refused {
            status: 404,
            detail: "instance_id 3 not registered".into()
        }
    );
}

#[test]
fn nonsense_on_its_command_line_is_a_usage_error() {
    for (flags, text) in [
        (["--fault", "explode"], "unknown --fault 'explode'"),
        (["--delay", "lookup"], "is not OPERATION=MS"),
        (["--release", "0.6.0"], "none of 0.5.0 to 0.5.7"),
    ] {
        let output = bench().args(["mock", "server"]).args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(stderr(&output).contains(text), "{}", stderr(&output));
    }
    let mock = MockServer::start(&[]);
    let port = mock.rpc_url.rsplit(':').next().unwrap();
    let output = bench()
        .args(["mock", "server", "--http-port", "0", "--port", port])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("choose another --port"), "{}", stderr(&output));
}
