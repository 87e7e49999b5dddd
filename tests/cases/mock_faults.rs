//! The misbehaviour that `mock engine` can be asked for, and clients that misbehave towards it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::json;

use crate::support::mock::{CHAT, Mock, body_of, chat, events, field, post};

/// What a fault makes of a stream of four tokens.
fn faulty(list: &str) -> String {
    let mock = Mock::start(&["--ttft-ms", "0", "--itl-ms", "0"]);
    mock.ask(CHAT, &chat("hi", 4), &format!("x-mock-fault: {list}\r\n"))
}

#[test]
fn faults_change_what_they_say_and_nothing_else() {
    let well = body_of(&faulty("")).unwrap();
    let joined = |name: &str, body: &str| -> String { events(body).iter().map(|event| field(event, name)).collect() };
    let bytewise = body_of(&faulty("split=1")).unwrap();
    assert_eq!(joined("content", &bytewise), " word word word word");
    assert_eq!(body_of(&faulty("crlf")).unwrap().matches("\r\n\r\n").count(), 7);
    assert_eq!(body_of(&faulty("cr")).unwrap().matches("\r\r").count(), 7);
    assert_eq!(body_of(&faulty("comments")).unwrap().matches(": ping\n\n").count(), 7);
    assert!(
        body_of(&faulty("event-lines"))
            .unwrap()
            .starts_with("event: message\nid: 4\ndata: {")
    );
    assert!(!body_of(&faulty("no-done")).unwrap().contains("[DONE]"));
    assert!(
        events(&body_of(&faulty("no-usage")).unwrap())
            .iter()
            .all(|event| event.get("usage").is_none())
    );
    assert!(
        events(&body_of(&faulty("usage-every")).unwrap())
            .iter()
            .all(|event| event["usage"].is_object())
    );
    let last = events(&body_of(&faulty("usage-in-last")).unwrap()).pop().unwrap();
    assert_eq!(
        (
            &last["usage"]["completion_tokens"],
            &last["choices"][0]["finish_reason"]
        ),
        (&json!(4), &json!("length"))
    );
    assert_eq!(
        events(&body_of(&faulty("no-role")).unwrap()).len(),
        events(&well).len() - 1
    );
    for (list, name) in [("reasoning", "reasoning"), ("reasoning-content", "reasoning_content")] {
        let body = body_of(&faulty(list)).unwrap();
        assert_eq!(
            (joined(name, &body), joined("content", &body)),
            (" word word".into(), " word word".into())
        );
    }
    assert_eq!(joined("content", &body_of(&faulty("empty-content")).unwrap()), "");
    assert!(joined("content", &body_of(&faulty("utf8")).unwrap()).ends_with('\u{1f600}'));
    assert!(!faulty("until-close").contains("chunked"));
    let error = body_of(&faulty("error-event=2")).unwrap();
    assert!(
        error.contains("the engine died") && error.matches(" word").count() == 1,
        "{error}"
    );
    assert!(body_of(&faulty("malformed=4")).unwrap().contains("\"delta\":\n\n"));
    let refused = faulty("status=429,retry-after=2");
    assert!(
        refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: 2\r\n"),
        "{refused}"
    );
    assert!(faulty("status=500,empty-body").ends_with("\r\n\r\n"));
    assert!(faulty("slow-headers=1").starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(
        events(&body_of(&faulty("usage-late=1,end-late=1,role-early")).unwrap()).len(),
        events(&well).len()
    );
}

#[test]
fn a_reply_breaks_after_exactly_so_many_bytes() {
    let mock = Mock::start(&["--ttft-ms", "0", "--itl-ms", "0"]);
    let whole = mock.ask(CHAT, &chat("hi", 2), "");
    // The ids differ by request, the lengths do not: all have one digit.
    for bytes in [0, 1, 150, whole.len() - 3] {
        let cut = mock.ask(CHAT, &chat("hi", 2), &format!("x-mock-fault: cut={bytes}\r\n"));
        assert_eq!(cut.len(), bytes);
        assert!(bytes < 150 || body_of(&cut).is_none());
    }
    let mut stream = TcpStream::connect(&mock.address).unwrap();
    stream
        .write_all(&post(CHAT, &chat("hi [[mock:reset]]", 2), ""))
        .unwrap();
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    // A stalled stream gives its bytes and then nothing until the client goes away.
    let mut stream = TcpStream::connect(&mock.address).unwrap();
    stream
        .write_all(&post(CHAT, &chat("hi", 2), "x-mock-fault: stall=200\r\n"))
        .unwrap();
    let mut part = [0; 200];
    stream.read_exact(&mut part).unwrap();
    stream.set_nonblocking(true).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    stream.shutdown(Shutdown::Write).unwrap();
    stream.set_nonblocking(false).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    let (_, log) = mock.end("-TERM");
    let outcomes: Vec<&str> = log.iter().map(|record| record["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["complete", "cut", "cut", "cut", "cut", "reset", "stalled"]);
    assert_eq!(log[3]["fault"], "cut=150");
}

#[test]
fn every_nth_request_is_hit() {
    let mock = Mock::start(&["--ttft-ms", "0", "--fault", "status=503", "--fault-every", "3"]);
    let statuses: Vec<bool> = (0..6)
        .map(|_| mock.ask(CHAT, &chat("hi", 1), "").starts_with("HTTP/1.1 503 "))
        .collect();
    assert_eq!(statuses, [false, false, true, false, false, true]);
}

#[test]
fn a_client_that_goes_away_is_in_the_log_and_disturbs_nobody() {
    let mock = Mock::start(&["--ttft-ms", "0", "--itl-ms", "3600000"]);
    let mut stream = TcpStream::connect(&mock.address).unwrap();
    stream.write_all(&post(CHAT, &chat("hi", 5), "")).unwrap();
    let mut reply = [0; 1024];
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(" word") {
        let count = stream.read(&mut reply).unwrap();
        seen.extend_from_slice(&reply[..count]);
    }
    drop(stream);
    assert!(mock.ask(CHAT, &chat("hi", 1), "").contains("[DONE]"));
    let (code, log) = mock.end("-TERM");
    assert_eq!(code, Some(0));
    // The kernel may tell of the second client first.
    let left = log.iter().find(|record| record["connection"] == 1).unwrap();
    assert_eq!(
        (&left["outcome"], &left["events"]),
        (&json!("client-closed"), &json!(1))
    );
}

#[test]
fn a_slow_reader_gets_everything_and_does_not_hold_up_others() {
    let mock = Mock::start(&["--ttft-ms", "0", "--flat-out"]);
    let mut slow = TcpStream::connect(&mock.address).unwrap();
    // Far more than socket buffers hold.
    slow.write_all(&post(CHAT, &chat("hi", 100_000), "")).unwrap();
    assert!(mock.ask(CHAT, &chat("hi", 10), "").contains("[DONE]"));
    let mut reply = String::new();
    slow.read_to_string(&mut reply).unwrap();
    assert_eq!(reply.matches(" word").count(), 100_000);
    let (_, log) = mock.end("-TERM");
    assert_eq!(log[0]["completion_tokens"], 10, "the slow one was done last");
}
