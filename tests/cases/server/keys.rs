//! Keys for the HTTP API of the cache server, of `server` and of `engine --lmcache-url`: sent there and nowhere else, and never
//! shown.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::mock::Mock;
use crate::support::mock_server::MockServer;
use crate::support::s3_server::S3Server;
use crate::support::{Dir, bench, json, stderr, stdout, warning_codes};

const KEY: &str = "very-s3cret";
const DRIVEN: [&str; 2] = ["--transfer-mode", "lmcache_driven"];

/// A cache server that asks for `KEY`, or for another key that is in a file too.
fn locked(dir: &Dir) -> MockServer {
    fs::write(dir.join("key"), format!("{KEY}\n")).unwrap();
    fs::write(dir.join("next"), "another\n").unwrap();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    MockServer::start(&["--api-key-file", &path("next"), "--api-key-file", &path("key")])
}

fn warning<'a>(report: &'a Value, code: &str) -> &'a str {
    let all = report["metrics"]["warnings"].as_array().unwrap();
    let found = all.iter().find(|warning| warning["code"] == code);
    found.unwrap_or_else(|| panic!("no {code} in {all:?}"))["text"]
        .as_str()
        .unwrap()
}

fn save(path: &Path) -> String {
    format!("result={}", path.display())
}

fn assert_hidden(output: &Output, saved: &str) {
    for text in [stdout(output), stderr(output), saved.to_owned()] {
        assert!(!text.contains(KEY), "{text}");
    }
}

#[test]
fn with_its_key_a_server_is_asked_for_its_checksums() {
    let dir = Dir::new();
    let server = locked(&dir);
    for (variable, value) in [
        ("LMCACHE_API_KEY", KEY.to_owned()),
        ("LMCACHE_HTTP_API_KEY", KEY.to_owned()),
        ("LMCACHE_API_KEY_FILE", dir.join("key").display().to_string()),
        ("LMCACHE_HTTP_API_KEY_FILE", dir.join("next").display().to_string()),
    ] {
        let saved = dir.join("result.json");
        let mut command = server.client();
        command
            .args(DRIVEN)
            .env(variable, value)
            .arg("--save")
            .arg(save(&saved));
        let (output, report) = json(&mut command);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(report["metrics"]["verify"]["server_chunks_compared"], 8, "{variable}");
        assert_eq!(report["metrics"]["server"]["release"], "0.5.6");
        assert!(!warning_codes(&report["metrics"]).contains(&"no-http"), "{report}");
        assert_hidden(&output, &fs::read_to_string(&saved).unwrap());
        fs::remove_file(saved).unwrap();
    }
}

#[test]
fn without_its_key_a_run_passes_and_says_what_to_set() {
    let dir = Dir::new();
    let server = locked(&dir);
    let refused = "(the server answered 401: Invalid or missing API key)";
    let replies = "so the server was recognised by its ZMQ replies alone";
    let url = &server.http_url;
    for (key, want) in [
        (
            "",
            format!(
                "{url} wants an API key {refused}, {replies}; set LMCACHE_API_KEY, or LMCACHE_API_KEY_FILE to a file with it"
            ),
        ),
        (
            "very-s3cret-no-more",
            format!("{url} refused the API key {refused}, {replies}; check the key in LMCACHE_API_KEY"),
        ),
        (
            "Bearer very-s3cret",
            format!(
                "{url} refused the API key {refused}, {replies}; LMCACHE_API_KEY begins with Bearer, which is put in front of it \
                 once more; make it the key alone"
            ),
        ),
    ] {
        let (output, report) = json(server.client().args(DRIVEN).env("LMCACHE_API_KEY", key));
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(warning(&report, "no-http"), want);
        assert!(warning(&report, "no-server-checksums").contains("could not be used"));
        assert_eq!(report["metrics"]["verify"]["server_chunks_compared"], 0);
        assert_eq!(report["metrics"]["verify"]["chunks_compared"], 4);
        assert_hidden(&output, "");
    }
}

#[test]
fn a_key_that_cannot_be_used_ends_a_run_before_anything_is_sent() {
    let dir = Dir::new();
    fs::write(dir.join("empty"), "\n").unwrap();
    let empty = dir.join("empty").display().to_string();
    // Nothing listens there, so a connection would be the error.
    let nowhere = [
        "server",
        "--mode",
        "cpu",
        "--rpc-url",
        "tcp://127.0.0.1:1",
        "--url",
        "http://127.0.0.1:1",
    ];
    for (variable, value, code, why) in [
        (
            "LMCACHE_API_KEY",
            "very-s3cret\n",
            2,
            "LMCACHE_API_KEY ends in a line break",
        ),
        (
            "LMCACHE_API_KEY",
            "very\u{1}-s3cret",
            2,
            "LMCACHE_API_KEY has a control character at place 5",
        ),
        (
            "LMCACHE_HTTP_API_KEY",
            "very-s3cr\u{e9}t",
            2,
            "LMCACHE_HTTP_API_KEY has a character beyond ASCII at place 10",
        ),
        (
            "LMCACHE_API_KEY_FILE",
            &empty,
            1,
            "cannot be used: it is empty; name a file with the key in one line",
        ),
        ("LMCACHE_API_KEY_FILE", "/nowhere", 1, "cannot be used: No such file"),
    ] {
        let mut engine = engine_of("http://127.0.0.1:1", "http://127.0.0.1:1", &dir);
        for command in [bench().args(nowhere), &mut engine] {
            let output = command.env(variable, value).output().unwrap();
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(code), "{said}");
            assert!(said.contains(why) && !said.contains("s3cr"), "{said}");
        }
    }
    let server = MockServer::start(&[]);
    let mut without_http = server.client();
    without_http.args(["--url", ""]).env("LMCACHE_API_KEY_FILE", "/nowhere");
    assert!(without_http.output().unwrap().status.success(), "no HTTP, no key");
}

/// A server may send the key back in any answer.
#[test]
fn a_key_that_the_server_sends_back_is_not_shown() {
    for (status, body) in [
        ("200 OK", format!("\"release {KEY}\"")),
        ("200 OK", format!("[\"{KEY}\"]")),
        ("200 OK", format!("<title>{KEY}</title>")),
        ("401 Unauthorized", format!("{{\"detail\": \"no {KEY}\"}}")),
        ("403 Forbidden", format!("no {KEY}")),
        ("500 Oops", "{\"detail\": \"\\u0076ery-s3cret\"}".to_owned()),
        (&format!("302 Found\r\nlocation: /{KEY}"), String::new()),
    ] {
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let web = S3Server::scripted(move |_, _| Some(answer.clone()));
        let server = MockServer::start(&[]);
        let url = format!("http://127.0.0.1:{}", web.port);
        let mut command = server.client();
        let saved = Dir::new();
        command.args(["--url", &url]).env("LMCACHE_API_KEY", KEY);
        let (output, report) = json(command.args(DRIVEN).arg("--save").arg(save(&saved.join("result.json"))));
        assert!(output.status.success(), "{}", stderr(&output));
        assert_hidden(&output, &fs::read_to_string(saved.join("result.json")).unwrap());
        let shown = report["metrics"]["warnings"].to_string() + &report["metrics"]["server"].to_string();
        assert!(shown.contains("***"), "{status}: {report}");
        let asked = web.seen("GET");
        assert_eq!(asked[0].headers["authorization"], format!("Bearer {KEY}"));
    }
}

/// `engine` with the sizes of its own prompts. More flags can be added.
fn engine_of(url: &str, lmcache_url: &str, dir: &Dir) -> Command {
    let mut command = bench();
    command.args([
        "engine",
        "--engine-url",
        url,
        "--lmcache-url",
        lmcache_url,
        "--model",
        "mock-model",
    ]);
    command.args([
        "--workload",
        "long-doc-qa",
        "--kv-cache-volume",
        "1",
        "--ldqa-document-length",
        "40",
    ]);
    command.args(["--no-interactive", "--no-certificate", "--no-csv"]);
    command.env("OPENAI_API_KEY", "sk-of-the-engine");
    command.arg("--output-dir").arg(dir.join("out"));
    command
}

#[test]
fn each_server_of_an_engine_run_gets_its_own_key() {
    let dir = Dir::new();
    let engine = Mock::start(&["--ttft-ms", "0", "--itl-ms", "0", "--api-key", "sk-of-the-engine"]);
    let url = format!("http://{}", engine.address);
    let layout = r#"{"cache_context_meta": {"0": {"model_name": "mock-model", "world_size": 1,
        "kv_cache_layout": {"cache_size_per_token": 20000000}}}}"#;
    let cache = S3Server::scripted(move |request, _| {
        let body = if request.target == "/status" {
            layout
        } else {
            "lmcache_mp_lookup_requested_tokens_total 7\n"
        };
        let length = body.len();
        Some(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ))
    });
    let lmcache_url = format!("http://127.0.0.1:{}", cache.port);
    let saved = dir.join("result.json");
    let mut command = engine_of(&url, &lmcache_url, &dir);
    let (output, report) = json(command.env("LMCACHE_API_KEY", KEY).arg("--save").arg(save(&saved)));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(report["metrics"]["prompt_sources"]["lmcache_looked_up"], 0, "{report}");
    assert_hidden(&output, &fs::read_to_string(saved).unwrap());
    let asked = cache.seen("GET");
    let targets: Vec<&str> = asked.iter().map(|request| request.target.as_str()).collect();
    let distinct: BTreeSet<&str> = targets.into_iter().collect();
    assert_eq!(distinct, BTreeSet::from(["/config", "/metrics", "/status"]));
    for request in asked {
        assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"));
    }
}

/// The names of the models that it knows are listed for a model that it does not know.
#[test]
fn a_key_among_the_models_of_the_cache_server_is_not_shown() {
    let dir = Dir::new();
    let status = format!(r#"{{"cache_context_meta": {{"0": {{"model_name": "{KEY}"}}}}}}"#);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{status}",
        status.len()
    );
    let cache = S3Server::scripted(move |_, _| Some(answer.clone()));
    let mut command = engine_of("http://127.0.0.1:1", &format!("http://127.0.0.1:{}", cache.port), &dir);
    let output = command.env("LMCACHE_API_KEY", KEY).output().unwrap();
    assert_hidden(&output, "");
    assert!(stderr(&output).contains("Available: ***;"), "{}", stderr(&output));
}

#[test]
fn an_engine_run_says_that_the_cache_server_wants_a_key() {
    let dir = Dir::new();
    let server = locked(&dir);
    let engine = Mock::start(&["--ttft-ms", "0", "--itl-ms", "0"]);
    let url = format!("http://{}", engine.address);
    let asked = |key: &str| {
        let mut command = engine_of(&url, &server.http_url, &dir);
        let output = command.env("LMCACHE_API_KEY", key).output().unwrap();
        assert_hidden(&output, "");
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        stderr(&output)
    };
    let status = format!(
        "Cannot use the LMCache server at {}/status: it answered 401 Unauthorized (Invalid or missing API key)",
        server.http_url
    );
    let set = "the LMCache server wants a key: set LMCACHE_API_KEY, or LMCACHE_API_KEY_FILE to a file with it";
    assert!(asked("").starts_with(&format!("{status}; {set}")), "{}", asked(""));
    let check = format!("{status}; check the key in LMCACHE_API_KEY, or give --tokens-per-gb-kvcache");
    assert!(asked("wrong").starts_with(&check), "{}", asked("wrong"));
    // With the key it is known that no model is loaded there.
    assert!(asked(KEY).starts_with("No model info returned"), "{}", asked(KEY));
    let mut command = engine_of(&url, &server.http_url, &dir);
    let (_, report) = json(command.args(["--tokens-per-gb-kvcache", "40"]));
    let told = warning(&report, "no-counters");
    assert!(told.contains(&server.http_url) && told.contains(set), "{told}");
}

#[test]
fn the_built_in_server_answers_as_the_real_one_was_captured() {
    let dir = Dir::new();
    let server = locked(&dir);
    let ask = |path: &str, header: Option<(&str, &str)>| {
        let config = ureq::get(format!("{}{path}", server.http_url))
            .config()
            .http_status_as_error(false)
            .build();
        let config = header
            .into_iter()
            .fold(config, |request, (name, value)| request.header(name, value));
        let mut answer = config.call().unwrap();
        let wants = answer
            .headers()
            .get("www-authenticate")
            .map(|value| value.to_str().unwrap().to_owned());
        (
            answer.status().as_u16(),
            wants,
            answer.body_mut().read_to_string().unwrap(),
        )
    };
    let refusal = (
        401,
        Some("Bearer".to_owned()),
        r#"{"detail":"Invalid or missing API key"}"#.to_owned(),
    );
    for path in ["/lmc_version", "/status", "/metrics", "/cache/checksums"] {
        assert_eq!(ask(path, None), refusal, "{path}");
        assert_eq!(ask(path, Some(("authorization", "Bearer wrong"))), refusal, "{path}");
    }
    for path in ["/", "/healthcheck"] {
        assert_eq!(ask(path, None).0, 200);
    }
    assert_eq!(ask("/lmc_version", Some(("X-LMCache-API-Key", KEY))).0, 200);
    assert_eq!(ask("/lmc_version", Some(("authorization", "Bearer another"))).0, 200);
    for (text, why) in [("", "it is empty"), ("a\nb\n", "it has several lines")] {
        let path = dir.join("bad");
        fs::write(&path, text).unwrap();
        let output = bench()
            .args(["mock", "server", "--api-key-file"])
            .arg(&path)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
}

/// Every path and header that was tried at a real server with a key.
#[test]
fn the_mock_opens_and_refuses_as_captured() {
    let capture = include_str!("../../golden/server/http-v0.5.7rc2.json");
    let capture: Value = serde_json::from_str(capture).unwrap();
    let tried = capture["server with --api-key-file (key s3cret)"].as_object().unwrap();
    let dir = Dir::new();
    let path = dir.join("key");
    fs::write(&path, "s3cret\n").unwrap();
    let server = MockServer::start(&["--release", "0.5.7rc2", "--api-key-file", path.to_str().unwrap()]);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut refused = 0;
    for (name, answer) in tried {
        let (request, sent) = name.split_once(", ").unwrap();
        let place = request.strip_prefix("GET ").unwrap();
        let mut get = agent.get(format!("{}{place}", server.http_url));
        for header in sent.split(", ") {
            get = match header {
                "no key" => get,
                "Bearer" => get.header("authorization", "Bearer s3cret"),
                "wrong Bearer" => get.header("authorization", "Bearer other"),
                "Basic" => get.header("authorization", "Basic czNjcmV0OnMzY3JldA=="),
                _ => get.header("x-lmcache-api-key", "s3cret"),
            };
        }
        let mut reply = get.call().unwrap();
        if answer["status"] == 200 {
            // The mock does not have every page.
            assert!([200, 404].contains(&reply.status().as_u16()), "{name}: {reply:?}");
            continue;
        }
        refused += 1;
        assert_eq!(reply.status().as_u16(), 401, "{name}");
        assert_eq!(reply.headers()["www-authenticate"], "Bearer", "{name}");
        assert_eq!(
            reply.body_mut().read_to_string().unwrap(),
            answer["body"].as_str().unwrap(),
            "{name}"
        );
    }
    assert_eq!(refused, 12);
}
