//! Helpers of the integration tests: a private directory per test, and the binary under test.

pub mod cuda;
pub mod ks;
pub mod mock_server;
pub mod pages;
pub mod pty;
pub mod resp_server;
pub mod s3_server;
pub mod schema;
pub mod script;
pub mod service_server;
pub mod tls_front;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lmcache_bench::sys::socket::StampsEnabled;
use serde_json::Value;

pub mod mock;

/// Prints that a case is skipped because a program is missing; with MUST_RUN=1, as in CI, it fails instead.
pub fn skip_without(peer: &str, advice: &str) {
    println!("skipped: {peer} is missing; {advice}");
    assert!(
        std::env::var("MUST_RUN").as_deref() != Ok("1"),
        "MUST_RUN=1 and {peer} is missing; {advice}"
    );
}

/// A directory that only this user can read, removed on drop.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lmcache-bench-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Dir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names in a directory below this one, sorted.
    pub fn names(&self, below: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.join(below))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `lmcache-bench`, without an adapter and a key of a cache server in its environment.
pub fn bench() -> Command {
    keep_stamps();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lmcache-bench"));
    for name in [
        "L2_ADAPTER_JSON",
        "LMCACHE_API_KEY",
        "LMCACHE_API_KEY_FILE",
        "LMCACHE_HTTP_API_KEY",
    ] {
        command.env_remove(name);
    }
    command.env_remove("LMCACHE_HTTP_API_KEY_FILE");
    command
}

/// Keeps the kernel's time stamps on for all processes of the tests: a program waits for them only for a few milliseconds, which
/// a busy machine may exceed.
pub fn keep_stamps() {
    static STAMPS: OnceLock<Option<StampsEnabled>> = OnceLock::new();
    STAMPS.get_or_init(|| StampsEnabled::wait(Duration::from_secs(10)).ok());
}

/// The spec of an fs adapter at `path`.
pub fn fs_spec(path: &Path) -> String {
    format!(r#"{{"type":"fs","base_path":"{}"}}"#, path.display())
}

/// Whether SIGHUP is ignored, as under `nohup`. The benchmark inherits that.
pub fn hangups_are_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() & 1 == 1
}

/// `lmcache-bench l2` with an fs adapter and small objects. More flags can be added.
pub fn l2(path: &Path) -> Command {
    let mut command = bench();
    command.args([
        "l2",
        "--l2-adapter",
        &fs_spec(path),
        "--num-keys",
        "4",
        "--data-size-kb",
        "16",
    ]);
    command
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs with `--format json` and parses standard output.
pub fn json(command: &mut Command) -> (Output, Value) {
    let output = command.args(["--format", "json"]).output().unwrap();
    let value = report(&output);
    (output, value)
}

/// The report in JSON on standard output.
pub fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {} {}", stdout(output), stderr(output)))
}

/// The codes of a report's warnings, in order.
pub fn warning_codes(metrics: &Value) -> Vec<&str> {
    let warnings = metrics["warnings"].as_array().into_iter().flatten();
    warnings.map(|warning| warning["code"].as_str().unwrap()).collect()
}
