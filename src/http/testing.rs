//! A server for unit tests that answers every request with the same bytes.

use std::io::{Read, Write};
use std::net::TcpListener;

use crossbeam_channel::{Receiver, unbounded};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Starts a server with this answer; returns its address and the heads of the requests that it gets.
pub fn server(answer: impl Into<Vec<u8>>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (ask, asked) = unbounded();
    let answer = answer.into();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                request.push(byte[0]);
            }
            let _ = ask.send(String::from_utf8(request).unwrap());
            let _ = stream.write_all(&answer);
        }
    });
    (url, asked)
}

/// A complete response; `headers` are lines, each with its line end.
pub fn with_body(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

pub fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}
