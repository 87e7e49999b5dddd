//! The adapters that speak to a service, against small servers that these tests script: what goes over the wire, and that
//! nothing counts as stored or loaded that is not.

mod resp;
mod s3;
mod valkey;

use std::process::Output;

use serde_json::Value;

use crate::support::{bench, json, stderr, stdout};

/// Runs eight small keys of one warmup-free round and returns exit code, metrics and everything that was printed.
fn run(spec: &str, flags: &[&str]) -> (Option<i32>, Value, String) {
    let mut command = bench();
    command.args(["l2", "--l2-adapter", spec, "--num-keys", "4", "--in-flight", "2"]);
    command.args(["--data-size-kb", "16", "--warmup-rounds", "0", "--no-skip-verify"]);
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("LMCACHE_RESP_PASSWORD");
    let (output, value) = json(command.args(flags));
    (output.status.code(), value["metrics"].clone(), text(&output))
}

fn text(output: &Output) -> String {
    format!("{}{}", stdout(output), stderr(output))
}

/// A run that ends before its report: exit code and standard error.
fn refused(spec: &str) -> (Option<i32>, String) {
    let output = bench().args(["l2", "--l2-adapter", spec]).output().unwrap();
    (output.status.code(), stderr(&output))
}

/// The form W name of a bench key.
fn wire(index: u64) -> String {
    format!("bench-model@{index:08x}@0@{index:032x}")
}
