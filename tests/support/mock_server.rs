//! A mock cache server on free loopback ports, ended on drop.

use std::io::{BufRead, BufReader};
use std::panic::resume_unwind;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use lmcache_bench::server::http::HttpApi;
use lmcache_bench::server::rpc::{Client, Endpoint, Generation, WireKind};
use serde_json::Value;

use super::bench;

/// A shape with tensors of 64 KiB. With 16 tokens per chunk it has two blocks per chunk.
pub const SHAPE: &str = "(2,16,8,4,16):float16:2";

/// A timeout that is long enough on a loaded machine and that no test reaches.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Time to connect for a client on a loaded machine.
pub const PATIENT: [&str; 2] = ["--connect-timeout-s", "20"];

/// Every wire of this build.
pub const WIRES: &[WireKind] = match WireKind::Libzmq.is_built() {
    true => &[WireKind::Native, WireKind::Libzmq],
    false => &[WireKind::Native],
};

/// The first release of each generation, oldest first.
pub fn releases() -> impl Iterator<Item = &'static str> {
    let labels = Generation::ALL.into_iter().map(|generation| generation.label);
    labels.map(|label| label.split('-').next().unwrap_or(label))
}

/// What tests run over: each release over the native wire, and the newest over every other wire.
pub fn releases_and_wires() -> Vec<(&'static str, WireKind)> {
    let newest = releases().last();
    let native = releases().map(|release| (release, WIRES[0]));
    native
        .chain(WIRES[1..].iter().filter_map(|wire| Some((newest?, *wire))))
        .collect()
}

/// Runs a test for each of `releases_and_wires` and each case, all at the same time: most of their time is waiting.
pub fn everywhere<T: Copy + Send + Sync, R: Send>(
    cases: &[T],
    test: impl Fn(&'static str, WireKind, T) -> R + Sync,
) -> Vec<R> {
    thread::scope(|scope| {
        let test = &test;
        let pairs = releases_and_wires().into_iter();
        let threads: Vec<_> = pairs
            .flat_map(|(release, wire)| cases.iter().map(move |case| (release, wire, *case)))
            .map(|(release, wire, case)| scope.spawn(move || test(release, wire, case)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

/// The flag for the release and others.
pub fn of_release<'a>(release: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    [&["--release", release], flags].concat()
}

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
        command.args(PATIENT);
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
