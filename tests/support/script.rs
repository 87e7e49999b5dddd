//! A small HTTP server for engine tests. A function gets each request and the raw socket, so it can answer in any way: late,
//! with errors, or not at all.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

pub struct ScriptServer {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    asked: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

/// Whether the connection is kept after an answer.
pub enum After {
    Keep,
    Close,
}

impl ScriptServer {
    /// `answer` writes the response to the socket and returns whether to keep the connection. GET requests get status 404.
    pub fn start(answer: impl Fn(&Seen, &mut TcpStream) -> After + Send + Sync + 'static) -> ScriptServer {
        ScriptServer::begin(answer, true)
    }

    /// The same, but GET requests, such as those for the engine's counters, are never answered.
    pub fn start_mute(answer: impl Fn(&Seen, &mut TcpStream) -> After + Send + Sync + 'static) -> ScriptServer {
        ScriptServer::begin(answer, false)
    }

    fn begin(
        answer: impl Fn(&Seen, &mut TcpStream) -> After + Send + Sync + 'static,
        answers_get: bool,
    ) -> ScriptServer {
        super::keep_stamps();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = ScriptServer {
            address: format!("http://{}", listener.local_addr().unwrap()),
            seen: Arc::default(),
            asked: Arc::default(),
            connections: Arc::default(),
            stop: Arc::default(),
        };
        let (seen, asked, connections, stop) = (
            Arc::clone(&server.seen),
            Arc::clone(&server.asked),
            Arc::clone(&server.connections),
            Arc::clone(&server.stop),
        );
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                stream.set_nodelay(true).unwrap();
                let (seen, asked) = (Arc::clone(&seen), Arc::clone(&asked));
                let (connections, answer) = (Arc::clone(&connections), Arc::clone(&answer));
                thread::spawn(move || serve(stream, (&seen, &asked), &connections, answers_get, &*answer));
            }
        });
        server
    }

    pub fn url(&self) -> &str {
        &self.address
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The heads of GET requests.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Connections that carried benchmark requests.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for ScriptServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
    }
}

fn serve(
    stream: TcpStream,
    (seen, asked): (&Mutex<Vec<Seen>>, &Mutex<Vec<String>>),
    connections: &AtomicUsize,
    answers_get: bool,
    answer: &(impl Fn(&Seen, &mut TcpStream) -> After + ?Sized),
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    let mut counted = false;
    loop {
        let mut head = String::new();
        loop {
            let begin = head.len();
            match reader.read_line(&mut head) {
                Ok(0) | Err(_) => return,
                Ok(_) if &head[begin..] == "\r\n" => break,
                Ok(_) => {}
            }
        }
        let length = header(&head, "content-length").map_or(0, |value| value.parse().unwrap());
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        // GET requests are not part of the benchmark, so they are not counted.
        if head.starts_with("GET ") {
            asked.lock().unwrap().push(head);
            if !answers_get {
                // Until the client closes the connection.
                let _ = std::io::copy(&mut reader, &mut std::io::sink());
                return;
            }
            plain_answer(&mut stream, "404 Not Found", "text/plain", "");
            continue;
        }
        if !std::mem::replace(&mut counted, true) {
            connections.fetch_add(1, Ordering::SeqCst);
        }
        let request = Seen { head, body };
        seen.lock().unwrap().push(request.clone());
        if matches!(answer(&request, &mut stream), After::Close) {
            return;
        }
    }
}

/// The value of a header.
pub fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// Writes the header of a streamed response.
pub fn begin_stream(stream: &mut TcpStream) {
    let _ = stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n",
    );
}

/// The last chunk of a body.
const END: &[u8] = b"0\r\n\r\n";

pub fn chunk(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(&chunked(bytes));
}

fn chunked(bytes: &[u8]) -> Vec<u8> {
    let size = format!("{:x}\r\n", bytes.len());
    [size.as_bytes(), bytes, b"\r\n"].concat()
}

pub fn end_stream(stream: &mut TcpStream) {
    let _ = stream.write_all(END);
}

/// Writes `[DONE]` and the end of the body at once: the client waits only 100 ms for the end after `[DONE]`.
pub fn done(stream: &mut TcpStream) {
    let _ = stream.write_all(&[&chunked(b"data: [DONE]\n\n"), END].concat());
}

/// An event with a token.
pub fn token(text: &str) -> Vec<u8> {
    let event = serde_json::json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
    format!("data: {event}\n\n").into_bytes()
}

/// The event with the usage, which precedes `[DONE]`.
pub fn usage(prompt: u64, completion: u64) -> Vec<u8> {
    let event = serde_json::json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}});
    format!("data: {event}\n\n").into_bytes()
}

/// Writes a whole streamed response of `tokens` tokens.
pub fn good_answer(stream: &mut TcpStream, tokens: u64) {
    begin_stream(stream);
    for _ in 0..tokens {
        chunk(stream, &token(" a"));
    }
    chunk(stream, &usage(7, tokens));
    done(stream);
}

/// Writes a whole response that is not streamed.
pub fn plain_answer(stream: &mut TcpStream, status: &str, kind: &str, body: &str) {
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
}
