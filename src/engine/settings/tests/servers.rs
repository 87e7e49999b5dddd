//! Settings looked up from servers, and servers that do not supply them.

use super::*;

#[test]
fn servers_that_do_not_supply_a_setting_are_named() {
    let closed = closed_port();
    let url = format!("http://127.0.0.1:{closed}");
    let line = [
        "--engine-url",
        &url,
        "--workload",
        "random-prefill",
        "--tokens-per-gb-kvcache",
        "1",
    ];
    let refused = refusal(&line);
    assert!(
        refused.contains(&format!("Failed to fetch models from {url}/v1/models: ")),
        "{refused}"
    );
    let unauthorised = server("401 Unauthorized", r#"{"error":{"message":"bad key"}}"#);
    let url = format!("http://127.0.0.1:{unauthorised}");
    let refused = refusal(&[
        "--engine-url",
        &url,
        "--workload",
        "random-prefill",
        "--tokens-per-gb-kvcache",
        "1",
    ]);
    assert!(refused.contains("answered 401 Unauthorized (bad key)"), "{refused}");
    assert!(!refused.contains("sk-secret"));
    let empty = server("200 OK", r#"{"data":[]}"#);
    let url = format!("127.0.0.1:{empty}");
    let refused = refusal(&[
        "--engine-url",
        &url,
        "--workload",
        "random-prefill",
        "--tokens-per-gb-kvcache",
        "1",
    ]);
    assert!(
        refused.contains(&format!(
            "No models returned by http://{url}/v1/models; pass --model explicitly"
        )),
        "{refused}"
    );
    let status = server(
        "200 OK",
        r#"{"cache_context_meta":{"0":{"model_name":"m","kv_cache_layout":{"cache_size_per_token":131072}}}}"#,
    );
    let lmcache = format!("127.0.0.1:{status}/");
    let line = [
        "--engine-url",
        "u",
        "--model",
        "m",
        "--workload",
        "random-prefill",
        "--lmcache-url",
        &lmcache,
    ];
    assert_eq!(config_of(resolved(&line, "").0).0.tokens_per_gb_kvcache, 8192);
}

/// The port of an engine and LMCache server in one, with a response for each path.
fn by_path(models: &'static str, status: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let head = head_of(&mut stream);
            let answer = if head.starts_with("GET /v1/models ") {
                models
            } else {
                status
            };
            answer_with(&mut stream, "200 OK", answer);
        }
    });
    port
}

/// LMCache names a model by the path it was loaded from, the engine by the name it is served under.
#[test]
fn a_served_alias_is_looked_up_under_its_root() {
    let port = by_path(
        r#"{"data":[{"id":"served","root":"/models/org/name"},{"id":"stranger","root":"/models/z"}]}"#,
        r#"{"cache_context_meta":{"0":{"model_name":"/models/org/name","kv_cache_layout":{"cache_size_per_token":131072}}}}"#,
    );
    let url = format!("HTTP://127.0.0.1:{port}");
    let line = [
        "--engine-url",
        &url,
        "--workload",
        "random-prefill",
        "--lmcache-url",
        &url,
        "--model",
        "served",
    ];
    for line in [&line[..6], &line[..]] {
        let (config, _) = config_of(resolved(line, "").0);
        assert_eq!((config.model.as_str(), config.tokens_per_gb_kvcache), ("served", 8192));
    }
    let refused = refusal(&[&line[..7], &["stranger"]].concat());
    assert!(
        refused.contains("nor is /models/z") && refused.contains("give --tokens-per-gb-kvcache"),
        "{refused}"
    );
}
