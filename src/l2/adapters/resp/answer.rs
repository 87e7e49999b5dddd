//! Sentences about errors of a RESP server: the address, the server's text made printable, and advice.

use crate::http::error_body::one_line;
use crate::l2::adapter::Operation;
use crate::l2::adapters::service::link::Address;

/// The start of the sentence about a value that does not fit.
pub const LONGER: &str = "the value is longer";

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
    format!(
        "could not {action}: the server answered \"{}\"{}",
        one_line(text),
        advice(text)
    )
}

/// By the text after `ERR`, which is not specific.
const ERRORS: [(&str, &str); 11] = [
    (
        "cluster support disabled",
        "; it is a single server: set \"cluster_mode\" to false",
    ),
    (
        "without any password configured",
        "; it has no password for the default user: leave password out, or give the username",
    ),
    ("no password is set", "; it has no password: leave password out"),
    (
        "wrong number of arguments for 'auth'",
        "; it has no users, only a password (Redis before 6): leave username out",
    ),
    ("max number of clients", "; lower num_workers, or raise its maxclients"),
    ("DB index", "; give a database_id that it has (CONFIG GET databases)"),
    (
        "SELECT is not allowed in cluster mode",
        "; a cluster has one database: leave database_id out, and use type valkey with cluster_mode true",
    ),
    (
        "invalid bulk length",
        "; raise its proto-max-bulk-len, or lower --data-size-kb",
    ),
    (
        "exceeds maximum allowed size",
        "; raise its proto-max-bulk-len, or lower --data-size-kb",
    ),
    // The reply to large values of a client that did not log in.
    ("unauthenticated", "; give the password in the adapter JSON"),
    (
        "unknown command",
        "; it or a proxy before it does not have this command: name a Redis or Valkey server",
    ),
];

fn advice(text: &str) -> &'static str {
    if let Some((_, advice)) = ERRORS.iter().find(|(words, _)| text.contains(words)) {
        return advice;
    }
    match text.split_ascii_whitespace().next().unwrap_or_default() {
        "OOM" => "; raise maxmemory or choose an eviction policy",
        "READONLY" => "; this is a read-only replica, name its primary",
        "NOAUTH" => "; give the password in the adapter JSON",
        "WRONGPASS" => "; correct username and password",
        "NOPERM" => "; allow this user SET, GET and EXISTS on these keys",
        "MOVED" | "ASK" => "; this is a cluster node, use type valkey with cluster_mode true",
        "CLUSTERDOWN" => "; look at CLUSTER INFO",
        "MASTERDOWN" => "; this replica has lost its primary, name a primary",
        "NOREPLICAS" => "; too few replicas follow it for its min-replicas-to-write",
        "LOADING" => "; wait until it has loaded its data",
        "BUSY" => "; a script runs there, wait for it or end it with SCRIPT KILL",
        "WRONGTYPE" => "; this key holds something else than an object: use another database_id or key_prefix",
        "MISCONF" => "; it cannot save to its disk, see its log",
        // Protected mode has a message of several lines.
        "DENIED" => "; it is in protected mode, bind it to this address or set a password",
        _ => "; see the server's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_leads_to_what_the_server_said() {
        for (text, part) in [
            (
                "ERR This instance has cluster support disabled",
                "\"cluster_mode\" to false",
            ),
            ("MOVED 866 127.0.0.1:7001", "cluster_mode true"),
            (
                "ERR AUTH <password> called without any password configured for the default user.",
                "leave password out",
            ),
            ("ERR Client sent AUTH, but no password is set", "leave password out"),
            ("ERR wrong number of arguments for 'auth' command", "leave username out"),
            ("ERR max number of clients reached", "num_workers"),
            ("ERR DB index is out of range", "database_id"),
            ("ERR SELECT is not allowed in cluster mode", "leave database_id out"),
            ("ERR Protocol error: invalid bulk length", "proto-max-bulk-len"),
            ("ERR Protocol error: unauthenticated bulk length", "give the password"),
            ("ERR unknown command `CLUSTER`", "does not have this command"),
            ("WRONGTYPE Operation against a key", "something else"),
            ("ERR something new", "server's log"),
        ] {
            let sentence = about("look", text);
            assert!(sentence.contains(part), "{text}: {sentence}");
        }
    }
}
