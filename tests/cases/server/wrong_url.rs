//! A `--url` that is a ZeroMQ port: nothing may be sent to it, because that could end the request thread of a cache server.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lmcache_bench::server::http::{HttpApi, HttpError};
use lmcache_bench::server::rpc::Endpoint;

use crate::support::mock_server::{DEADLINE, MockServer};
use crate::support::s3_server::S3Server;
use crate::support::{json, stderr, warning_codes};

/// What a ZMTP 3 server sends as soon as a client connects.
const SIGNATURE: [u8; 10] = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f];

/// A port that greets one client like a ZeroMQ server. The thread returns all bytes that the client sends; `None` if it was so
/// late that the client did not wait for it.
fn greeter() -> (u16, JoinHandle<Option<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let received = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        client.set_nonblocking(true).unwrap();
        // The client sends nothing and does not leave while it waits.
        client.peek(&mut [0]).err()?;
        client.set_nonblocking(false).unwrap();
        client.write_all(&SIGNATURE).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut received = Vec::new();
        // A client that closes without reading the whole greeting resets the connection.
        let _ = client.read_to_end(&mut received);
        Some(received)
    });
    (port, received)
}

#[test]
fn nothing_is_sent_to_a_port_that_greets_like_zeromq() {
    let server = MockServer::start(&[]);
    // The first address of `localhost` is often `::1`, where nothing listens here.
    for host in ["127.0.0.1", "localhost", "user@localhost"] {
        let asked = || {
            let (port, received) = greeter();
            let url = format!("http://{host}:{port}/");
            let (output, report) = json(server.client().args(["--url", &url]));
            assert!(output.status.success(), "{}", stderr(&output));
            Some((received.join().unwrap()?, report))
        };
        let (received, report) = (0..20).find_map(|_| asked()).expect("a greeting in time");
        assert_eq!(received, b"", "{host}");
        assert_eq!(warning_codes(&report["metrics"])[0], "no-http");
        let text = report["metrics"]["warnings"][0].to_string();
        assert!(
            text.contains("is a ZeroMQ port; name the server's HTTP address"),
            "{text}"
        );
    }
}

#[test]
fn nothing_is_sent_with_https_either() {
    let (port, received) = greeter();
    let api = HttpApi::new(&format!("https://127.0.0.1:{port}"), DEADLINE).unwrap();
    let api = api.looking_for(DEADLINE);
    assert!(matches!(api.release(), Err(HttpError::Unreachable(_))));
    assert_eq!(received.join().unwrap().as_deref(), Some(&b""[..]));
}

#[test]
fn http_errors_quote_the_response_up_to_a_limit() {
    let page = |status: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let long = "x".repeat(1000);
    for (answer, expected) in [
        (
            page("502 Bad Gateway", "<html><title>502 down</title></html>"),
            "the server answered 502: 502 down".to_owned(),
        ),
        (
            page("401 Unauthorized", "{\"error\":{\"message\":\"who?\"}}"),
            "the server answered 401: who?".to_owned(),
        ),
        (page("302 Found", ""), "the server answered 302".to_owned()),
        (
            page("200 OK", "<title>Sign in</title>"),
            "/lmc_version did not answer JSON but \"Sign in\"".to_owned(),
        ),
        (
            page("200 OK", "[1]"),
            "/lmc_version did not answer text but \"[1]\"".to_owned(),
        ),
        (
            page("500 Oops", &long),
            format!("the server answered 500: {}", "x".repeat(200)),
        ),
    ] {
        let server = S3Server::scripted(move |_, _| Some(answer.clone()));
        let api = HttpApi::new(&format!("http://127.0.0.1:{}", server.port), DEADLINE).unwrap();
        let error = api.release().unwrap_err().to_string();
        assert!(error.contains(&expected), "{expected}: {error}");
        assert!(!error.contains(&"x".repeat(201)), "{error}");
    }
    let server = S3Server::scripted(move |_, _| Some(page("200 OK", &format!("\"{long}\""))));
    let api = HttpApi::new(&format!("http://127.0.0.1:{}", server.port), DEADLINE).unwrap();
    assert_eq!(api.release().unwrap(), "x".repeat(200));
}

/// The greeting of a busy server may be late, so HTTP does not even connect to the port of `--rpc-url`.
#[test]
fn http_does_not_connect_to_the_port_of_the_rpc_url() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let endpoint = Endpoint::parse(&format!("tcp://localhost:{port}")).unwrap();
    let api = HttpApi::new(&format!("http://127.0.0.1:{port}"), Duration::from_secs(1)).unwrap();
    let api = api.avoiding(endpoint.addresses());
    for _ in 0..2 {
        let error = api.release().unwrap_err().to_string();
        assert!(error.contains("is the ZeroMQ port of --rpc-url"), "{error}");
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "there was a connection");

    let server = MockServer::start(&[]);
    let url = server.rpc_url.replace("tcp://", "http://");
    let (output, report) = json(server.client().args(["--url", &url]));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(warning_codes(&report["metrics"])[0], "no-http");
    // The request thread is still alive.
    assert!(server.client().output().unwrap().status.success());
}
