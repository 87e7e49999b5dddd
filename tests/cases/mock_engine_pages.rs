//! The pages of `mock engine`: counters, `/status`, `/config`, and requests that empty its caches.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value, json as value};

use crate::support::mock::{CHAT, Mock, body_of, chat, events, post};

/// The page of counters, and that of a status or of settings as JSON.
fn page(mock: &Mock, path: &str) -> String {
    let reply = mock.exchange(format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes());
    let reply = String::from_utf8(reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 "), "{path}: {reply}");
    body_of(&reply).unwrap()
}

/// The sum over the samples of a counter, by its own name and one label.
fn counted(page: &str, name: &str, label: &str) -> u64 {
    let samples = page
        .lines()
        .filter(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} ")))
        .filter(|line| line.contains(label));
    samples
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

#[test]
fn a_cache_server_finds_what_hbm_has_too_and_its_status_has_its_tiers() {
    let tiers = "--ttft-ms 0 --hbm-tokens 4096 --dram-tokens 512 --disk-tokens 4096 --tokens-per-gb 4194304";
    let mock = Mock::start(&tiers.split(' ').collect::<Vec<_>>());
    let content = ["hi"; 997].join(" ");
    for cached in [0, 992] {
        let reply = mock.ask(CHAT, &chat(&content, 1), "");
        let usage = events(&body_of(&reply).unwrap()).pop().unwrap()["usage"].clone();
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], cached);
    }
    let metrics = page(&mock, "/metrics");
    let of = |name: &str, label: &str| counted(&metrics, name, label);
    let prompt = of("vllm:prompt_tokens_total", "");
    assert_eq!(prompt, 2000);
    assert_eq!(of("vllm:prompt_tokens_by_source_total", ""), prompt);
    assert_eq!(of("vllm:prompt_tokens_cached_by_source_total", "device"), 992);
    assert_eq!(of("lmcache_mp_lookups_requests_total", ""), 2);
    // Three whole chunks of 256 in each prompt; DRAM keeps the first two.
    assert_eq!(of("lmcache_mp_lookup_requested_tokens_total", ""), 2 * 768);
    assert_eq!(of("lmcache_mp_lookup_hit_l1_tokens_total", ""), 512);
    assert_eq!(of("lmcache_mp_lookup_hit_l2_tokens_total", ""), 256);
    assert_eq!(of("lmcache_mp_num_chunks_loaded_total", ""), 0, "HBM had them");
    let json = |path: &str| -> Value { serde_json::from_str(&page(&mock, path)).unwrap() };
    let l1 = json("/status")["storage_manager"]["l1_managers"]["_default"].clone();
    let objects = of("lmcache_mp_l1_write_chunks_total", "") - of("lmcache_mp_l1_evicted_chunks_total", "");
    assert_eq!((&l1["total_object_count"], objects), (&value!(2), 2));
    assert_eq!(l1["memory_used_bytes"], l1["memory_total_bytes"], "{l1}");
    assert_eq!(json("/config")["mp"]["chunk_size"], 256);
}

#[test]
fn counters_start_again_once_after_a_number_of_answers() {
    let mock = Mock::start(&["--ttft-ms", "0", "--hbm-tokens", "1000", "--metrics-restart-after", "2"]);
    let mut seen = Vec::new();
    for _ in 0..5 {
        mock.ask(CHAT, &chat("hi", 1), "");
        seen.push(counted(&page(&mock, "/metrics"), "vllm:prompt_tokens_total", ""));
    }
    assert_eq!(seen, [4, 0, 4, 8, 12]);
}

#[test]
fn a_page_may_be_another_engines_too_long_or_absent() {
    let has = |flags: &[&str], name: &str| {
        let mock = Mock::start(flags);
        mock.ask(CHAT, &chat("hi", 1), "");
        let page = page(&mock, "/metrics");
        (page.len() >> 20, counted(&page, name, ""))
    };
    assert_eq!(has(&["--metrics", "sglang"], "sglang:prompt_tokens_total"), (0, 4));
    assert_eq!(has(&["--metrics", "vllm-gpu"], "vllm:prompt_tokens_total"), (0, 4));
    assert_eq!(has(&["--metrics-padding", "50"], "vllm:prompt_tokens_total"), (50, 4));
    let mock = Mock::start(&["--metrics", "none"]);
    let reply = mock.exchange(b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(reply.starts_with(b"HTTP/1.1 404 "));
}

#[test]
fn caches_can_be_cleared_unless_an_answer_is_being_sent_or_it_is_forbidden() {
    // Answers begin at once and end after ten minutes.
    let flags = "--ttft-ms 0 --itl-ms 600000 --hbm-tokens 1000 --dram-tokens 4096";
    let mock = Mock::start(&flags.split(' ').collect::<Vec<_>>());
    let content = ["hi"; 600].join(" ");
    let cached = || {
        let reply = mock.ask(CHAT, &chat(&content, 1), "");
        events(&body_of(&reply).unwrap()).pop().unwrap()["usage"]["prompt_tokens_details"]["cached_tokens"].clone()
    };
    let send = |path: &str, body: Value| mock.ask(path, &body, "");
    assert_eq!((cached(), cached()), (value!(0), value!(592)));
    let answered = send("/reset_prefix_cache", value!({}));
    assert!(
        answered.starts_with("HTTP/1.1 200 ") && answered.ends_with("{\"success\":true}"),
        "{answered}"
    );
    assert_eq!(cached(), 512, "DRAM has two chunks");
    send("/reset_prefix_cache", value!({}));
    assert!(
        send("/cache/clear", value!({"tier": "l1"})).ends_with("{\"status\":\"ok\",\"cleared\":{\"tier\":\"l1\"}}")
    );
    assert_eq!(cached(), 0);
    // The first token shows that the answer has begun.
    let mut stream = TcpStream::connect(&mock.address).unwrap();
    stream.write_all(&post(CHAT, &chat("hi", 2), "")).unwrap();
    let mut begun = BufReader::new(stream);
    while !{
        let mut line = String::new();
        begun.read_line(&mut line).unwrap();
        line.contains(" word")
    } {}
    assert!(send("/reset_prefix_cache", value!({})).ends_with("{\"success\":false}"));
    assert_eq!(cached(), 592);
    let mock = Mock::start(&["--no-reset"]);
    for path in ["/reset_prefix_cache", "/cache/clear", "/flush_cache"] {
        assert!(mock.ask(path, &value!({}), "").starts_with("HTTP/1.1 404 "), "{path}");
    }
}
