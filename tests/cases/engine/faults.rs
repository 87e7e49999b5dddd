//! Engines that are down, broken, slow or wrong: every failure has a class and a message, and nothing is retried.

use std::io::Write;
use std::net::{Shutdown, TcpListener};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use lmcache_bench::engine::failure::FailureClass;
use lmcache_bench::engine::samples::record::Record;
use lmcache_bench::engine::wire::line::Timeouts;
use lmcache_bench::engine::workload::Phase;

use super::{Listed, run, run_one, runner, timeouts};
use crate::support::script::{
    After, ScriptServer, Seen, begin_stream, chunk, end_stream, good_answer, header, plain_answer, token, usage,
};

fn failure(record: &Record) -> (FailureClass, String) {
    let failure = record.why_failed().expect("a failed request");
    (failure.class, failure.text)
}

/// Sends one request to a server that answers with `answer`; also returns the number of requests it saw.
fn against(answer: impl Fn(&Seen, &mut std::net::TcpStream) -> After + Send + Sync + 'static) -> (Record, usize) {
    let server = ScriptServer::start(answer);
    let record = run_one(server.url(), timeouts());
    (record, server.seen().len())
}

#[test]
fn an_engine_that_is_down_is_a_connect_failure() {
    // A port of a closed listener could be another test's by now; nothing listens on the one of the discard service.
    let url = "http://127.0.0.1:9";
    let refused = runner(url, timeouts()).open(3).unwrap_err();
    assert_eq!(refused.class, FailureClass::Connect);
    assert!(
        refused
            .text
            .starts_with(&format!("Connection error: could not connect to {url}: "))
    );
    let (class, text) = failure(&run_one(url, timeouts()));
    assert_eq!((class, text), (refused.class, refused.text));
}

#[test]
fn error_statuses_carry_the_engines_message_and_are_not_retried() {
    for (status, kind, body, want) in [
        (
            "400 Bad Request",
            "application/json",
            r#"{"object":"error","message":"too long"}"#,
            "Error code: 400 - too long",
        ),
        (
            "400 Bad Request",
            "application/json",
            r#"{"error":{"message":"too long"}}"#,
            "Error code: 400 - too long",
        ),
        ("400 Bad Request", "text/plain", "no", "Error code: 400 - no"),
        (
            "502 Bad Gateway",
            "text/html",
            "<html><head><title>502 Bad Gateway</title></head></html>",
            "Error code: 502 - 502 Bad Gateway",
        ),
        (
            "422 Unprocessable Entity",
            "application/json",
            r#"{"detail":[{"loc":["body","x"],"msg":"extra fields not permitted","type":"v"}]}"#,
            "Error code: 422 - body.x: extra fields not permitted",
        ),
        ("400 Bad Request", "text/plain", "", "Error code: 400"),
        (
            "401 Unauthorized",
            "application/json",
            r#"{"error":{"message":"bad key sk-test"}}"#,
            "Error code: 401 - bad key ***",
        ),
        (
            "404 Not Found",
            "application/json",
            r#"{"detail":"Not Found"}"#,
            "Error code: 404 - Not Found",
        ),
        (
            "404 Not Found",
            "application/json",
            r#"{"error":{"message":"The model `x` does not exist."}}"#,
            "Error code: 404 - The model `x` does not exist.",
        ),
        (
            "429 Too Many Requests",
            "application/json",
            r#"{"error":{"message":"slow down"}}"#,
            "Error code: 429 - slow down",
        ),
        (
            "500 Internal Server Error",
            "application/json",
            r#"{"error":{"message":"boom\nbang"}}"#,
            "Error code: 500 - boom bang",
        ),
        (
            "503 Service Unavailable",
            "application/json",
            r#"{"error":"busy"}"#,
            "Error code: 503 - busy",
        ),
    ] {
        let (record, requests) = against(move |_, stream| {
            plain_answer(stream, status, kind, body);
            After::Keep
        });
        assert_eq!(failure(&record), (FailureClass::HttpStatus, want.to_owned()));
        assert_eq!((requests, record.ttft_s(), record.output_tokens()), (1, -1.0, 0));
    }
}

#[test]
fn a_redirect_is_named_and_not_followed() {
    let (record, requests) = against(|_, stream| {
        let _ = stream
            .write_all(b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://other/v1\r\ncontent-length: 0\r\n\r\n");
        After::Keep
    });
    let (class, text) = failure(&record);
    assert_eq!((class, requests), (FailureClass::HttpStatus, 1));
    assert!(
        text.contains("307") && text.contains("http://other/v1") && text.contains("--engine-url"),
        "{text}"
    );
}

#[test]
fn a_connection_closed_without_an_answer_is_not_retried() {
    let (record, requests) = against(|_, _| After::Close);
    let (class, text) = failure(&record);
    assert_eq!((class, requests), (FailureClass::StreamBroken, 1));
    assert!(
        text.starts_with("Connection error: the engine closed the connection without an answer"),
        "{text}"
    );
}

#[test]
fn an_answer_that_is_not_streamed_or_not_http_is_a_protocol_failure() {
    let (record, _) = against(|_, stream| {
        plain_answer(
            stream,
            "200 OK",
            "application/json",
            r#"{"error":{"message":"upstream quota of sk-test"}}"#,
        );
        After::Keep
    });
    let want = "the engine answered with application/json instead of an event stream: upstream quota of ***";
    assert_eq!(failure(&record), (FailureClass::Protocol, want.to_owned()));
    let (record, _) = against(|_, stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n");
        After::Close
    });
    let (class, text) = failure(&record);
    assert_eq!(class, FailureClass::Protocol, "{text}");
    assert!(text.starts_with("the engine's answer is not HTTP: "), "{text}");
}

#[test]
fn an_endless_header_fails() {
    let (record, _) = against(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        for _ in 0..5000 {
            if stream
                .write_all(b"x-filler: 0123456789012345678901234567890123456789\r\n")
                .is_err()
            {
                break;
            }
        }
        After::Close
    });
    assert!(!record.succeeded());
}

/// Cuts the stream after every byte of its first two events; each cut is a broken stream.
#[test]
fn a_stream_cut_anywhere_is_broken() {
    let events = [token("a"), token("b")].concat();
    let length = events.len();
    let server = ScriptServer::start(move |request, stream| {
        let cut: usize = std::str::from_utf8(&request.body).unwrap().parse().unwrap();
        begin_stream(stream);
        if cut > 0 {
            chunk(stream, &events[..cut]);
        }
        After::Close
    });
    let cuts: Vec<String> = (0..=length).map(|cut| cut.to_string()).collect();
    let samples = run(server.url(), &mut Listed::new(&cuts, 4));
    assert_eq!(samples.records.len(), cuts.len());
    for record in &samples.records {
        let (class, text) = failure(record);
        assert_eq!(class, FailureClass::StreamBroken, "{}: {text}", record.id);
        assert_eq!(record.output_tokens(), 0);
    }
}

#[test]
fn each_limit_ends_a_request_with_its_own_message() {
    let short = Duration::from_millis(120);
    let silent = |_: &Seen, _: &mut std::net::TcpStream| {
        std::thread::park_timeout(Duration::from_secs(5));
        After::Close
    };
    let server = ScriptServer::start(silent);
    let mut limits = timeouts();
    limits.first_token = short;
    let want = (
        FailureClass::Timeout,
        "Request timed out: no token within 0.12 s (--first-token-timeout-s)".to_owned(),
    );
    assert_eq!(failure(&run_one(server.url(), limits)), want);

    let server = ScriptServer::start(|_, stream| {
        begin_stream(stream);
        chunk(stream, &token("a"));
        std::thread::park_timeout(Duration::from_secs(5));
        After::Close
    });
    let mut limits = timeouts();
    limits.stall = short;
    let want = (
        FailureClass::Timeout,
        "Request timed out: no token, finish reason or usage for 0.12 s (--stall-timeout-s)".to_owned(),
    );
    assert_eq!(failure(&run_one(server.url(), limits)), want);

    // Nobody accepts: the kernel completes the connection, and the TLS handshake waits.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut limits = timeouts();
    limits.connect = short;
    let want = (
        FailureClass::Timeout,
        "Request timed out: no connection within 0.12 s (--connect-timeout-s)".to_owned(),
    );
    let url = format!("https://{}", listener.local_addr().unwrap());
    assert_eq!(failure(&run_one(&url, limits)), want);

    // A stream that never pauses is ended too.
    let server = ScriptServer::start(|_, stream| {
        begin_stream(stream);
        while stream.write_all(b"6\r\n: hi\n\n\r\n").is_ok() {}
        After::Close
    });
    let limits = Timeouts {
        total: short,
        ..timeouts()
    };
    let want = (
        FailureClass::Timeout,
        "Request timed out: not finished within 0.12 s (--request-timeout-s)".to_owned(),
    );
    assert_eq!(failure(&run_one(server.url(), limits)), want);
}

#[test]
fn a_connection_that_died_between_requests_is_replaced_before_the_clock() {
    let (closed, has_closed) = mpsc::channel();
    let closed = Mutex::new(closed);
    let server = ScriptServer::start(move |_, stream| {
        good_answer(stream, 2);
        // The answer allows keep-alive, but the connection is closed.
        let _ = stream.shutdown(Shutdown::Both);
        closed.lock().unwrap().send(()).unwrap();
        After::Close
    });
    let mut runner = runner(server.url(), timeouts());
    for number in 0..5 {
        let samples = runner.run(&mut Listed::new(&[number.to_string()], 1), Phase::Measured);
        assert!(samples.records[0].succeeded(), "{:?}", samples.records);
        has_closed.recv().unwrap();
    }
    assert_eq!(server.seen().len(), 5, "nothing is sent twice");
}

#[test]
fn connections_are_opened_in_advance_and_reused() {
    let server = ScriptServer::start(|_, stream| {
        good_answer(stream, 3);
        After::Keep
    });
    let bodies: Vec<String> = (0..12).map(|number| format!("{{\"n\":{number}}}")).collect();
    let samples = run(server.url(), &mut Listed::new(&bodies, 3));
    assert_eq!((server.connections(), samples.connections_opened), (3, 0));
    let seen = server.seen();
    assert_eq!(seen.len(), 12);
    let mut sent: Vec<String> = seen
        .iter()
        .map(|seen| String::from_utf8(seen.body.clone()).unwrap())
        .collect();
    sent.sort();
    let mut wanted = bodies;
    wanted.sort();
    assert_eq!(sent, wanted, "bodies arrive byte for byte");
    for request in &seen {
        assert!(
            request.head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
            "{}",
            request.head
        );
        assert_eq!(
            header(&request.head, "authorization").as_deref(),
            Some("Bearer sk-test")
        );
        assert_eq!(
            header(&request.head, "content-type").as_deref(),
            Some("application/json")
        );
    }
    for record in &samples.records {
        assert!(record.succeeded() && record.bytes_sent > 0 && record.bytes_received > 0);
        assert_eq!(
            (
                record.input_tokens(),
                record.output_tokens(),
                record.answer.token_events
            ),
            (7, 3, 3)
        );
        assert_eq!(record.reads_without_stamp, 0, "Linux stamps loopback");
        let stamps = [
            Some(record.dispatched),
            record.first_write,
            record.sent,
            Some(record.finished),
        ];
        assert!(stamps.iter().all(Option::is_some) && stamps.is_sorted(), "{stamps:?}");
    }
}

#[test]
fn a_large_body_arrives_complete() {
    let server = ScriptServer::start(|_, stream| {
        good_answer(stream, 1);
        After::Keep
    });
    let body = "0123456789abcdef".repeat(40_000);
    let samples = run(server.url(), &mut Listed::new(std::slice::from_ref(&body), 1));
    assert!(samples.records[0].succeeded());
    assert_eq!(server.seen()[0].body, body.as_bytes());
    assert!(samples.records[0].bytes_sent > body.len() as u64);
}

#[test]
fn a_connection_held_open_after_the_end_adds_no_latency() {
    let server = ScriptServer::start(|_, stream| {
        begin_stream(stream);
        chunk(stream, &token("a"));
        chunk(stream, &usage(1, 1));
        chunk(stream, b"data: [DONE]\n\n");
        std::thread::park_timeout(Duration::from_millis(400));
        end_stream(stream);
        After::Close
    });
    let record = run_one(server.url(), timeouts());
    assert!(record.succeeded());
    assert_eq!(
        Some(record.finished),
        record.answer.done,
        "the end is [DONE], not the connection"
    );
}
