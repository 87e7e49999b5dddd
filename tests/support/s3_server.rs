//! A small S3 server that keeps objects, notes every request, and misbehaves on request. Nothing here asserts.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// One request as it came; the body is left out.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Lower-case names.
    pub headers: HashMap<String, String>,
}

/// Sees a request and how many of its method came before; the raw answer to give instead, after which the connection ends
/// when the answer says so.
pub type Script = dyn Fn(&Request, usize) -> Option<String> + Send + Sync;

struct State {
    objects: Mutex<HashMap<String, Vec<u8>>>,
    parts: Mutex<Vec<(String, Vec<u8>)>>,
    seen: Mutex<Vec<Request>>,
    script: Box<Script>,
    stop: AtomicBool,
}

pub struct S3Server {
    pub port: u16,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

impl S3Server {
    pub fn obedient() -> S3Server {
        S3Server::scripted(|_, _| None)
    }

    pub fn scripted(script: impl Fn(&Request, usize) -> Option<String> + Send + Sync + 'static) -> S3Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            objects: Mutex::default(),
            parts: Mutex::default(),
            seen: Mutex::default(),
            script: Box::new(script),
            stop: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let acceptor = thread::spawn(move || {
            for link in listener.incoming() {
                if shared.stop.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(&shared, link.unwrap()));
            }
        });
        S3Server {
            port,
            state,
            acceptor: Some(acceptor),
        }
    }

    /// `path` is empty, or `/bucket` for path style.
    pub fn spec(&self, path: &str) -> String {
        format!(
            r#"{{"type":"s3","s3_endpoint":"127.0.0.1:{}{path}","s3_region":"eu-test-1","disable_tls":true,"s3_num_io_threads":2,"aws_access_key_id":"AKIDVISIBLE","aws_secret_access_key":"TOPSECRET"}}"#,
            self.port
        )
    }

    pub fn seen(&self, method: &str) -> Vec<Request> {
        let seen = self.state.seen.lock().unwrap();
        seen.iter()
            .filter(|request| request.method == method)
            .cloned()
            .collect()
    }

    pub fn object(&self, path: &str) -> Option<Vec<u8>> {
        self.state.objects.lock().unwrap().get(path).cloned()
    }

    pub fn put(&self, path: &str, bytes: Vec<u8>) {
        self.state.objects.lock().unwrap().insert(path.to_owned(), bytes);
    }

    pub fn forget(&self, path: &str) {
        self.state.objects.lock().unwrap().remove(path);
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.acceptor.take().unwrap().join().unwrap();
    }
}

fn request(link: &mut BufReader<TcpStream>) -> Option<(Request, Vec<u8>)> {
    let mut line = String::new();
    link.read_line(&mut line).ok().filter(|got| *got > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        link.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let len = headers.get("content-length").map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    link.read_exact(&mut body).ok()?;
    let request = Request {
        method,
        target,
        headers,
    };
    Some((request, body))
}

fn serve(state: &State, link: TcpStream) {
    let mut out = link.try_clone().unwrap();
    let mut link = BufReader::new(link);
    while let Some((request, body)) = request(&mut link) {
        let before = {
            let mut seen = state.seen.lock().unwrap();
            let before = seen.iter().filter(|other| other.method == request.method).count();
            seen.push(request.clone());
            before
        };
        let instead = (state.script)(&request, before);
        let answer = match &instead {
            Some(answer) => answer.clone().into_bytes(),
            None => execute(state, &request, body),
        };
        let closes = instead.is_some_and(|answer| answer.to_ascii_lowercase().contains("connection: close"));
        if out.write_all(&answer).is_err() || closes {
            return;
        }
    }
}

fn execute(state: &State, request: &Request, body: Vec<u8>) -> Vec<u8> {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let plain = |status: &str, more: &str, text: &str| {
        format!(
            "HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\n\r\n{text}",
            text.len()
        )
        .into_bytes()
    };
    let mut objects = state.objects.lock().unwrap();
    match request.method.as_str() {
        "PUT" if !query.is_empty() => {
            let mut parts = state.parts.lock().unwrap();
            parts.push((query.to_owned(), body));
            plain("200 OK", &format!("ETag: \"e{}\"\r\n", parts.len()), "")
        }
        "PUT" => {
            objects.insert(path.to_owned(), body);
            plain("200 OK", "", "")
        }
        "POST" if query == "uploads=" => plain("200 OK", "", "<R><UploadId>up/1</UploadId></R>"),
        "POST" => {
            let mut parts = state.parts.lock().unwrap();
            let whole = parts.drain(..).flat_map(|(_, bytes)| bytes).collect();
            objects.insert(path.to_owned(), whole);
            plain("200 OK", "", "<CompleteMultipartUploadResult/>")
        }
        "DELETE" => {
            state.parts.lock().unwrap().clear();
            plain("204 No Content", "", "")
        }
        method => match objects.get(path) {
            None if method == "HEAD" => plain("404 Not Found", "", ""),
            None => plain("404 Not Found", "", "<Error><Code>NoSuchKey</Code></Error>"),
            Some(bytes) if method == "HEAD" => {
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len()).into_bytes()
            }
            Some(bytes) => {
                let range = request.headers["range"].strip_prefix("bytes=").unwrap();
                let (first, last) = range.split_once('-').unwrap();
                let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                let part = &bytes[first..bytes.len().min(last + 1)];
                let range = format!("bytes {first}-{}/{}", first + part.len() - 1, bytes.len());
                let head = format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: {range}\r\nContent-Length: {}\r\n\r\n",
                    part.len()
                );
                [head.as_bytes(), part].concat()
            }
        },
    }
}
