//! A `mock server` process of a test's own, on ports that it chooses. Stopped when dropped.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::Duration;

use lmcache_bench::server::http::HttpApi;
use lmcache_bench::server::rpc::Client;

/// Long enough for a loaded machine; nothing waits for it to pass.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct MockServer {
    child: Child,
    pub rpc: String,
    pub http: String,
}

impl MockServer {
    pub fn start(flags: &[&str]) -> MockServer {
        let mut command = super::bench();
        command
            .args(["mock", "server", "--port", "0", "--http-port", "0"])
            .args(flags);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, rpc, http] = words[..] else {
            let mut text = String::new();
            child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            panic!("{line:?} {text}");
        };
        assert!(line.starts_with("listening on tcp://127.0.0.1:"), "{line}");
        let (rpc, http) = (rpc.to_string(), http.to_string());
        MockServer { child, rpc, http }
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.rpc, DEADLINE).unwrap()
    }

    pub fn http(&self) -> HttpApi {
        HttpApi::new(&self.http, DEADLINE).unwrap()
    }

    /// Asks for an orderly end and waits for it.
    pub fn stop(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap();
        assert!(sent.success());
        self.child.wait().unwrap().code()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for MockServer {
    fn drop(&mut self) {
        self.kill();
    }
}
