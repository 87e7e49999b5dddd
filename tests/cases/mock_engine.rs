//! `mock engine` over raw TCP: its bytes, its schedule by its own log, its end. Order is checked, never time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json as value};

use crate::support::mock::{CHAT, Mock, body_of, chat, events, field, post};
use crate::support::{bench, json};

#[test]
fn a_stream_is_on_schedule_and_in_the_log() {
    let mock = Mock::start(&["--ttft-ms", "3", "--itl-ms", "1"]);
    let wall_ns = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let before_ns = wall_ns();
    let reply = mock.ask(CHAT, &chat("hi hi", 5), "x-request-id: mine\r\n");
    let after_ns = wall_ns();
    let body = body_of(&reply).unwrap();
    assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
    let events = events(&body);
    let text: String = events.iter().map(|event| field(event, "content")).collect();
    assert_eq!(text, " word".repeat(5));
    assert_eq!(
        events.last().unwrap()["usage"],
        value!({"prompt_tokens": 5, "total_tokens": 10, "completion_tokens": 5,
               "prompt_tokens_details": {"cached_tokens": 0}})
    );
    let (code, log) = mock.end("-INT");
    assert_eq!(code, Some(0));
    let record = &log[0];
    assert_eq!(record["request_id"], "mine");
    assert_eq!(
        (&record["arrival_source"], &record["outcome"]),
        (&value!("kernel"), &value!("complete"))
    );
    assert_eq!(record["id"], events[0]["id"]);
    assert_eq!(
        (
            &record["prompt_tokens"],
            &record["completion_tokens"],
            &record["events"]
        ),
        (&value!(5), &value!(5), &value!(5))
    );
    assert_eq!(record["bytes"].as_u64().unwrap(), reply.len() as u64);
    // Due times are exact, writes come after them and in order.
    assert_eq!(
        record["event_due_ns"],
        value!([3_000_000, 4_000_000, 5_000_000, 6_000_000, 7_000_000])
    );
    let numbers = |name: &str| -> Vec<u64> {
        record[name]
            .as_array()
            .unwrap()
            .iter()
            .map(|number| number.as_u64().unwrap())
            .collect()
    };
    let (due, written) = (numbers("event_due_ns"), numbers("event_ns"));
    assert!(
        due.iter().zip(&written).all(|(due, written)| due <= written),
        "{record}"
    );
    assert!(written.is_sorted());
    let at = |name: &str| record[name].as_u64().unwrap();
    let order = [
        "arrival_ns",
        "read_ns",
        "headers_ns",
        "first_token_ns",
        "first_token_sent_ns",
        "last_token_ns",
    ];
    assert!(
        order.map(at).is_sorted() && at("last_token_sent_ns") <= at("done_ns"),
        "{record}"
    );
    // The arrival is the kernel's, on both clocks, and not the moment of the read.
    assert!((before_ns..=after_ns).contains(&at("arrival_wall_ns")));
    assert!(at("arrival_ns") < at("read_ns"), "{record}");
    assert_eq!(at("first_token_ns") - at("arrival_ns"), written[0]);
}

#[test]
fn many_streams_at_once_each_keep_their_own_schedule() {
    let mock = Mock::start(&["--ttft-ms", "5", "--itl-ms", "1", "--jitter", "0.5"]);
    let streams: Vec<TcpStream> = (0..50)
        .map(|number| {
            let mut stream = TcpStream::connect(&mock.address).unwrap();
            stream.write_all(&post(CHAT, &chat("hi", 10 + number), "")).unwrap();
            stream
        })
        .collect();
    for (number, mut stream) in streams.into_iter().enumerate() {
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let usage = events(&body_of(&reply).unwrap()).last().unwrap()["usage"].clone();
        assert_eq!(usage["completion_tokens"], 10 + number as u64);
    }
    let (_, log) = mock.end("-TERM");
    assert_eq!(log.len(), 50);
    for record in &log {
        let due: Vec<u64> = record["event_due_ns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|number| number.as_u64().unwrap())
            .collect();
        assert_eq!(due.len() as u64, record["completion_tokens"].as_u64().unwrap());
        for (k, due) in due.iter().enumerate() {
            let grid = 5_000_000 + k as u64 * 1_000_000;
            assert!((grid..=grid + 500_000).contains(due), "{k} {due}");
        }
    }
}

#[test]
fn prefill_costs_and_cached_tokens_follow_the_cache() {
    let flags = [
        "--ttft-ms",
        "0",
        "--ttft-us-per-uncached-token",
        "10",
        "--hbm-us-per-token",
        "1",
    ];
    let mock = Mock::start(&[&flags[..], &["--hbm-tokens", "1000"]].concat());
    let content = ["hi"; 97].join(" ");
    for cached in [0, 96] {
        let reply = mock.ask(CHAT, &chat(&content, 1), "");
        let usage = events(&body_of(&reply).unwrap()).pop().unwrap()["usage"].clone();
        assert_eq!(usage["prompt_tokens"], 100);
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], cached);
    }
    let metrics = String::from_utf8(mock.exchange(b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n")).unwrap();
    assert!(metrics.contains("source=\"local_cache_hit\"} 96\n"), "{metrics}");
    assert!(metrics.contains("source=\"local_compute\"} 104\n"), "{metrics}");
    let (_, log) = mock.end("-TERM");
    assert_eq!(log[0]["event_due_ns"], value!([1_000_000]));
    assert_eq!(log[1]["event_due_ns"], value!([4 * 10_000 + 96 * 1_000]));
    assert_eq!(log[1]["prompt_sources"]["hbm"], 96);
}

#[test]
fn answers_without_a_stream_completions_models_and_tokenize() {
    let mock = Mock::start(&[
        "--itl-ms",
        "0",
        "--model",
        "m",
        "--max-model-len",
        "100",
        "--tokens-per-gb",
        "8192",
    ]);
    let get = |path: &str| {
        let reply = mock.exchange(format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes());
        String::from_utf8(reply).unwrap()
    };
    let value = |reply: &str| -> Value { serde_json::from_str(&body_of(reply).unwrap()).unwrap() };
    assert_eq!(value(&get("/v1/models"))["data"][0]["id"], "m");
    let layout = value(&get("/status"))["cache_context_meta"]["0"]["kv_cache_layout"]["cache_size_per_token"].clone();
    assert_eq!(layout, 131_072);
    assert!(get("/health").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(get("/nothing").starts_with("HTTP/1.1 404 "));
    assert!(get(CHAT).starts_with("HTTP/1.1 405 "));
    let body = value!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2});
    let whole = value(&mock.ask(CHAT, &body, ""));
    assert_eq!(whole["choices"][0]["message"]["content"], " word word");
    let body = value!({"model": "m", "prompt": "hi", "max_tokens": 2, "stream": true});
    let stream = events(&body_of(&mock.ask("/v1/completions", &body, "")).unwrap());
    assert_eq!(stream.len(), 2, "nobody asked for usage");
    assert_eq!(stream[1]["choices"][0]["text"], " word");
    let tokens = value(&mock.ask("/tokenize", &value!({"model": "m", "prompt": "hi hi"}), ""));
    assert_eq!((&tokens["count"], &tokens["max_model_len"]), (&value!(2), &value!(100)));
    assert_eq!(tokens["tokens"].as_array().unwrap().len(), 2);
    let tokens = mock.ask(
        "/tokenize",
        &value!({"model": "m", "messages": [{"role": "user", "content": "hi hi"}]}),
        "",
    );
    assert_eq!(value(&tokens)["count"], 5);
    let unknown = mock.ask(CHAT, &value!({"model": "other", "messages": []}), "");
    assert!(
        unknown.starts_with("HTTP/1.1 404 ") && unknown.contains("`other` does not exist"),
        "{unknown}"
    );
    let long = mock.ask("/v1/completions", &value!({"prompt": "hi", "max_tokens": 100}), "");
    assert!(
        long.starts_with("HTTP/1.1 400 ") && long.contains("maximum context length is 100"),
        "{long}"
    );
}

#[test]
fn a_tokenizer_file_decides_the_counts() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/engine/words-tokenizer");
    let mock = Mock::start(&["--tokenizer", folder]);
    let reply = mock.ask("/tokenize", &value!({"prompt": "abcdefghijklmnopqrstuvwxyz"}), "");
    let counted: Value = serde_json::from_str(&body_of(&reply).unwrap()).unwrap();
    let tokenizer = tokenizers::Tokenizer::from_file(format!("{folder}/tokenizer.json")).unwrap();
    let encoding = tokenizer.encode("abcdefghijklmnopqrstuvwxyz", false).unwrap();
    assert_eq!(counted["tokens"], value!(encoding.get_ids()));
    assert_ne!(counted["count"], 3, "the rule for words would count three");
}

#[test]
fn a_key_is_asked_for_and_never_shown() {
    let mock = Mock::start(&["--api-key", "sesame"]);
    assert!(mock.ask(CHAT, &chat("hi", 1), "").starts_with("HTTP/1.1 401 "));
    assert!(
        mock.ask(CHAT, &chat("hi", 1), "Authorization: Bearer sesam\r\n")
            .starts_with("HTTP/1.1 401 ")
    );
    assert!(
        mock.ask(CHAT, &chat("hi", 1), "Authorization: Bearer sesame\r\n")
            .starts_with("HTTP/1.1 200 ")
    );
    let (_, log) = mock.end("-TERM");
    assert!(!Value::from(log).to_string().contains("sesam"));
}

#[test]
fn a_connection_serves_many_requests_however_they_are_cut() {
    let mock = Mock::start(&["--ttft-ms", "0"]);
    let mut stream = TcpStream::connect(&mock.address).unwrap();
    let body = value!({"prompt": "hi", "max_tokens": 1}).to_string();
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // Two requests back to back in odd pieces, then one more after the first answers.
    let twice = request.repeat(2);
    for piece in twice.as_bytes().chunks(7) {
        stream.write_all(piece).unwrap();
    }
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut read_reply = || {
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()
    };
    assert_eq!(read_reply()["choices"][0]["text"], " word");
    assert_eq!(read_reply()["choices"][0]["text"], " word");
    stream.write_all(request.as_bytes()).unwrap();
    assert_eq!(read_reply()["choices"][0]["text"], " word");
    let (_, log) = mock.end("-TERM");
    assert!(log.iter().all(|record| record["connection"] == 1) && log.len() == 3);
}

#[test]
fn requests_out_of_bounds_are_refused() {
    let mock = Mock::start(&[]);
    let refused = |request: &[u8]| String::from_utf8(mock.exchange(request)).unwrap();
    assert!(refused(b"GET /\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert!(refused(b"POST / HTTP/1.1\r\nContent-Length: 67108865\r\n\r\n").starts_with("HTTP/1.1 413 "));
    let body = value!({"prompt": "hi", "max_tokens": 1_048_577});
    assert!(mock.ask("/v1/completions", &body, "").starts_with("HTTP/1.1 400 "));
    assert!(mock.ask(CHAT, &value!("text"), "").starts_with("HTTP/1.1 400 "));
    assert!(
        mock.ask(CHAT, &chat("hi", 1), "x-mock-fault: nonsense\r\n")
            .contains("unknown fault")
    );
}

#[test]
fn invalid_settings_are_refused() {
    let refused = |flags: &[&str]| {
        let output = bench().args(["mock", "engine"]).args(flags).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, text) = refused(&["--port", &port]);
    assert!(
        code == Some(1) && text.contains(&format!("could not listen on 127.0.0.1:{port}")),
        "{text}"
    );
    let (code, text) = refused(&["--log", "/nowhere/log"]);
    assert!(code == Some(1) && text.contains("--log /nowhere/log"), "{text}");
    let (code, text) = refused(&["--tokenizer", "/nowhere"]);
    assert!(code == Some(1) && text.contains("--tokenizer /nowhere"), "{text}");
    let (code, text) = refused(&["--ttft-ms", "-1"]);
    assert!(code == Some(2) && text.contains("--ttft-ms must be 0 to"), "{text}");
    let (code, text) = refused(&["--fault", "reste"]);
    assert!(code == Some(2) && text.contains("unknown fault 'reste'"), "{text}");
}

#[test]
fn the_benchmark_reports_what_the_servers_counted_in_the_measured_phase() {
    let tiers = [
        "--hbm-tokens",
        "128",
        "--dram-tokens",
        "100000",
        "--tokens-per-gb",
        "1000",
    ];
    let mock = Mock::start(&[&["--ttft-ms", "0", "--itl-ms", "0"], &tiers[..]].concat());
    let url = format!("http://{}", mock.address);
    let folder = mock.dir.join("out");
    let flags = "--workload long-doc-qa --kv-cache-volume 1.2 --ldqa-document-length 600 --ldqa-max-output-length 2 \
                 --ldqa-num-inflight-requests 1 \
                 --no-interactive --no-certificate --no-csv";
    let mut command = bench();
    command
        .args(["engine", "--engine-url", &url, "--lmcache-url", &url])
        .args(flags.split_whitespace());
    let (output, report) = json(command.arg("--output-dir").arg(&folder));
    assert_eq!(output.status.code(), Some(0), "{report}");
    let (_, log) = mock.end("-TERM");
    // Two documents of which HBM holds a part of one, two questions about each; the warmup came before.
    let measured: Vec<&Value> = log.iter().filter(|record| record["completion_tokens"] == 2).collect();
    assert_eq!(measured.len(), 4);
    let sum = |tier: &str| -> u64 {
        measured
            .iter()
            .map(|record| record["prompt_sources"][tier].as_u64().unwrap())
            .sum()
    };
    let sources = &report["metrics"]["prompt_sources"];
    assert_eq!(sources["computed"], sum("computed"), "{sources}");
    assert_eq!(sources["engine_cache"], sum("hbm"));
    assert_eq!(sources["external"], sum("dram"));
    // Both whole chunks of each document are found, also the tokens that HBM has.
    assert_eq!(
        (
            &report["metrics"]["lmcache_work"]["found_l1"]["measured"],
            &report["metrics"]["lmcache_work"]["found_l2"]["measured"]
        ),
        (&value!(4 * 512), &value!(0))
    );
    assert_eq!(sources["lmcache_looked_up"], 4 * 512, "{sources}");
    assert!(sum("dram") >= 3 * 512 && sum("hbm") > 0);
}
