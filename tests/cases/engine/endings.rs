//! How answers end, as described in public bug reports. No test depends on the speed of the machine.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use lmcache_bench::engine::failure::FailureClass;

use super::streamed::{DONE, END, ROLE, STOP, finish, sent, token, usage, why};
use super::{run_one, timeouts};
use crate::support::script::{After, ScriptServer, begin_stream, chunk};

#[test]
fn an_answer_that_ended_well_succeeds() {
    let text = token("a") + &token("b");
    let usage = usage("2");
    let (native, object) = (finish("\"eos_token\""), finish("{\"type\":\"length\",\"length\":2}"));
    for end in [
        STOP,
        &usage,
        DONE,
        "data: [DONE]",
        &native,
        &object,
        &(STOP.to_owned() + DONE),
    ] {
        let record = sent(&(text.clone() + end));
        assert!(record.succeeded(), "{end}: {:?}", record.why_failed());
        assert_eq!(record.output_tokens(), 2);
    }
}

#[test]
fn an_answer_that_did_not_end_well_is_a_failure_with_its_cause() {
    let text = token("a");
    let counted = text.replace("]}\n", "],\"usage\":{\"completion_tokens\":1}}\n");
    let nothing = "ended without a finish reason, a usage or [DONE]";
    let end = usage("3") + DONE;
    let (empty, abort, cancelled) = (finish("\"\""), finish("\"abort\""), finish("\"cancelled\""));
    let (lost, error) = (finish("{\"error\":\"worker lost\"}"), finish("\"error\""));
    for (rest, cause) in [
        (text.clone(), nothing),
        (counted, nothing),
        (format!("{empty}{text}"), nothing),
        (format!("{abort}{end}"), "its finish reason is abort"),
        (format!("{cancelled}{end}"), "its finish reason is cancelled"),
        (format!("{lost}{end}"), "its finish reason is error"),
        (format!("{STOP}{error}{end}"), "its finish reason is error"),
        (
            format!("event: error\n: Stream ended early\n\n{DONE}"),
            "Stream ended early",
        ),
        (
            format!("event: error\ndata: {{\"message\":\"lost\"}}\n\n{STOP}{end}"),
            "lost",
        ),
        (format!("{STOP}event: error\ndata: worker died"), "worker died"),
        (format!("event: error\n\n{end}"), "an error event without a text"),
        (format!("data: {{\"error\":\"kv full\"}}\n\n{end}"), "kv full"),
        (format!("data: {{\"error\":503}}\n\n{end}"), "503"),
        (format!("data: {{\"error\":{{\"message\":\"boom\"}}}}\n\n{end}"), "boom"),
        (
            format!("data: {{\"object\":\"error\",\"message\":\"full\",\"code\":400}}\n\n{end}"),
            "full",
        ),
        (format!("data: {{\"detail\":[{{\"msg\":\"no\"}}]}}\n\n{end}"), "no"),
    ] {
        let record = sent(&(token("a") + &rest));
        let (class, text) = why(&record);
        assert_eq!(class, FailureClass::StreamBroken, "{rest}: {text}");
        assert!(text.contains(cause), "{rest}: {text}");
        assert_eq!(
            (record.ttft_s(), record.output_tokens()),
            (-1.0, 0),
            "in no latency and no sum"
        );
    }
    assert_eq!(why(&sent(DONE)).1, "the answer ended without a token");
}

#[test]
fn json_that_python_accepts_is_accepted() {
    let surrogate = token("\\ud83d");
    let not_finite = token("a").replace("\"id\":\"c\"", "\"id\":\"c\",\"logprob\":-Infinity,\"x\":NaN");
    let record = sent(&[surrogate.as_str(), surrogate.as_str(), not_finite.as_str(), STOP, DONE].concat());
    assert!(record.succeeded(), "{:?}", record.why_failed());
    assert_eq!(
        (record.answer.token_events, record.answer.finish_reason.as_deref()),
        (3, Some("stop"))
    );
}

/// Starts an event stream with this content encoding.
fn begin_encoded(stream: &mut TcpStream, encoding: &str) {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: {encoding}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let _ = stream.write_all(head.as_bytes());
}

/// Compresses `text` and flushes, so that all of it can be decompressed.
fn flushed(encoder: &mut GzEncoder<Vec<u8>>, text: &str) -> Vec<u8> {
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.flush().unwrap();
    std::mem::take(encoder.get_mut())
}

#[test]
fn a_compressed_stream_is_decompressed_as_it_arrives() {
    let events: Vec<String> = (0..8)
        .map(|_| token("a"))
        .chain([STOP, &usage("8"), DONE].map(str::to_owned))
        .collect();
    let server = ScriptServer::start(move |request, stream| {
        assert!(
            request.head.to_ascii_lowercase().contains("accept-encoding: identity"),
            "{}",
            request.head
        );
        begin_encoded(stream, "gzip");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        events
            .iter()
            .for_each(|event| chunk(stream, &flushed(&mut encoder, event)));
        chunk(stream, &encoder.finish().unwrap());
        let _ = stream.write_all(END);
        After::Keep
    });
    let record = run_one(server.url(), timeouts());
    assert!(record.succeeded(), "{:?}", record.why_failed());
    assert_eq!((record.answer.token_events, record.output_tokens()), (8, 8));

    // The first token is seen before anything follows it: otherwise the first-token limit would end the request.
    let server = ScriptServer::start(|_, stream| {
        begin_encoded(stream, "x-gzip");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        chunk(stream, &flushed(&mut encoder, &token("a")));
        std::thread::park_timeout(Duration::from_secs(5));
        After::Close
    });
    let mut limits = timeouts();
    limits.stall = Duration::from_millis(150);
    assert!(why(&run_one(server.url(), limits)).1.contains("--stall-timeout-s"));
}

#[test]
fn an_unsupported_encoding_is_named() {
    for (encoding, words) in [("br", "(Content-Encoding: br)"), ("gzip", "its bytes are not")] {
        let server = ScriptServer::start(move |_, stream| {
            begin_encoded(stream, encoding);
            chunk(stream, token("a").as_bytes());
            let _ = stream.write_all(END);
            After::Keep
        });
        let (class, text) = why(&run_one(server.url(), timeouts()));
        assert_eq!(class, FailureClass::Protocol);
        assert!(text.contains(words), "{text}");
    }
}

/// A body without a newline is not an event; the message quotes it.
#[test]
fn a_body_without_events_is_quoted() {
    let record = sent("upstream connect error");
    assert_eq!(
        why(&record),
        (
            FailureClass::Protocol,
            "the engine's answer holds no event: upstream connect error".to_owned()
        )
    );
    let (class, text) = why(&sent("data: Internal Server Error\n\n"));
    assert_eq!(class, FailureClass::Protocol);
    assert!(text.ends_with(": Internal Server Error"), "{text}");
}

/// Sends `again` until the client disconnects.
fn forever(stream: &mut TcpStream, again: &str) -> After {
    let framed = format!("{:x}\r\n{again}\r\n", again.len());
    while stream.write_all(framed.as_bytes()).is_ok() {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    After::Close
}

#[test]
fn only_progress_resets_the_stall_limit() {
    let repeated_usage = usage("1");
    let started = token("a");
    for again in [
        ": ping\n\n",
        ROLE,
        STOP,
        &repeated_usage,
        "data: {}\n\n",
        "event: ping\n\n",
    ] {
        let (again, before) = (again.to_owned(), started.clone());
        let server = ScriptServer::start(move |_, stream| {
            begin_stream(stream);
            chunk(stream, before.as_bytes());
            forever(stream, &again)
        });
        let mut limits = timeouts();
        limits.stall = Duration::from_millis(150);
        let (class, text) = why(&run_one(server.url(), limits));
        assert_eq!(class, FailureClass::Timeout, "{text}");
        assert!(
            text.contains("no token, finish reason or usage for 0.15 s (--stall-timeout-s)"),
            "{text}"
        );
    }
}

#[test]
fn pings_before_the_first_token_do_not_extend_the_request_limit() {
    let server = ScriptServer::start(|_, stream| {
        begin_stream(stream);
        forever(stream, ": ping\n\n")
    });
    let mut limits = timeouts();
    limits.total = Duration::from_millis(150);
    limits.stall = Duration::from_millis(10);
    let (class, text) = why(&run_one(server.url(), limits));
    assert_eq!(class, FailureClass::Timeout);
    assert!(
        text.contains("not finished within 0.15 s (--request-timeout-s)"),
        "{text}"
    );
}
