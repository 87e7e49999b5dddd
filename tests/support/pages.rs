//! An HTTP server of pages that a test makes, such as counters.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::script::plain_answer;

pub struct PageServer {
    pub url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl PageServer {
    /// `page` gets a path and how often it was asked for before; without a page the answer is 404.
    pub fn start(page: impl Fn(&str, usize) -> Option<String> + Send + 'static) -> PageServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let record = Arc::clone(&heads);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let lines = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
                let head = lines.collect::<Vec<String>>().join("\n");
                let Some(path) = path(&head) else { continue };
                let mut heads = record.lock().unwrap();
                let earlier = heads.iter().filter(|head| self::path(head) == Some(path)).count();
                let text = page(path, earlier);
                heads.push(head.clone());
                drop(heads);
                let status = if text.is_some() { "200 OK" } else { "404 Not Found" };
                let status = format!("{status}\r\nconnection: close");
                plain_answer(&mut stream, &status, "text/plain", &text.unwrap_or_default());
            }
        });
        PageServer { url, heads }
    }

    /// The heads of all requests, in order.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// The paths that were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        let heads = self.heads();
        heads.iter().filter_map(|head| path(head)).map(str::to_owned).collect()
    }
}

fn path(head: &str) -> Option<&str> {
    head.split(' ').nth(1)
}
