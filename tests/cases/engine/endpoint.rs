//! Where requests go and what is added to them: `--endpoint` and `--extra-body`.

use serde_json::Value;

use super::runs::{certified, code, engine, good};
use crate::support::mock::{Mock, served};
use crate::support::script::ScriptServer;
use crate::support::{Dir, bench, stderr, stdout};

#[test]
fn a_run_and_its_certificate_go_through_the_completions_endpoint() {
    let (mock, folder) = (Mock::start(&["--ttft-ms", "1", "--itl-ms", "1"]), Dir::new());
    let lines = folder.join("requests.jsonl");
    let more = [
        "--model",
        "mock-model",
        "--endpoint",
        "completions",
        "--format",
        "json",
        "--requests-jsonl",
    ];
    let more = [&more[..], &[lines.to_str().unwrap(), "--ldqa-max-output-length", "9"]].concat();
    let output = certified(&mock.address, &folder, &more).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let metrics = &report["metrics"];
    assert_eq!(metrics["results"]["successful"], 10);
    assert!(metrics["client"]["error_streams"].is_number(), "{}", metrics["client"]);
    let records = std::fs::read_to_string(lines).unwrap();
    for record in records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        assert_eq!(
            (&record["text_pieces"], &record["completion_tokens"]),
            (&9.into(), &9.into()),
            "{record}"
        );
    }
    let (_, log) = mock.end("-TERM");
    assert_eq!(served(&log).count(), 5 + 10, "warmup and questions");
    for line in served(&log) {
        assert_eq!(
            (&line["path"], &line["status"]),
            (&"/v1/completions".into(), &200.into())
        );
    }
}

#[test]
fn extra_fields_and_the_endpoint_are_in_every_body_and_in_the_saved_settings() {
    let (server, folder) = (ScriptServer::start(good), Dir::new());
    let saved = folder.join("result.json");
    let save = format!("result={}", saved.display());
    let more = [
        "--endpoint",
        "completions",
        "--extra-body",
        r#"{"top_p":1e0,"seed":7}"#,
        "--save",
        &save,
    ];
    let output = engine(server.url(), &folder, &more).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let seen = server.seen();
    assert_eq!(seen.len(), 15, "five of the warmup, then ten");
    for request in &seen {
        assert!(
            request.head.starts_with("POST /v1/completions HTTP/1.1\r\n"),
            "{}",
            request.head
        );
        let body = std::str::from_utf8(&request.body).unwrap();
        assert!(
            body.starts_with(r#"{"model":"m","stream":true,"prompt":"Document "#),
            "{body}"
        );
        assert!(body.ends_with(r#","temperature":0.0,"top_p":1e0,"seed":7}"#), "{body}");
    }
    let result: Value = serde_json::from_slice(&std::fs::read(saved).unwrap()).unwrap();
    let settings = &result["settings"];
    assert_eq!(settings["endpoint"], "completions");
    assert_eq!(settings["extra-body"], r#"{"top_p":1e0,"seed":7}"#);
}

#[test]
fn a_field_that_is_set_elsewhere_is_a_usage_error() {
    let line = [
        "engine",
        "--engine-url",
        "u",
        "--model",
        "m",
        "--workload",
        "random-prefill",
    ];
    for (more, why) in [
        (
            &["--extra-body", r#"{"stream":false}"#][..],
            "argument --extra-body: the key stream cannot be given here",
        ),
        (&["--extra-body", "[]"], "is no JSON object"),
        (
            &["--ignore-eos", "--extra-body", r#"{"ignore_eos":false}"#],
            "--extra-body has the key ignore_eos, which --ignore-eos sets too; leave one of them out",
        ),
    ] {
        let output = bench()
            .args(line)
            .args(["--tokens-per-gb-kvcache", "100"])
            .args(more)
            .output()
            .unwrap();
        assert_eq!((code(&output), stdout(&output).as_str()), (2, ""));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
}
