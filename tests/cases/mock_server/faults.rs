//! The client against misbehaviour: every fault becomes the error that names it, and the next request still works.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use lmcache_bench::server::http::{ChecksumRequest, HttpApi};
use lmcache_bench::server::rpc::{Client, Dtype, Endpoint, RpcError, WireKind};
use lmcache_bench::sys::shm::Segment;

use super::{CHUNK, context, key, look_up, pattern, register, retrieve, store};
use crate::support::mock_server::{DEADLINE, MockServer, WIRES, everywhere, of_release, releases_and_wires};

/// Short, for what is never answered.
const SOON: Duration = Duration::from_millis(50);

fn connected(release: &str, wire: WireKind, flags: &[&str]) -> (MockServer, Client) {
    let mock = MockServer::start(&of_release(release, &[&[CHUNK], flags].concat()));
    let mut client = mock.connect_by(wire);
    client.register_engine_context(&context(7)).unwrap();
    (mock, client)
}

#[test]
fn a_dropped_reply_is_a_timeout_of_a_living_server() {
    everywhere(&[()], |release, wire, ()| {
        let (_mock, mut client) = connected(release, wire, &["--fault", "drop-reply:lookup@1"]);
        client.set_reply_timeout(SOON);
        let error = client.lookup(&key(1, "a"), 1).unwrap_err();
        assert!(matches!(error, RpcError::TimedOut { answers: true, .. }), "{error:?}");
        assert!(error.to_string().contains("LOOKUP was not answered"), "{error}");
        client.set_reply_timeout(DEADLINE);
        assert_eq!(look_up(&mut client, &key(1, "b")), 0);
    });
}

#[test]
fn a_late_reply_is_not_taken_for_the_next_one() {
    everywhere(&[()], |release, wire, ()| {
        let (_mock, mut client) = connected(release, wire, &["--delay", "query_prefetch_status@1=2000"]);
        store(&mut client, &key(1, "a"), 7).unwrap();
        client.lookup(&key(1, "b"), 1).unwrap();
        client.set_reply_timeout(SOON);
        let error = client.query_prefetch_status("b").unwrap_err();
        assert!(matches!(error, RpcError::TimedOut { .. }), "{error:?}");
        client.set_reply_timeout(DEADLINE);
        // The late answer says 2; this request id is unknown and gets 0.
        assert_eq!(client.query_prefetch_status("unknown").unwrap(), Some(0));
    });
}

#[test]
fn a_dead_server_is_told_from_a_slow_one() {
    everywhere(&[()], |release, wire, ()| {
        let (_mock, mut client) = connected(release, wire, &["--fault", "die@15"]);
        client.set_reply_timeout(SOON);
        // Connecting and registering took some; the rest is soon used up. Before, it may be slow on a loaded machine.
        let slow = |error: &RpcError| matches!(error, RpcError::TimedOut { answers: true, .. });
        let mut errors = (0..40).filter_map(|_| client.noop().err());
        let error = errors.find(|error| !slow(error)).unwrap();
        assert!(matches!(error, RpcError::TimedOut { answers: false, .. }), "{error:?}");
        assert!(error.to_string().contains("restart it"), "{error}");
    });
}

#[test]
fn a_closed_connection_is_known_at_once_and_opened_again() {
    for (release, wire) in releases_and_wires() {
        let (_mock, mut client) = connected(release, wire, &["--fault", "disconnect:lookup@1"]);
        let begun = Instant::now();
        let error = client.lookup(&key(1, "a"), 1).unwrap_err();
        assert!(matches!(error, RpcError::Disconnected { .. }), "{error:?}");
        assert!(begun.elapsed() < DEADLINE, "not by waiting for the reply");
        assert!(client.ping(None).unwrap());
        assert_eq!(client.disconnects(), 1);
    }
}

#[test]
fn a_killed_server_is_named() {
    for (release, wire) in releases_and_wires() {
        let (mut mock, mut client) = connected(release, wire, &[]);
        mock.kill();
        for _ in 0..2 {
            let error = client.noop().unwrap_err();
            assert!(matches!(error, RpcError::Disconnected { .. }), "{error:?}");
            assert!(error.to_string().contains("is the server still running?"), "{error}");
        }
    }
}

#[test]
fn replies_that_are_cut_or_of_another_type_are_malformed() {
    for (release, wire) in releases_and_wires() {
        for (fault, text) in [
            ("truncate-reply:commit_store", "a value of 1 bytes where 0 are left"),
            (
                "wrong-type:commit_store",
                "should be true or false and is text of 5 bytes",
            ),
        ] {
            let (_mock, mut client) = connected(release, wire, &["--fault", fault]);
            let error = store(&mut client, &key(1, "a"), 7).unwrap_err();
            assert!(matches!(error, RpcError::Malformed { .. }), "{error:?}");
            assert!(error.to_string().contains(text), "{error}");
            client.noop().unwrap();
        }
        for fault in ["truncate-reply:prepare_retrieve", "wrong-type:prepare_retrieve"] {
            let (_mock, mut client) = connected(release, wire, &["--fault", fault]);
            store(&mut client, &key(1, "a"), 7).unwrap();
            look_up(&mut client, &key(1, "b"));
            let error = retrieve(&mut client, &key(1, "b"), 7).unwrap_err();
            assert!(matches!(error, RpcError::Malformed { .. }), "{error:?}");
            client.noop().unwrap();
        }
    }
}

#[test]
fn refusals_and_partial_hits_are_answers() {
    for (release, wire) in releases_and_wires() {
        let (_mock, mut client) = connected(
            release,
            wire,
            &["--fault", "refuse:commit_store@1", "--fault", "partial-hit@2"],
        );
        assert!(!store(&mut client, &key(1, "a"), 7).unwrap());
        assert_eq!(look_up(&mut client, &key(1, "b")), 0);
        assert!(store(&mut client, &key(1, "c"), 7).unwrap());
        assert_eq!(look_up(&mut client, &key(1, "d")), 1);
        assert_eq!(look_up(&mut client, &key(1, "e")), 2);
    }
}

#[test]
fn an_unknown_registration_is_refused_without_waiting() {
    let mock = MockServer::start(&[CHUNK, "--fault", "unknown-op:register_engine_context"]);
    let mut client = mock.connect();
    let error = client.register_engine_context(&context(7)).unwrap_err();
    assert!(matches!(error, RpcError::Refused { .. }), "{error:?}");
}

#[test]
fn corrupted_chunks_and_digests_are_seen() {
    for (release, wire) in releases_and_wires() {
        corrupted_chunks_and_digests(release, wire);
    }
}

fn corrupted_chunks_and_digests(release: &str, wire: WireKind) {
    let flags = ["--fault", "corrupt", "--fault", "wrong-checksum@1"];
    let (mock, mut client) = connected(release, wire, &flags);
    store(&mut client, &key(1, "a"), 7).unwrap();
    look_up(&mut client, &key(1, "b"));
    let back = retrieve(&mut client, &key(1, "b"), 7).unwrap().unwrap();
    assert_eq!(back[0][0], pattern(0)[0] ^ 1);
    assert_eq!(back[0][1..], pattern(0)[1..]);
    let segment = Segment::create(
        &format!("lmcache-bench-test-{}-digest-{release}", std::process::id()),
        1024,
    )
    .unwrap();
    register(&mut client, &segment, 9, Dtype::Float16);
    let request = ChecksumRequest {
        instance_id: 9,
        block_ids: vec![1, 2],
        chunk_blocks: 2,
    };
    let wrong = mock.http_api().checksums(&request).unwrap();
    assert_ne!(mock.http_api().checksums(&request).unwrap(), wrong);
}

#[test]
fn what_a_server_cannot_take_is_refused_here() {
    let (_mock, mut client) = connected("0.5.7", WireKind::Native, &[]);
    let text = |result: Result<(), RpcError>| match result {
        Err(RpcError::Invalid(text)) => text,
        other => panic!("{other:?}"),
    };
    let good = key(1, "a");
    assert!(text(client.lookup(&good.range(0, 64), 1)).contains("more than the 32"));
    assert!(text(client.prepare_store(&good.range(0, 8), 7).map(|_| ())).contains("not whole chunks of 16"));
    assert!(text(client.prepare_store(&good.of_worker(None), 7).map(|_| ())).contains("number of its worker"));
    let salted = |salt: &str| {
        let mut key = key(1, "a");
        key.cache_salt = salt.into();
        key
    };
    assert!(text(client.lookup(&salted("a/b"), 1)).contains("cache salt"));
    assert!(text(client.lookup(&salted(&"x".repeat(129)), 1)).contains("128"));
}

// ---- what is no cache server ------------------------------------------------------------------------------------------

/// A server that says `first` to every connection, then answers what it is asked with `answer`.
fn stranger(first: &'static [u8], answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut asked = [0; 256];
                let _ = stream.write_all(first);
                while let Ok(1..) = stream.read(&mut asked) {
                    let _ = stream.write_all(answer);
                }
            });
        }
    });
    format!("tcp://{address}")
}

/// The sentence about what is at the address, which is the same over every wire.
fn refusal(url: &str) -> String {
    refusal_within(DEADLINE, url)
}

fn refusal_within(time: Duration, url: &str) -> String {
    let over = |wire: WireKind| match Client::connect_by(wire, &Endpoint::parse(url).unwrap(), time) {
        Ok(_) => panic!("{url} is no server"),
        Err(error) => error.to_string(),
    };
    let mut texts: Vec<String> = thread::scope(|scope| {
        let over = &over;
        let threads: Vec<_> = WIRES.iter().map(|wire| scope.spawn(move || over(*wire))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:#?}");
    texts.swap_remove(0)
}

#[test]
fn other_servers_are_recognised_and_named() {
    let mock = MockServer::start(&[]);
    let http = mock.http_url.replace("http://", "tcp://");
    assert!(refusal(&http).contains("an HTTP server is there"), "{}", refusal(&http));
    let settings = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x7f\xff\xff\xff";
    assert!(refusal(&stranger(settings, b"")).contains("gRPC"));
    assert!(refusal(&stranger(b"", settings)).contains("gRPC"));
    assert!(refusal(&stranger(b"220 mail.example ESMTP\r\n", b"")).contains("does not speak ZeroMQ"));
    assert!(refusal("tcp://127.0.0.1:1").contains("Connection refused"));
    let wrong = HttpApi::new(&mock.rpc_url.replace("tcp://", "http://"), DEADLINE).unwrap();
    let wrong = wrong.looking_for(DEADLINE);
    assert!(wrong.release().unwrap_err().to_string().contains("is a ZeroMQ port"));
}

#[test]
fn other_zeromq_servers_are_recognised_and_named() {
    let context = zmq::Context::new();
    let router = context.socket(zmq::ROUTER).unwrap();
    router.bind("tcp://127.0.0.1:*").unwrap();
    let url = router.get_last_endpoint().unwrap().unwrap();
    // Nobody reads: a server whose request thread has died.
    let error = refusal_within(Duration::from_secs(2), &url);
    assert!(error.contains("did not answer within 2.0 s"), "{error}");
    thread::spawn(move || {
        while let Ok(mut frames) = router.recv_multipart(0) {
            frames.push(b"\xa3who".to_vec());
            let _ = router.send_multipart(frames, 0);
        }
    });
    assert!(
        refusal(&url).contains("it answered 'who' to the first question"),
        "{}",
        refusal(&url)
    );
}
