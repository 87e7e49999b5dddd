//! What the tests of clearing share: a server that answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{Clearing, clear_within};
use crate::engine::api_key::engine_key;
use crate::engine::ask::discover::{CacheServer, Engine};
use crate::http::testing::with_body;

/// Answers each request by its method and target, and by how often that was asked for before; keeps what was asked.
pub fn server(
    answer: impl Fn(&str, usize) -> (&'static str, String) + Send + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let record = Arc::clone(&asked);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut first, mut length) = (String::new(), 0);
            reader.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                match line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    Some(number) => length = number.trim().parse().unwrap(),
                    None if line.trim().is_empty() => break,
                    None => {}
                }
            }
            reader.take(length).read_to_end(&mut Vec::new()).unwrap();
            let target = first.rsplit_once(' ').unwrap().0.to_owned();
            let mut asked = record.lock().unwrap();
            let before = asked.iter().filter(|other| **other == target).count();
            asked.push(target.clone());
            let (status, body) = answer(&target, before);
            stream.write_all(&with_body(status, "", body.as_bytes())).unwrap();
        }
    });
    (url, asked)
}

/// What comes of it, with so long a wait for what is busy.
pub fn clear(engine: &str, lmcache: Option<&str>, wait_ms: u64) -> Result<Clearing, String> {
    let key = engine_key("sk-secret".into());
    let engine = Engine {
        base_url: &format!("{engine}/v1"),
        key: &key,
    };
    let lmcache = lmcache.map(|url| CacheServer { url, key: None });
    clear_within(engine, lmcache, Duration::from_millis(wait_ms)).map_err(|error| error.to_string())
}
