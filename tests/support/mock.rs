//! A mock engine as a process, and helpers to talk to it over raw TCP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{Dir, bench};

/// A mock engine with a log, ended on drop.
pub struct Mock {
    child: Child,
    pub address: String,
    pub dir: Dir,
}

impl Mock {
    pub fn start(flags: &[&str]) -> Mock {
        let dir = Dir::new();
        let mut child = bench()
            .args(["mock", "engine", "--log-events", "--log"])
            .arg(dir.join("log.jsonl"))
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.strip_prefix("listening on http://").unwrap().trim_end().to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{line}");
        Mock { child, address, dir }
    }

    /// Sends bytes and returns everything up to the end of the stream.
    pub fn exchange(&self, request: &[u8]) -> Vec<u8> {
        exchange(&self.address, request)
    }

    pub fn ask(&self, path: &str, body: &Value, headers: &str) -> String {
        String::from_utf8(self.exchange(&post(path, body, headers))).unwrap()
    }

    /// Ends it with a signal and returns its exit code and its log.
    pub fn end(mut self, signal: &str) -> (Option<i32>, Vec<Value>) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let code = self.child.wait().unwrap().code();
        let text = std::fs::read_to_string(self.dir.join("log.jsonl")).unwrap();
        (
            code,
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        )
    }
}

/// Sends bytes to an address and returns everything up to the end of the stream.
pub fn exchange(address: &str, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    reply
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn post(path: &str, body: &Value, headers: &str) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
        .into()
}

pub const CHAT: &str = "/v1/chat/completions";

/// The requests for answers in a mock's log, in the order of their ends.
pub fn served(log: &[Value]) -> impl Iterator<Item = &Value> {
    log.iter()
        .filter(|line| line["path"] == CHAT || line["path"] == "/v1/completions")
}

pub fn chat(content: &str, tokens: u64) -> Value {
    json!({
        "model": "mock-model", "stream": true, "messages": [{"role": "user", "content": content}],
        "max_tokens": tokens, "stream_options": {"include_usage": true}, "temperature": 0.0,
    })
}

/// The decoded body of a reply; `None` if the last chunk is missing.
pub fn body_of(reply: &str) -> Option<String> {
    let (head, mut rest) = reply.split_once("\r\n\r\n").unwrap();
    if !head.contains("transfer-encoding: chunked") {
        return Some(rest.to_owned());
    }
    let mut body = String::new();
    loop {
        let (length, after) = rest.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.push_str(after.get(..length)?);
        rest = after.get(length + 2..)?;
    }
}

/// The JSON of each event before `[DONE]`.
pub fn events(body: &str) -> Vec<Value> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.take_while(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

pub fn field(event: &Value, name: &str) -> String {
    event["choices"][0]["delta"][name]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
