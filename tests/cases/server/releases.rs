//! Releases that are not known, and what a run leaves at a server whose chunk size is negotiable.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use super::assert_nothing_left;
use crate::support::mock_server::MockServer;
use crate::support::{json, stderr, warning_codes};

/// Answers every request over HTTP with this release, until the test ends.
fn http_of(release: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = format!("\"{release}\"");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap_or(0);
            let (status, body) = match head[..read].starts_with(b"GET /lmc_version") {
                true => ("200 OK", body.as_str()),
                false => ("404 Not Found", "{\"detail\":\"Not Found\"}"),
            };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    url
}

#[test]
fn a_later_release_that_still_understands_is_measured_with_a_warning() {
    let server = MockServer::start(&["--release", "0.5.7"]);
    let (output, report) = json(server.client().args(["--url", &http_of("0.5.9rc1")]));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(warning_codes(&report["metrics"]).contains(&"newer-release"), "{report}");
    assert_eq!(report["metrics"]["server"]["generation"], "0.5.7");
    assert_nothing_left(&server);
}

/// It is told at once and not after one timeout for each sequence, with the questions that were asked.
#[test]
fn a_release_that_does_not_understand_keys_is_named_as_unknown() {
    let server = MockServer::start(&["--release", "0.5.7", "--fault", "unknown-op:free_lookup_locks"]);
    let output = server.client().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    for part in [
        "of a release that this program does not know; it knows those from 0.5.0 to 0.5.7",
        "GET_EXPERIMENTAL names []; FREE_LOOKUP_LOCKS with three parameters is not answered; QUERY_PREFETCH_LOOKUP_HITS is \
         not answered; FREE_LOOKUP_LOCKS with two parameters is not answered",
        "use a newer lmcache-bench",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_nothing_left(&server);
}

/// An engine with other blocks can negotiate another size after a run, unless the size had to be asked for.
#[test]
fn the_chunk_size_stays_negotiable_where_http_tells_it() {
    for (url, fixed) in [(None, false), (Some(""), true)] {
        let server = MockServer::start(&["--release", "0.5.7"]);
        let mut command = server.client();
        if let Some(url) = url {
            command.args(["--url", url]);
        }
        let (output, report) = json(&mut command);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(
            warning_codes(&report["metrics"]).contains(&"chunk-size-fixed"),
            fixed,
            "{report}"
        );
        let context = zmq::Context::new();
        let dealer = context.socket(zmq::DEALER).unwrap();
        dealer.set_rcvtimeo(20_000).unwrap();
        dealer.connect(&server.rpc_url).unwrap();
        dealer
            .send_multipart([&b"id"[..], b"\xb4negotiate_chunk_size", &[24]], 0)
            .unwrap();
        dealer.send_multipart([&b"behind"[..], &[24]], 0).unwrap();
        let reply = dealer.recv_multipart(0).unwrap();
        assert_eq!(reply[0] == b"behind", fixed, "{reply:?}");
        assert!(fixed || reply[2] == [24], "{reply:?}");
    }
}

/// It answers the first question too late for that to be waited for, so the second one is asked, which fixes the chunk size.
#[test]
fn a_slow_server_is_recognised_and_its_chunk_size_reported_as_fixed() {
    let server = MockServer::start(&["--release", "0.5.7", "--delay", "noop@1=3000"]);
    let (output, report) = json(&mut server.client());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(report["metrics"]["server"]["generation"], "0.5.7");
    assert!(
        warning_codes(&report["metrics"]).contains(&"chunk-size-fixed"),
        "{report}"
    );
    assert_nothing_left(&server);
}
