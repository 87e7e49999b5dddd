//! The `valkey` adapter: what it adds to `resp`.

use super::{refused, run, wire};
use crate::support::resp_server::{Instead, RespServer};
use crate::support::warning_codes;

fn spec(servers: &[&RespServer], more: &str) -> String {
    let nodes: Vec<String> = servers
        .iter()
        .map(|server| format!("127.0.0.1:{}", server.port))
        .collect();
    format!(
        r#"{{"type":"valkey","startup_nodes":"{}","num_workers":2{more}}}"#,
        nodes.join(",")
    )
}

/// The reply to CLUSTER SLOTS of a cluster whose only primary listens on `port`, on the host that was asked.
fn all_slots_at(port: u16) -> String {
    format!("*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$0\r\n\r\n:{port}\r\n$2\r\nid\r\n")
}

#[test]
fn prefix_ttl_database_and_login_are_sent() {
    let server = RespServer::obedient();
    let more = r#","key_prefix":"prod","ttl_seconds":60,"database_id":3,"password":"hunter2""#;
    let (code, metrics, text) = run(&spec(&[&server], more), &[]);
    assert_eq!((code, &metrics["verify"]["good"]), (Some(0), &8.into()), "{text}");
    assert_eq!(server.seen("SELECT"), [["SELECT", "3"], ["SELECT", "3"]]);
    assert_eq!(server.seen("AUTH").len(), 2);
    let first = &server.seen("SET")[0];
    assert!(
        first[1].starts_with("prod@bench-model@") && first[2..] == ["EX", "60"],
        "{first:?}"
    );
    assert!(!text.contains("hunter2"));
}

#[test]
fn a_cluster_is_followed_through_moved_and_ask() {
    let target = RespServer::obedient();
    let to = target.port;
    let seed = RespServer::scripted(move |words, _| {
        let reply = match words[0].as_str() {
            // The seed's map says that it owns everything, as a map does that has just become old.
            "CLUSTER" => return None,
            "SET" if words[1] == wire(1) => format!("-MOVED 1 127.0.0.1:{to}\r\n"),
            "SET" if words[1] == wire(2) => format!("-ASK 1 127.0.0.1:{to}\r\n"),
            _ => return None,
        };
        Some(Instead::Reply(reply))
    });
    let port = seed.port;
    let map = RespServer::scripted(move |words, _| match words[0].as_str() {
        "CLUSTER" => Some(Instead::Reply(all_slots_at(port))),
        _ => None,
    });
    let (code, metrics, text) = run(&spec(&[&map, &seed], r#","cluster_mode":true"#), &["--only", "store"]);
    assert_eq!(
        (code, &metrics["op_0"]["total_success"]),
        (Some(0), &8.into()),
        "{text}"
    );
    assert!(warning_codes(&metrics).contains(&"requests-repeated"), "{text}");
    assert!(target.value(&wire(1)).is_some() && target.value(&wire(2)).is_some());
    assert_eq!(target.seen("ASKING").len(), 1, "only ASK is answered with ASKING");
    assert!(map.seen("SET").is_empty(), "the map's owner is asked, not the seed");
}

#[test]
fn endless_redirections_end() {
    let seed = RespServer::scripted(|words, _| {
        let port = &words[1];
        match words[0].as_str() {
            "CLUSTER" => None,
            "SET" => Some(Instead::Reply(format!("-TRYAGAIN {port}\r\n"))),
            _ => None,
        }
    });
    let port = seed.port;
    let map = RespServer::scripted(move |_, _| Some(Instead::Reply(all_slots_at(port))));
    let (code, metrics, text) = run(&spec(&[&map], r#","cluster_mode":true"#), &["--only", "store"]);
    assert_eq!((code, &metrics["op_0"]["total_success"]), (Some(1), &0.into()));
    assert!(text.contains("redirected 8 times"), "{text}");
}

#[test]
fn fields_without_effect_are_named() {
    let server = RespServer::obedient();
    let (code, metrics, text) = run(&spec(&[&server, &server], r#","tls_ca_file":"/nowhere""#), &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("startup_nodes") && warning_codes(&metrics).contains(&"field-without-effect"),
        "{text}"
    );
}

#[test]
fn no_cluster_and_no_tls_are_said_at_once() {
    let server = RespServer::scripted(|words, _| match words[0].as_str() {
        "CLUSTER" => Some(Instead::Reply(
            "-ERR This instance has cluster support disabled\r\n".to_owned(),
        )),
        _ => Some(Instead::Close),
    });
    let (code, text) = refused(&spec(&[&server], r#","cluster_mode":true"#));
    assert!(code == Some(1) && text.contains("cluster support disabled"), "{text}");
    assert!(text.contains("set \"cluster_mode\" to false"), "{text}");
    let (code, text) = refused(&spec(&[&server], r#","tls_enable":true,"connection_timeout":2"#));
    assert!(
        code == Some(1) && text.contains("could not connect to 127.0.0.1:"),
        "{text}"
    );
    let (code, text) = refused(&spec(&[&server], r#","tls_enable":true,"tls_ca_file":"/nowhere""#));
    assert!(
        code == Some(1) && text.contains("could not read tls_ca_file /nowhere"),
        "{text}"
    );
}

#[test]
fn a_name_without_a_password_is_warned_about() {
    let server = RespServer::obedient();
    let (code, metrics, text) = run(&spec(&[&server], r#","username":"u""#), &["--only", "store"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        warning_codes(&metrics).contains(&"half-credentials") && text.contains("nobody logs in"),
        "{text}"
    );
    assert!(server.seen("AUTH").is_empty());
    let (_, metrics, text) = run(&spec(&[&server], r#","password":"p""#), &["--only", "store"]);
    assert!(!warning_codes(&metrics).contains(&"half-credentials"), "{text}");
}

#[test]
fn a_slot_map_without_an_end_is_not_believed() {
    let server = RespServer::scripted(|words, _| match words[0].as_str() {
        "CLUSTER" => {
            let range = format!("*400\r\n{}", "*0\r\n".repeat(400));
            Some(Instead::Reply(format!("*16384\r\n{}", range.repeat(16_384))))
        }
        _ => None,
    });
    let (code, text) = refused(&spec(&[&server], r#","cluster_mode":true,"request_timeout":60"#));
    assert!(
        code == Some(1) && text.contains("longer than any answer should be"),
        "{text}"
    );
}
