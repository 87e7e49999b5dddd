//! Sentences about what a RESP server answered: the address, its words made printable, and what to do.

use crate::l2::adapter::Operation;
use crate::l2::adapters::service::link::Address;

/// Begins the sentence about a value that does not fit.
pub const LONGER: &str = "the value is longer";
const SHOWN_CHARS_MAX: usize = 200;

/// `store to 127.0.0.1:6379`, behind "could not".
pub fn action(operation: Operation, node: &Address) -> String {
    match operation {
        Operation::Store => format!("store to {node}"),
        Operation::Lookup => format!("look up at {node}"),
        Operation::Load => format!("load from {node}"),
    }
}

pub fn longer(len: u64, wanted: usize) -> String {
    format!("{LONGER} than asked for, {len} instead of {wanted} bytes; give the --data-size-kb it was stored with")
}

pub fn failed(operation: Operation, node: &Address, text: &str) -> String {
    about(&action(operation, node), text)
}

/// `action` ends where the address belongs.
pub fn sentence(action: &str, node: &Address, text: &str) -> String {
    about(&format!("{action} {node}"), text)
}

fn about(action: &str, text: &str) -> String {
    let printable: String = text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect();
    format!(
        "could not {action}: the server answered \"{printable}\"{}",
        advice(text)
    )
}

fn advice(text: &str) -> &'static str {
    // What a server says to large values of somebody who did not log in.
    if text.contains("unauthenticated") {
        return "; give the password in the adapter JSON";
    }
    match text.split_ascii_whitespace().next().unwrap_or_default() {
        "OOM" => "; raise maxmemory or choose an eviction policy",
        "READONLY" => "; this is a read-only replica, name its primary",
        "NOAUTH" => "; give the password in the adapter JSON",
        "WRONGPASS" => "; correct username and password",
        "NOPERM" => "; allow this user SET, GET and EXISTS on these keys",
        "MOVED" | "ASK" => "; this is a cluster node, use type valkey with cluster_mode true",
        "CLUSTERDOWN" => "; look at CLUSTER INFO",
        "LOADING" => "; wait until it has loaded its data",
        "MISCONF" => "; it cannot save to its disk, see its log",
        "DENIED" => "; it is in protected mode, bind it to this address or set a password",
        _ => "; see the server's log",
    }
}
