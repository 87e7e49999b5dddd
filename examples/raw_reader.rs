//! The least a client can be: threads with plain blocking sockets that look for a token's bytes and know no JSON, no chunks and
//! no kernel stamps. What it says about a mock engine shows what the machine itself adds; scripts/measure/engine-truth and
//! scripts/measure/engine-floor run it. Prints one line per request: its id, TTFT, and the time from first to last token, in ms.
//!
//! Usage: raw_reader HOST:PORT STREAMS REQUESTS TOKENS BODY_BYTES

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread::Builder;
use std::time::{Duration, Instant};

const TOKEN: &[u8] = br#"{"content":" "#;
const DONE: &[u8] = b"data: [DONE]\n\n\r\n0\r\n\r\n";
/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse::<usize>().unwrap();
    let (address, streams, requests) = (arguments[0].clone(), number(1), number(2));
    let (tokens, body_bytes) = (number(3), number(4));
    let next = Arc::new(AtomicUsize::new(0));
    // Nobody sends before all are connected.
    let connected = Arc::new(Barrier::new(streams));
    let threads: Vec<_> = (0..streams)
        .map(|_| {
            let stream = TcpStream::connect(&address).unwrap();
            let (next, connected) = (Arc::clone(&next), Arc::clone(&connected));
            let thread = move || {
                connected.wait();
                let mut report = String::new();
                loop {
                    let request = next.fetch_add(1, Relaxed);
                    if request >= requests {
                        return report;
                    }
                    let (ttft, span) = exchange(&stream, request, tokens, body_bytes);
                    writeln!(report, "floor-{request} {:.6} {:.6}", ms(ttft), ms(span)).unwrap();
                }
            };
            Builder::new().stack_size(64 << 10).spawn(thread).unwrap()
        })
        .collect();
    for thread in threads {
        print!("{}", thread.join().unwrap());
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// One request on an open connection: its TTFT, and the time from the first token to the last.
fn exchange(mut stream: &TcpStream, request: usize, tokens: usize, body_bytes: usize) -> (Duration, Duration) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let bytes = bytes_of(request, tokens, body_bytes);
    let begin = Instant::now();
    stream.write_all(&bytes).unwrap();
    let (mut first, mut last) = (None, begin);
    let mut buffer = [0; 16 << 10];
    let mut kept = 0;
    loop {
        let count = stream.read(&mut buffer[kept..]).unwrap();
        let now = Instant::now();
        assert!(count > 0, "the mock closed the connection");
        let filled = kept + count;
        if has_token(&buffer[..filled]) {
            first.get_or_insert(now);
            last = now;
        }
        if buffer[..filled].ends_with(DONE) {
            let first = first.expect("an answer has a token");
            return (first - begin, last - first);
        }
        // What could be the beginning of either stays for the next look; events end with more than this after their text.
        kept = filled.min(DONE.len().max(TOKEN.len()) - 1);
        buffer.copy_within(filled - kept..filled, 0);
    }
}

/// Whether `TOKEN` is among `bytes`.
fn has_token(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == TOKEN[0]) {
        if rest[at..].starts_with(TOKEN) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

fn bytes_of(request: usize, tokens: usize, body_bytes: usize) -> Vec<u8> {
    let body = |prompt: &str| {
        format!(
            "{{\"model\":\"mock-model\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}],\
             \"max_tokens\":{tokens}}}"
        )
    };
    let words = body_bytes.saturating_sub(body("").len()) / 3;
    let body = body(&"hi ".repeat(words.max(1)));
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: mock\r\nx-request-id: floor-{request}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
