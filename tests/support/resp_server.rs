//! A small RESP server that stores values and records every command. A script can replace its replies.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;

use super::service_server::{Protocol, Requests, ServiceServer};

/// What the script does with a command instead of executing it.
pub enum Instead {
    /// Sends this raw reply.
    Reply(String),
    /// Sends this raw reply and closes the connection.
    CutOff(String),
    /// Closes the connection without a reply.
    Close,
    /// Does not reply.
    Silence,
}

#[derive(Default)]
pub struct Resp {
    values: Mutex<HashMap<String, Vec<u8>>>,
}

/// Its requests are the words of each command, without the value of SET.
pub type RespServer = ServiceServer<Resp>;

impl RespServer {
    /// A server that executes every command.
    pub fn obedient() -> RespServer {
        RespServer::scripted(|_, _| None)
    }

    pub fn scripted(script: impl Fn(&Vec<String>, usize) -> Option<Instead> + Send + Sync + 'static) -> RespServer {
        ServiceServer::start(Resp::default(), script)
    }

    pub fn spec(&self, more: &str) -> String {
        let comma = if more.is_empty() { "" } else { "," };
        format!(
            r#"{{"type":"resp","host":"127.0.0.1","port":{}{comma}{more}}}"#,
            self.port
        )
    }

    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.protocol().values.lock().unwrap().get(key).cloned()
    }

    pub fn put(&self, key: &str, value: Vec<u8>) {
        self.protocol().values.lock().unwrap().insert(key.to_owned(), value);
    }

    pub fn forget(&self, key: &str) {
        self.protocol().values.lock().unwrap().remove(key);
    }
}

/// Reads the words of a command; `None` at the end of the connection.
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

impl Protocol for Resp {
    type Request = Vec<String>;
    type Instead = Instead;

    fn name(words: &Vec<String>) -> &str {
        &words[0]
    }

    fn serve(&self, requests: &Requests<Resp>, link: TcpStream) {
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
            let reply = match requests.instead(&words) {
                Some(Instead::Close) => return,
                Some(Instead::CutOff(reply)) => {
                    let _ = out.write_all(reply.as_bytes());
                    return;
                }
                Some(Instead::Silence) => continue,
                Some(Instead::Reply(reply)) => reply.into_bytes(),
                None => self.execute(&words, value),
            };
            if out.write_all(&reply).is_err() {
                return;
            }
        }
    }
}

impl Resp {
    fn execute(&self, words: &[String], value: Option<Vec<u8>>) -> Vec<u8> {
        let mut values = self.values.lock().unwrap();
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
}
