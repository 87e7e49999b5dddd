//! Peers that never stop sending. Every limit here is an hour, so a run that ends shows that a bound or a signal ended it
//! while bytes were flowing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::support::{Dir, bench, stderr, stdout};

const HOUR: &str = "3600";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
/// Bytes that a peer has sent when it certainly keeps sending.
const FLOWING_BYTES: usize = 4 << 20;

struct Flood {
    port: u16,
    /// One for each connection on which bytes flow.
    flowing: Receiver<()>,
}

/// A server that answers the requests `is_flooded` picks with `head` and then `block` until its client has gone, and all others
/// with "not found". A client that says nothing first is flooded too.
fn flood(head: impl Into<Vec<u8>>, block: impl Into<Vec<u8>>, is_flooded: fn(&[u8]) -> bool) -> Flood {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (flows, flowing) = channel();
    let (head, block): (Vec<u8>, Arc<[u8]>) = (head.into(), block.into().into());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (head, block, flows) = (head.clone(), Arc::clone(&block), flows.clone());
            thread::spawn(move || serve(stream, &head, &block, is_flooded, &flows));
        }
    });
    Flood { port, flowing }
}

fn serve(mut stream: TcpStream, head: &[u8], block: &[u8], is_flooded: fn(&[u8]) -> bool, flows: &Sender<()>) {
    let speaks_first = head.first() == Some(&0xff);
    let mut asked = Vec::new();
    let mut piece = [0; 4096];
    while !speaks_first && asked.is_empty() {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(read) => asked.extend_from_slice(&piece[..read]),
        }
    }
    if !is_flooded(&asked) {
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    // What the client says on is of no interest, but it must be able to say it.
    let mut reader = stream.try_clone().unwrap();
    thread::spawn(move || while reader.read(&mut piece).is_ok_and(|read| read > 0) {});
    if stream.write_all(head).is_err() {
        return;
    }
    let mut sent = 0;
    while !block.is_empty() && stream.write_all(block).is_ok() {
        sent += block.len();
        if (FLOWING_BYTES..FLOWING_BYTES + block.len()).contains(&sent) {
            let _ = flows.send(());
        }
    }
}

fn is_post(asked: &[u8]) -> bool {
    asked.starts_with(b"POST")
}

fn always(_: &[u8]) -> bool {
    true
}

fn engine(url: &str, more: &[&str]) -> Command {
    let mut command = bench();
    command.args(["engine", "--engine-url", url, "--workload", "random-prefill"]);
    command.args([
        "--tokens-per-gb-kvcache=100",
        "--rp-num-requests=1",
        "--rp-request-length=20",
    ]);
    command.args(["--no-interactive", "--no-csv", "--no-certificate", "--no-warmup"]);
    command.args([
        "--request-timeout-s",
        HOUR,
        "--first-token-timeout-s",
        HOUR,
        "--stall-timeout-s",
        HOUR,
    ]);
    command.args(more);
    command
}

fn l2(spec: &str, kib: &str) -> Command {
    let mut command = bench();
    command.args([
        "l2",
        "--only",
        "load",
        "--num-keys=1",
        "--in-flight=1",
        "--rounds=1",
        "--warmup-rounds=0",
    ]);
    command.args(["--data-size-kb", kib, "--round-timeout-s", HOUR, "--l2-adapter", spec]);
    command
}

fn started(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// One SIGINT once bytes flow.
fn interrupted(flood: &Flood, command: &mut Command) -> Output {
    let child = started(command);
    flood.flowing.recv().unwrap();
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn assert_interrupted(output: &Output) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(130), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("lmcache-bench: stopped by SIGINT; "),
        "not by itself: {said}"
    );
}

#[test]
fn the_frame_of_an_answer_has_an_end() {
    let trailer = format!("{CHUNKED}3\r\n: x\r\n0\r\n");
    let ok = "HTTP/1.1 200 OK\r\n";
    for (head, block) in [
        (String::new(), "HTTP/1.1 100 Continue\r\n\r\n".to_owned()),
        (String::new(), "\r\n".to_owned()),
        (ok.to_owned(), "X-A: b\r\n".to_owned()),
        (format!("{ok}X-A: "), "a".to_owned()),
        (trailer.clone(), "X: y\r\n".to_owned()),
        (trailer, "x".to_owned()),
        (CHUNKED.to_owned(), "0".to_owned()),
        (format!("{CHUNKED}1;"), "e".to_owned()),
    ] {
        let server = flood(head.clone(), block.repeat(65_536 / block.len()), is_post);
        let output = engine(&format!("http://127.0.0.1:{}", server.port), &["--model=m"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{head}{block}: {}", stderr(&output));
        let report = stdout(&output);
        assert!(report.contains("Failed: protocol: "), "{head}{block}: {report}");
    }
    let refusal = flood(
        "HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwhy\r\n0\r\n",
        "X: y\r\n".repeat(10_000),
        is_post,
    );
    let output = engine(&format!("http://127.0.0.1:{}", refusal.port), &["--model=m"])
        .output()
        .unwrap();
    assert!(stdout(&output).contains("Failed: HTTP status: "), "{}", stdout(&output));
    assert!(stderr(&output).contains("Error code: 500 - why"), "{}", stderr(&output));
}

#[test]
fn a_signal_ends_an_answer_that_never_pauses() {
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    let chunks = "1\r\n\n\r\n".repeat(10_000);
    for (head, block) in [
        (head, event.repeat(700)),
        (head, ": ping\n\n".repeat(8000)),
        (head, "\n".repeat(65_536)),
        (CHUNKED, chunks),
    ] {
        let server = flood(head, block, is_post);
        let url = format!("http://127.0.0.1:{}", server.port);
        assert_interrupted(&interrupted(&server, &mut engine(&url, &["--model=m"])));
    }
}

#[test]
fn questions_are_bounded_and_end_with_a_signal() {
    let is_get = |asked: &[u8]| asked.starts_with(b"GET");
    for (head, block) in [
        ("HTTP/1.1 200 OK\r\n\r\n", " ".repeat(65_536)),
        ("", "HTTP/1.1 100 Continue\r\n\r\n".repeat(2000)),
        ("HTTP/1.1 200 OK\r\n", "X-A: b\r\n".repeat(8000)),
    ] {
        let server = flood(head, block, is_get);
        let output = engine(&format!("http://127.0.0.1:{}", server.port), &[])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(
            stderr(&output).starts_with("Failed to fetch models from "),
            "{}",
            stderr(&output)
        );
    }
    let trailers = flood(
        format!("{CHUNKED}2\r\n{{}}\r\n0\r\n"),
        "X: y\r\n".repeat(10_000),
        is_get,
    );
    let url = format!("http://127.0.0.1:{}", trailers.port);
    assert_interrupted(&interrupted(&trailers, &mut engine(&url, &[])));
}

#[test]
fn a_signal_ends_a_value_that_never_pauses() {
    let s3 = |port: u16| {
        format!(
            r#"{{"type":"s3","s3_endpoint":"s3://127.0.0.1:{port}/b","s3_region":"r","disable_tls":true,"s3_num_io_threads":1,"request_timeout":3600,"aws_access_key_id":"a","aws_secret_access_key":"b"}}"#
        )
    };
    for unit in ["1\r\nx\r\n".to_owned(), format!("1;{}\r\nx\r\n", "e".repeat(4000))] {
        let server = flood(CHUNKED, unit.repeat(65_536 / unit.len() + 1), always);
        assert_interrupted(&interrupted(&server, &mut l2(&s3(server.port), "262144")));
    }
    let resp = |port: u16| {
        format!(r#"{{"type":"resp","host":"127.0.0.1","port":{port},"num_workers":1,"request_timeout":3600}}"#)
    };
    let server = flood("$268435456\r\n", "x".repeat(64), always);
    assert_interrupted(&interrupted(&server, &mut l2(&resp(server.port), "262144")));
}

#[test]
fn a_signal_ends_frames_that_never_pause() {
    let mut greeting = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL".to_vec();
    greeting.resize(64, 0);
    greeting.extend_from_slice(b"\x04\x06\x05READY");
    let endless = [
        &greeting[..],
        b"\x01\x08\xee\xee\xee\xee\xee\xee\xee\xee\x01\x01\x15\x02\x7f",
        &[0xff; 7],
    ]
    .concat();
    for (head, block) in [
        (greeting, b"\x04\x07\x04PING\0\0".repeat(8000)),
        (endless, vec![b'z'; 65_536]),
    ] {
        let server = flood(head, block, always);
        let mut command = bench();
        command.args([
            "server",
            "--rpc-url",
            &format!("tcp://127.0.0.1:{}", server.port),
            "--mode=cpu",
        ]);
        command.args([
            "--num-tokens=16",
            "--start=0",
            "--end=1",
            "--kvcache-shape-spec",
            "(2,16,4,1,4):float16:2",
        ]);
        command.args(["--connect-timeout-s", HOUR, "--rpc-timeout-s", HOUR]);
        assert_interrupted(&interrupted(&server, &mut command));
    }
}

#[test]
fn what_stands_behind_a_chunk_or_beside_a_length_is_not_loaded() {
    let chunk = format!("1000\r\n{}", "x".repeat(4096));
    for answer in [
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}GARBAGE\r\n0\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4096\r\n\r\n{chunk}\r\n0\r\n\r\n"),
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 4096\r\nContent-Length: 4097\r\n\r\n{}",
            "x".repeat(4097)
        ),
        format!("HTTP/1.1 200 OK\r\nContent-Length: +4096\r\n\r\n{}", "x".repeat(4096)),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+{chunk}\r\n0\r\n\r\n"),
    ] {
        let server = flood(answer.clone(), "", always);
        let spec = format!(
            r#"{{"type":"s3","s3_endpoint":"s3://127.0.0.1:{}/b","s3_region":"r","disable_tls":true,"s3_num_io_threads":1,"aws_access_key_id":"a","aws_secret_access_key":"b"}}"#,
            server.port
        );
        let output = l2(&spec, "4").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{answer:.120}: {}", stderr(&output));
        assert!(
            stderr(&output).contains("the answer is not HTTP/1.1: "),
            "{}",
            stderr(&output)
        );
    }
}

/// Nothing looks at signals while a pipe without a reader is opened.
#[test]
fn a_signal_ends_a_report_that_nobody_reads() {
    let dir = Dir::new();
    let pipe = dir.join("report");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let spec = r#"{"type":"mock","max_size_gb":0.1,"mock_bandwidth_gb":1}"#;
    let mut command = bench();
    command
        .args(["l2", "--num-keys=1", "--rounds=1", "--l2-adapter", spec, "--output"])
        .arg(&pipe);
    let mut child = started(&mut command);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let last_round = |line: &String| line.starts_with("  [Load] Round ");
    assert!(lines.any(|line| last_round(&line.unwrap())));
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("stopped by SIGINT"), "{}", stderr(&output));
}
