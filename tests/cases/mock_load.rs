//! `mock engine` under load: short of servers, stalled, and with a cache that is too small.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json as value};

use crate::support::mock::{CHAT, Mock, chat, post};
use crate::support::{bench, json};

#[test]
fn requests_wait_for_a_server_in_the_order_of_their_arrival() {
    let mock = Mock::start(&["--servers", "1", "--ttft-ms", "1000", "--itl-ms", "1"]);
    let connect = |tokens: u64| {
        let mut stream = TcpStream::connect(&mock.address).unwrap();
        stream.write_all(&post(CHAT, &chat("hi", tokens), "")).unwrap();
        stream
    };
    for mut stream in [3, 5, 2].map(connect) {
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
    let (_, log) = mock.end("-TERM");
    let at = |record: &Value, name: &str| record[name].as_u64().unwrap();
    let mut free_ns = 0;
    for (n, record) in log.iter().enumerate() {
        assert_eq!(at(record, "n"), n as u64 + 1);
        let (arrival_ns, service_ns) = (at(record, "arrival_ns"), at(record, "service_ns"));
        assert_eq!(service_ns, arrival_ns.max(free_ns), "{record}");
        assert_eq!(at(record, "first_token_due_ns"), service_ns + 1_000_000_000);
        free_ns = at(record, "last_token_due_ns");
        assert_eq!(
            free_ns,
            service_ns + 1_000_000_000 + (at(record, "events") - 1) * 1_000_000
        );
    }
    assert!(at(&log[2], "service_ns") > at(&log[2], "arrival_ns"), "{log:?}");
}

#[test]
fn a_stall_holds_everything_back_and_lets_it_go_at_its_end() {
    let stall = ["--stall-at", "0.2", "--stall-for", "0.5"];
    let mock = Mock::start(&[&stall[..], &["--ttft-ms", "10", "--itl-ms", "20"]].concat());
    // The second stream ends before the stall. The answer that is no stream is due in the stall.
    let mut streams = [50, 5].map(|tokens| {
        let mut stream = TcpStream::connect(&mock.address).unwrap();
        stream.write_all(&post(CHAT, &chat("hi", tokens), "")).unwrap();
        stream
    });
    streams[1].read_to_end(&mut Vec::new()).unwrap();
    let whole = value!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 16});
    mock.ask(CHAT, &whole, "");
    streams[0].read_to_end(&mut Vec::new()).unwrap();
    let (_, log) = mock.end("-TERM");
    let at = |record: &Value, name: &str| record[name].as_u64().unwrap();
    let first = log.iter().find(|record| record["n"] == 1).unwrap();
    let (begin_ns, end_ns) = (
        at(first, "arrival_ns") + 200_000_000,
        at(first, "arrival_ns") + 700_000_000,
    );
    let inside = |ns: u64| (begin_ns..end_ns).contains(&ns);
    let times = |record: &Value, name: &str| -> Vec<u64> {
        let since = record[name].as_array().unwrap().iter();
        since
            .map(|ns| ns.as_u64().unwrap() + at(record, "arrival_ns"))
            .collect()
    };
    for record in &log {
        for name in ["event_due_ns", "event_ns"] {
            assert!(times(record, name).is_sorted() && !times(record, name).iter().any(|ns| inside(*ns)));
        }
        assert!(!inside(at(record, "headers_ns")), "{record}");
    }
    // Tokens 0 to 9 are due before the stall, 10 to 34 in it, and those after it keep their places.
    let due = times(first, "event_due_ns");
    let place = |k: u64| at(first, "arrival_ns") + 10_000_000 + k * 20_000_000;
    for (k, due_ns) in (0..).zip(&due) {
        let in_stall = (10..35).contains(&k);
        assert_eq!(*due_ns, if in_stall { end_ns } else { place(k) }, "{k}");
    }
    let whole = log.iter().find(|record| record["stream"] == false).unwrap();
    let planned_ns = at(whole, "arrival_ns") + 310_000_000;
    let due_ns = if inside(planned_ns) { end_ns } else { planned_ns };
    assert_eq!(times(whole, "event_due_ns"), [due_ns]);
}

#[test]
fn kv_tier_pressure_takes_its_pool_and_its_hits_from_the_mock() {
    let tiers =
        "--tokens-per-gb 1000 --dram-gb 2 --disk-tokens 100000 --chunk-tokens 16 --blend --ttft-ms 0 --itl-ms 0";
    let mock = Mock::start(&tiers.split_whitespace().collect::<Vec<_>>());
    let url = format!("http://{}", mock.address);
    let flags = "--workload kv-tier-pressure --ktp-context-length 500 --ktp-num-requests 8 --ktp-docs-per-request 2 \
                 --no-interactive --no-certificate --no-csv";
    let mut command = bench();
    command
        .args(["engine", "--engine-url", &url, "--lmcache-url", &url])
        .args(flags.split_whitespace());
    let (output, report) = json(command.arg("--output-dir").arg(mock.dir.join("out")));
    assert_eq!(output.status.code(), Some(0), "{report}");
    let shown = &report["metrics"]["kv_tier_pressure"];
    // Twice L1, which has 2 GiB of 1000 tokens each.
    assert_eq!(shown["pool_size"], 8, "{shown}");
    assert!(shown["hit_tokens_total"].as_u64().unwrap() > 0, "{shown}");
}
