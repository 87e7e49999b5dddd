//! Captured requests, sent by libzmq, get the captured replies: the mock answers as the real server did, and its ZeroMQ is
//! that of others.

use lmcache_bench::server::rpc::{Generation, Key, Operation};
use lmcache_bench::sys::shm::Segment;
use serde_json::Value;

use super::{context, key};
use crate::support::mock_server::MockServer;

const REPLY_MS: i32 = 20_000;

macro_rules! fixture {
    ($name:literal) => {
        ($name, include_str!(concat!("../../golden/server/", $name, ".json")))
    };
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

fn frames(json: &Value) -> Vec<Vec<u8>> {
    let frames = json.as_array().unwrap().iter();
    frames.map(|frame| unhex(frame.as_str().unwrap())).collect()
}

/// Puts names of this process in the place of captured ones, which are as long.
struct Names(Vec<(Vec<u8>, Vec<u8>)>);

impl Names {
    fn add(&mut self, captured: &str, begin: &str) -> String {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Six letters and digits are enough for any process id and a hundred names.
        let mut number = u64::from(std::process::id()) * 100 + u64::from(number);
        let mut unique = String::new();
        while number > 0 {
            unique.insert(0, char::from_digit((number % 36) as u32, 36).unwrap());
            number /= 36;
        }
        let ours = format!("{begin}{unique:0>width$}", width = captured.len() - begin.len());
        assert_eq!(ours.len(), captured.len());
        self.0.push((captured.into(), ours.clone().into()));
        ours
    }

    fn put(&self, frame: &[u8]) -> Vec<u8> {
        let mut frame = frame.to_vec();
        for (captured, ours) in &self.0 {
            while let Some(at) = frame
                .windows(captured.len())
                .position(|window| window == captured.as_slice())
            {
                frame[at..at + ours.len()].copy_from_slice(ours);
            }
        }
        frame
    }
}

/// Every name in a file that begins so, without what follows it.
fn names_in(json: &Value, begin: &str) -> Vec<String> {
    let mut found = Vec::new();
    let all: Vec<Vec<u8>> = json["exchanges"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|exchange| [&exchange["request"], &exchange["response"]])
        .filter(|frames| frames.is_array())
        .flat_map(frames)
        .collect();
    for frame in all {
        for at in 0..frame.len() {
            if frame[at..].starts_with(begin.as_bytes()) {
                let name = frame[at..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_alphanumeric() || b"_/".contains(byte));
                let name: Vec<u8> = name.copied().collect();
                found.push(String::from_utf8(name).unwrap());
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Sends what was captured in a file and compares the replies.
fn replay(file: &str, json: &str) {
    let json: Value = serde_json::from_str(json).unwrap();
    let release = file.trim_start_matches("reference-").trim_start_matches('v');
    let release = release.split('-').next().unwrap();
    assert!(Generation::of_release(release).is_some());
    let mut names = Names(Vec::new());
    let mut segments = Vec::new();
    for captured in names_in(&json, "/lmcache_kv_") {
        // A name in MessagePack may be followed by a letter, which is part of the next field.
        let captured = captured.trim_end_matches(|c: char| !c.is_ascii_digit());
        let ours = names.add(captured, "/lmcb");
        segments.push(Segment::create(&ours, 1024).unwrap());
    }
    let mut flags = vec!["--chunk-size=8", "--l1-size-mb=256", "--release", release];
    let pool = names_in(&json, "lmcache_l1_pool_").into_iter().next();
    let name = pool.map(|captured| names.add(&captured, "lmcache_l1_pool_"));
    if let Some(name) = &name {
        flags.extend(["--shm-name", name.trim_start_matches("lmcache_l1_pool_")]);
    }
    let mock = MockServer::start(&flags);
    if file.contains("groups-shm") {
        take_eight_slots(&mock);
    }
    let context = zmq::Context::new();
    let dealer = context.socket(zmq::DEALER).unwrap();
    dealer.set_rcvtimeo(REPLY_MS).unwrap();
    dealer.set_linger(0).unwrap();
    dealer.connect(&mock.rpc_url).unwrap();
    for exchange in json["exchanges"].as_array().unwrap() {
        let request: Vec<Vec<u8>> = frames(&exchange["request"])
            .iter()
            .map(|frame| names.put(frame))
            .collect();
        let what = format!("{file}: {} {}", exchange["step"], exchange["op_name"]);
        dealer.send_multipart(&request, 0).unwrap();
        if exchange["response"].is_null() {
            continue;
        }
        let expected: Vec<Vec<u8>> = frames(&exchange["response"])
            .iter()
            .map(|frame| names.put(frame))
            .collect();
        let reply = dealer
            .recv_multipart(0)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let large = expected.get(2).is_some_and(|result| result.len() > 400);
        if large && file.contains("pickle") && !file.contains("0.5.7") {
            // Chunks in a pickle: its names vary, its chunks have tests of their own.
            assert_eq!(reply[..2], expected[..2], "{what}");
            assert_eq!(reply[2][..12], expected[2][..12], "{what}");
        } else {
            assert_eq!(reply, expected, "{what}");
        }
    }
}

/// The server of that capture had stored eight chunks before.
fn take_eight_slots(mock: &MockServer) {
    let mut client = mock.connect();
    client.register_engine_context(&context(7)).unwrap();
    let eight = Key {
        token_ids: (0..64).collect(),
        end: 64,
        ..key(0, "eight")
    };
    assert_eq!(client.prepare_store(&eight, 7).unwrap().slots.len(), 8);
    assert!(client.commit_store(&eight, 7).unwrap());
    client.end_session("eight").unwrap();
}

#[test]
fn exchanges_of_all_generations_are_answered_as_captured() {
    for (file, json) in [
        fixture!("v0.5.0-0.5.2-handle"),
        fixture!("v0.5.0-0.5.2-pickle"),
        fixture!("v0.5.0-0.5.2-shm"),
        fixture!("v0.5.3-0.5.4-handle"),
        fixture!("v0.5.3-0.5.4-pickle"),
        fixture!("v0.5.3-0.5.4-shm"),
        fixture!("v0.5.5-handle"),
        fixture!("v0.5.5-pickle"),
        fixture!("v0.5.5-shm"),
        fixture!("v0.5.6-handle"),
        fixture!("v0.5.6-pickle"),
        fixture!("v0.5.6-shm"),
        fixture!("v0.5.7rc2-groups-pickle"),
        fixture!("v0.5.7rc2-groups-shm"),
        fixture!("v0.5.7rc2-handle"),
        fixture!("v0.5.7rc2-negotiate"),
        fixture!("v0.5.7rc2-pickle"),
        fixture!("v0.5.7rc2-shm"),
    ] {
        replay(file, json);
    }
}

#[test]
fn the_reference_client_is_answered_as_captured() {
    for (file, json) in [
        fixture!("reference-v0.5.0-handle"),
        fixture!("reference-v0.5.0-shm"),
        fixture!("reference-v0.5.4-handle"),
        fixture!("reference-v0.5.4-shm"),
        fixture!("reference-v0.5.5-handle"),
        fixture!("reference-v0.5.5-shm"),
        fixture!("reference-v0.5.6-handle"),
        fixture!("reference-v0.5.6-handle-tp2"),
        fixture!("reference-v0.5.6-pickle"),
        fixture!("reference-v0.5.6-shm"),
        fixture!("reference-v0.5.7rc2-handle"),
        fixture!("reference-v0.5.7rc2-handle-random"),
        fixture!("reference-v0.5.7rc2-handle-tp2"),
        fixture!("reference-v0.5.7rc2-pickle"),
        fixture!("reference-v0.5.7rc2-pickle-mla-tp2"),
        fixture!("reference-v0.5.7rc2-shm"),
        fixture!("reference-v0.5.7rc2-shm-concurrency2"),
    ] {
        replay(file, json);
    }
}

/// The question that 0.5.7 alone answers.
#[test]
fn the_probe_for_0_5_7_ends_as_captured() {
    let json = include_str!("../../golden/server/probes-v0.5.7rc2.json");
    let json: Value = serde_json::from_str(json).unwrap();
    for row in json["rows"].as_array().unwrap() {
        let release = row["server_version"].as_str().unwrap();
        let generation = Generation::of_release(release).unwrap();
        let mock = MockServer::start(&["--chunk-size=8", "--release", release]);
        let context = zmq::Context::new();
        let dealer = context.socket(zmq::DEALER).unwrap();
        dealer.set_rcvtimeo(REPLY_MS).unwrap();
        dealer.connect(&mock.rpc_url).unwrap();
        dealer.send_multipart(frames(&row["request"]), 0).unwrap();
        let noop = vec![b"noop".to_vec(), vec![generation.id(Operation::Noop).unwrap()]];
        dealer.send_multipart(&noop, 0).unwrap();
        let mut reply = dealer.recv_multipart(0).unwrap();
        if !row["response"].is_null() {
            assert_eq!(reply, frames(&row["response"]), "{release}");
            reply = dealer.recv_multipart(0).unwrap();
        }
        assert_eq!(reply[..2], noop, "{release}: it is silent and still answers");
    }
    let mock = MockServer::start(&["--chunk-size=8", "--release", "0.5.7rc2"]);
    let context = zmq::Context::new();
    for (bad, outcome) in json["bad_frames_0.5.7rc2"].as_object().unwrap() {
        let operation: &[u8] = match bad.as_str() {
            "uid not MessagePack, NOOP" | "empty uid, NOOP" => &[24],
            "\"noop\" as a string" => b"\xa4noop",
            "unknown string op" => b"\xa4nope",
            "integer op outside the table (0, 999)" => &[0xcd, 3, 0xe7],
            "nil op" => &[0xc0],
            "byte c1 as op" => &[0xc1],
            "empty op frame" => &[],
            "payload count or type wrong" => &[22],
            "single-frame message" => continue,
            other => panic!("{other}"),
        };
        let dealer = context.socket(zmq::DEALER).unwrap();
        dealer.set_rcvtimeo(REPLY_MS).unwrap();
        dealer.connect(&mock.rpc_url).unwrap();
        let id: &[u8] = if bad.starts_with("empty uid") { b"" } else { b"\xc1id" };
        dealer.send_multipart([id, operation], 0).unwrap();
        dealer.send_multipart([&b"behind"[..], &[24]], 0).unwrap();
        let first = dealer.recv_multipart(0).unwrap();
        assert_eq!(first[0] == id, outcome == "reply", "{bad}");
    }
}

/// The probes that tell releases apart, and what each release does about frames that it cannot read.
#[test]
fn probes_and_bad_frames_end_as_captured() {
    let json = include_str!("../../golden/server/probes.json");
    let json: Value = serde_json::from_str(json).unwrap();
    for version in json["version_probes"].as_array().unwrap() {
        let release = version["server_version"].as_str().unwrap();
        let mock = MockServer::start(&["--chunk-size=8", "--release", release]);
        let context = zmq::Context::new();
        let dealer = context.socket(zmq::DEALER).unwrap();
        dealer.set_rcvtimeo(REPLY_MS).unwrap();
        dealer.connect(&mock.rpc_url).unwrap();
        for probe in version["probes"].as_array().unwrap() {
            dealer.send_multipart(frames(&probe["request"]), 0).unwrap();
            if !probe["response"].is_null() {
                let reply = dealer.recv_multipart(0).unwrap();
                assert_eq!(reply, frames(&probe["response"]), "{release} {}", probe["probe"]);
            }
        }
        // A number outside of the table: the request thread of releases before 0.5.6 is gone.
        dealer.send_multipart([&b"bad"[..], &[0xcd, 3, 0xe7]], 0).unwrap();
        let last = version["probes"].as_array().unwrap();
        let again = last.iter().rfind(|probe| !probe["response"].is_null()).unwrap();
        dealer.send_multipart(frames(&again["request"]), 0).unwrap();
        let dies = Generation::of_release(release).unwrap().dies_of_bad_operations;
        dealer.set_rcvtimeo(if dies { 100 } else { REPLY_MS }).unwrap();
        assert_eq!(dealer.recv_multipart(0).is_err(), dies, "{release}");
    }
}
