//! A small RESP server that keeps values, notes every command, and misbehaves on request. Nothing here asserts.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// What to do with a command instead of executing it.
pub enum Instead {
    /// The raw reply.
    Reply(String),
    /// End the connection without one.
    Close,
    /// Never answer.
    Silence,
}

/// Sees the words of a command, and how many commands of this name came before it.
pub type Script = dyn Fn(&[String], usize) -> Option<Instead> + Send + Sync;

struct State {
    values: Mutex<HashMap<String, Vec<u8>>>,
    /// Words of every command in order of arrival; a SET's value is left out.
    seen: Mutex<Vec<Vec<String>>>,
    script: Box<Script>,
    stop: AtomicBool,
}

pub struct RespServer {
    pub port: u16,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

impl RespServer {
    /// A server that does what it is told.
    pub fn obedient() -> RespServer {
        RespServer::scripted(|_, _| None)
    }

    pub fn scripted(script: impl Fn(&[String], usize) -> Option<Instead> + Send + Sync + 'static) -> RespServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            values: Mutex::default(),
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
        RespServer {
            port,
            state,
            acceptor: Some(acceptor),
        }
    }

    pub fn spec(&self, more: &str) -> String {
        let comma = if more.is_empty() { "" } else { "," };
        format!(
            r#"{{"type":"resp","host":"127.0.0.1","port":{}{comma}{more}}}"#,
            self.port
        )
    }

    /// Commands with this first word.
    pub fn seen(&self, name: &str) -> Vec<Vec<String>> {
        let seen = self.state.seen.lock().unwrap();
        seen.iter().filter(|words| words[0] == name).cloned().collect()
    }

    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.state.values.lock().unwrap().get(key).cloned()
    }

    pub fn put(&self, key: &str, value: Vec<u8>) {
        self.state.values.lock().unwrap().insert(key.to_owned(), value);
    }

    pub fn forget(&self, key: &str) {
        self.state.values.lock().unwrap().remove(key);
    }
}

impl Drop for RespServer {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.acceptor.take().unwrap().join().unwrap();
    }
}

/// One command as bytes; `None` at the end of the connection.
fn command(link: &mut BufReader<TcpStream>) -> Option<Vec<Vec<u8>>> {
    let mut line = String::new();
    let mut number = |link: &mut BufReader<TcpStream>| -> Option<usize> {
        line.clear();
        link.read_line(&mut line).ok().filter(|got| *got > 0)?;
        line[1..].trim().parse().ok()
    };
    let count = number(link)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; number(link)? + 2];
        link.read_exact(&mut word).ok()?;
        word.truncate(word.len() - 2);
        words.push(word);
    }
    Some(words)
}

fn serve(state: &State, link: TcpStream) {
    let mut out = link.try_clone().unwrap();
    let mut link = BufReader::new(link);
    while let Some(bytes) = command(&mut link) {
        let value = (bytes[0] == b"SET").then(|| bytes[2].clone());
        let shown = bytes
            .iter()
            .enumerate()
            .filter(|(place, _)| value.is_none() || *place != 2);
        let words: Vec<String> = shown
            .map(|(_, word)| String::from_utf8_lossy(word).into_owned())
            .collect();
        let before = {
            let mut seen = state.seen.lock().unwrap();
            let before = seen.iter().filter(|other| other[0] == words[0]).count();
            seen.push(words.clone());
            before
        };
        let reply = match (state.script)(&words, before) {
            Some(Instead::Close) => return,
            Some(Instead::Silence) => continue,
            Some(Instead::Reply(reply)) => reply.into_bytes(),
            None => execute(state, &words, value),
        };
        if out.write_all(&reply).is_err() {
            return;
        }
    }
}

fn execute(state: &State, words: &[String], value: Option<Vec<u8>>) -> Vec<u8> {
    let mut values = state.values.lock().unwrap();
    match (words[0].as_str(), value) {
        ("SET", Some(value)) => {
            values.insert(words[1].clone(), value);
            b"+OK\r\n".to_vec()
        }
        ("GET", _) => match values.get(&words[1]) {
            None => b"$-1\r\n".to_vec(),
            Some(value) => {
                let mut reply = format!("${}\r\n", value.len()).into_bytes();
                reply.extend_from_slice(value);
                reply.extend_from_slice(b"\r\n");
                reply
            }
        },
        ("EXISTS", _) => format!(":{}\r\n", u8::from(values.contains_key(&words[1]))).into_bytes(),
        _ => b"+OK\r\n".to_vec(),
    }
}
