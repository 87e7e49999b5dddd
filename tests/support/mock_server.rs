//! A mock cache server on free loopback ports, ended on drop.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lmcache_bench::server::http::HttpApi;
use lmcache_bench::server::rpc::{Client, Endpoint, WireKind};
use serde_json::Value;

use super::bench;

/// A shape with tensors of 64 KiB. With 16 tokens per chunk it has two blocks per chunk.
pub const SHAPE: &str = "(2,16,8,4,16):float16:2";

/// A timeout that is long enough on a loaded machine and that no test reaches.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Every wire of this build.
pub const WIRES: &[WireKind] = match WireKind::Libzmq.is_built() {
    true => &[WireKind::Native, WireKind::Libzmq],
    false => &[WireKind::Native],
};

pub struct MockServer {
    child: Child,
    pub rpc_url: String,
    pub http_url: String,
}

impl MockServer {
    /// Starts with free ports, a chunk size of 16 and these flags, and waits until it listens.
    pub fn start(flags: &[&str]) -> MockServer {
        MockServer::start_with(flags, |_| {})
    }

    /// The same after `change` of the command.
    pub fn start_with(flags: &[&str], change: impl FnOnce(&mut Command)) -> MockServer {
        let mut command = bench();
        change(&mut command);
        let mut child = command
            .args([
                "mock",
                "server",
                "--port",
                "0",
                "--http-port",
                "0",
                "--chunk-size",
                "16",
            ])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let mut words = line.split_whitespace().skip(2).map(str::to_owned);
        let (rpc_url, http_url) = (words.next().unwrap(), words.next().unwrap());
        MockServer {
            child,
            rpc_url,
            http_url,
        }
    }

    pub fn connect(&self) -> Client {
        self.connect_by(WireKind::Native)
    }

    pub fn connect_by(&self, wire: WireKind) -> Client {
        Client::connect_by(wire, &Endpoint::parse(&self.rpc_url).unwrap(), DEADLINE).unwrap()
    }

    pub fn http_api(&self) -> HttpApi {
        HttpApi::new(&self.http_url, DEADLINE).unwrap()
    }

    /// Ends it with SIGTERM and returns the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(sent.success());
        self.child.wait().unwrap().code()
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// `lmcache-bench server` with this server: two sequences of two chunks without pauses. More flags can be added.
    pub fn client(&self) -> Command {
        let mut command = bench();
        command.args([
            "server",
            "--mode",
            "cpu",
            "--rpc-url",
            &self.rpc_url,
            "--url",
            &self.http_url,
        ]);
        command.args(["--kvcache-shape-spec", SHAPE, "--num-tokens", "40"]);
        command.args(["--start", "0", "--end", "2", "--interval", "0"]);
        command
    }

    /// The same over one of `WIRES`.
    pub fn client_by(&self, wire: WireKind) -> Command {
        let mut command = self.client();
        command.args(["--wire", wire.text()]);
        command
    }

    /// The response to `GET /status`.
    pub fn status(&self) -> Value {
        let mut response = ureq::get(format!("{}/status", self.http_url)).call().unwrap();
        serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap()
    }
}

impl Drop for MockServer {
    /// With SIGTERM, so that it removes its shared memory.
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        let _ = self.child.wait();
    }
}
