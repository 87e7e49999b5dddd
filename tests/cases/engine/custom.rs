//! The workload custom: prompts from a file, in its order, with sessions and delays.

use std::process::Output;
use std::sync::{Arc, Condvar, Mutex};

use serde_json::Value;

use super::runs::{code, csv_rows, good};
use crate::support::mock::{Mock, served};
use crate::support::script::ScriptServer;
use crate::support::{Dir, bench, report, stderr, stdout, warning_codes};

/// Runs the workload with a file of this text.
fn custom(url: &str, folder: &Dir, text: &[u8], more: &[&str]) -> Output {
    let file = folder.join("prompts.jsonl");
    std::fs::write(&file, text).unwrap();
    let mut command = bench();
    command.args([
        "engine",
        "--engine-url",
        url,
        "--workload",
        "custom",
        "--no-certificate",
    ]);
    command
        .arg("--prompts")
        .arg(file)
        .arg("--output-dir")
        .arg(folder.path());
    command.args(more).output().unwrap()
}

fn contents(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap();
    body["messages"][0]["content"].as_str().unwrap().to_owned()
}

#[test]
fn prompts_go_out_as_given_and_lines_are_in_the_results() {
    let (server, folder) = (ScriptServer::start(good), Dir::new());
    let text = r#"{"messages":[{"role":"system", "content":"s"},{"role":"user","content":"u"}],"max_tokens":7}

{"prompt":"p\u00e9","output_tokens":3,"category":"c"}
{"prompt_length":12}
"#;
    let more = [
        "--model",
        "m",
        "--custom-max-tokens",
        "5",
        "--extra-body",
        r#"{"top_p":0.5}"#,
    ];
    let output = custom(server.url(), &folder, text.as_bytes(), &more);
    assert_eq!(
        (code(&output), stderr(&output).as_str()),
        (0, ""),
        "{}",
        stdout(&output)
    );
    let sent: Vec<String> = server
        .seen()
        .into_iter()
        .map(|seen| String::from_utf8(seen.body).unwrap())
        .collect();
    let end = r#""stream_options":{"include_usage":true},"temperature":0.0,"top_p":0.5}"#;
    assert_eq!(
        sent,
        [
            r#"[{"role":"system", "content":"s"},{"role":"user","content":"u"}],"max_tokens":7"#,
            "[{\"role\":\"user\",\"content\":\"p\u{e9}\"}],\"max_tokens\":3",
            r#"[{"role":"user","content":"Request 00000004: hi hi"}],"max_tokens":5"#,
        ]
        .map(|middle| format!(r#"{{"model":"m","stream":true,"messages":{middle},{end}"#))
    );
    let rows = csv_rows(&folder);
    let ids: Vec<&str> = rows.iter().map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(ids, ["line_1", "line_3", "line_4"]);
    let shown = stdout(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains("Keys not used") && shown.contains("category"), "{shown}");
    assert!(
        shown.contains("the lengths of 1 prompts or answers are counted in words"),
        "{shown}"
    );
}

/// The answer to b is held back until the second request of a has come, which is due after a delay: nothing else ends then.
#[test]
fn a_delay_ends_while_other_requests_are_still_in_flight() {
    let came = Arc::new((Mutex::new(false), Condvar::new()));
    let seen = Arc::clone(&came);
    let server = ScriptServer::start(move |request, stream| {
        match contents(&request.body).as_str() {
            "a2" => {
                *seen.0.lock().unwrap() = true;
                seen.1.notify_all();
            }
            "b" => drop(seen.1.wait_while(seen.0.lock().unwrap(), |came| !*came).unwrap()),
            _ => {}
        }
        good(request, stream)
    });
    let folder = Dir::new();
    let lines = folder.join("requests.jsonl");
    let text = br#"{"prompt":"a1","max_tokens":4,"session":"a"}
{"prompt":"b","max_tokens":4,"session":"b"}
{"prompt":"a2","max_tokens":4,"session":"a","delay_s":0.2}
{"prompt":"b2","max_tokens":4,"session":"b"}
"#;
    let more = [
        "--model",
        "m",
        "--custom-num-inflight-requests",
        "8",
        // Where the second request of a never comes.
        "--first-token-timeout-s",
        "20",
        "--requests-jsonl",
        lines.to_str().unwrap(),
    ];
    let output = custom(server.url(), &folder, text, &more);
    assert_eq!(
        (code(&output), stderr(&output).as_str()),
        (0, ""),
        "{}",
        stdout(&output)
    );
    let order: Vec<String> = server.seen().iter().map(|seen| contents(&seen.body)).collect();
    assert_eq!(&order[2..], ["a2", "b2"], "{order:?}");
    let records = std::fs::read_to_string(lines).unwrap();
    let records: Vec<Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |id: &str| records.iter().find(|record| record["request_id"] == id).unwrap();
    let (first, second) = (of("line_1"), of("line_3"));
    let ended_s = first["dispatched_unix_s"].as_f64().unwrap() + first["finished_ms"].as_f64().unwrap() / 1e3;
    let waited_s = second["dispatched_unix_s"].as_f64().unwrap() - ended_s;
    assert!(waited_s >= 0.199, "{waited_s} s after the answer");
}

#[test]
fn sharegpt_runs_against_the_mock_with_its_answers_lengths() {
    let (mock, folder) = (Mock::start(&["--ttft-ms", "1", "--itl-ms", "1"]), Dir::new());
    let text =
        br#"[{"id":"x","conversations":[{"from":"human","value":"one two three"},{"from":"gpt","value":"a b c d"}]},
 {"id":"y","conversations":[{"from":"human","value":"q"}]},
 {"id":"z","conversations":[{"from":"human","value":"four"},{"from":"gpt","value":"e f"}]}]"#;
    let output = custom(&mock.address, &folder, text, &["--format", "json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report = report(&output);
    let codes = warning_codes(&report["metrics"]);
    assert!(
        codes.contains(&"skipped-prompts") && codes.contains(&"prompt-lengths"),
        "{codes:?}"
    );
    let (_, log) = mock.end("-TERM");
    let lengths = served(&log).map(|line| line["completion_tokens"].as_u64().unwrap());
    let answers: Vec<u64> = lengths.collect();
    assert_eq!(answers, [4, 2]);
    assert_eq!(csv_rows(&folder).len(), 2);
}

#[test]
fn a_bad_line_ends_the_run_before_anything_is_sent() {
    let (server, folder) = (ScriptServer::start(good), Dir::new());
    let text = b"{\"prompt\":\"a\",\"max_tokens\":1}\n{\"prompt\":\"b\"}\n";
    let output = custom(server.url(), &folder, text, &["--model", "m"]);
    assert_eq!(code(&output), 1);
    let said = stderr(&output);
    assert!(
        said.contains("prompts.jsonl, line 2: it has no length of the answer"),
        "{said}"
    );
    assert!(said.contains("--custom-max-tokens"), "{said}");
    assert!(server.seen().is_empty());
}
