//! rag-qa-quality: recorded runs of the reference again, and what differs on purpose.

use std::net::TcpStream;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::recorded::{chats, command, golden, is_chat, own_codes};
use super::runs::code;
use crate::support::script::{After, ScriptServer, begin_stream, chunk, done, plain_answer};
use crate::support::{Dir, report, stderr, stdout};

/// The codes of the warnings that only this workload has.
const CODES: [&str; 5] = [
    "chat-prefix",
    "unaligned-blocks",
    "unparsed-answers",
    "repeated-ids",
    "little-reuse",
];
const RESULTS: &str = "OUT_DIR/rag_qa_quality.json";

/// An answer of these pieces: texts, or whole deltas.
fn answer(stream: &mut TcpStream, pieces: &[Value], cached: Option<u64>) {
    begin_stream(stream);
    let mut send = |event: Value| chunk(stream, format!("data: {event}\n\n").as_bytes());
    let choice = |delta: &Value| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]});
    send(choice(&json!({"role": "assistant"})));
    for piece in pieces {
        match piece {
            Value::String(text) => send(choice(&json!({"content": text}))),
            delta => send(choice(delta)),
        }
    }
    let mut usage = json!({"prompt_tokens": 200, "completion_tokens": pieces.len()});
    if let Some(cached) = cached {
        usage["prompt_tokens_details"] = json!({"cached_tokens": cached});
    }
    send(json!({"choices": [], "usage": usage}));
    done(stream);
}

/// The recorded engine: its answers to the measured requests, or ` word` for every token.
fn engine(case: &Value, cached: Option<u64>) -> ScriptServer {
    let answers = case["server"]["answers"].clone();
    let measured = AtomicUsize::new(0);
    ScriptServer::start(move |request, stream| {
        if !is_chat(request) {
            plain_answer(stream, "404 Not Found", "application/json", "{}");
            return After::Keep;
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let content = body["messages"][0]["content"].as_str().unwrap();
        let scripted = if content.ends_with("\nAnswer:") {
            answers[measured.fetch_add(1, Ordering::SeqCst).to_string()].clone()
        } else {
            Value::Null
        };
        match &scripted {
            Value::Array(pieces) => answer(stream, pieces, cached),
            Value::Object(refusal) => {
                let error = json!({"error": {"message": refusal["message"]}}).to_string();
                plain_answer(stream, &format!("{} X", refusal["status"]), "application/json", &error);
            }
            _ => {
                let tokens = body["max_tokens"].as_u64().unwrap() as usize;
                answer(stream, &vec![json!(" word"); tokens], cached);
            }
        }
        After::Keep
    })
}

struct Ran {
    output: Output,
    engine: ScriptServer,
    folder: Dir,
}

impl Ran {
    fn bodies(&self) -> Vec<String> {
        chats(&self.engine)
    }

    fn report(&self) -> Value {
        report(&self.output)
    }

    fn codes(&self) -> Vec<String> {
        own_codes(&self.output, &CODES)
    }

    /// The results file as text, with the times of the first tokens as their signs.
    fn results(&self, path: &str) -> String {
        let text = std::fs::read_to_string(self.folder.join(path)).unwrap();
        let lines = text
            .lines()
            .map(|line| match line.trim_start().strip_prefix("\"ttft\": ") {
                Some(ttft) => format!(
                    "      \"ttft\": {},\n",
                    if ttft.starts_with('-') {
                        ttft.trim_end_matches(',')
                    } else {
                        "1.0"
                    }
                ),
                None => format!("{line}\n"),
            });
        lines.collect()
    }
}

/// Runs a recorded command in a folder of its own, with its files. The names of folders are those of the record.
fn run(case: &Value, more: &[&str], cached: Option<u64>) -> Ran {
    let engine = engine(case, cached);
    let folder = Dir::new();
    for (name, text) in case["files"].as_object().unwrap() {
        std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        std::fs::write(folder.join(name), text.as_str().unwrap()).unwrap();
    }
    let mut command = command(case, &folder, &[("ENGINE_URL", engine.url())]);
    let output = command.args(more).output().unwrap();
    Ran { output, engine, folder }
}

/// A recorded results file as the reference writes it, with ours beside its digest.
fn theirs(case: &Value, prompt_fingerprint: &str) -> Value {
    let mut results = case["rag_results"].clone();
    results["prompt_fingerprint"] = prompt_fingerprint.into();
    for line in results["per_sample"].as_array_mut().unwrap() {
        if line["ttft"].as_f64().unwrap() >= 0.0 {
            line["ttft"] = json!(1.0);
        }
    }
    results
}

/// The prompt fingerprints are those of CPython for the recorded prompts. Section and banner were recorded in two of the runs.
#[test]
fn recorded_runs_have_the_references_requests_results_and_section() {
    let texts = ["report_section", "banner"];
    for (number, fingerprint, recorded) in [
        (1, "0c0e15934c9da708", &[][..]),
        (2, "d6106ed21342fa65", &[]),
        (3, "2e5a8325c6d80bb9", &texts),
        (4, "6b8883f7a1f448a6", &texts),
    ] {
        let case = golden(&format!("rag-qa-quality-{number}.json"));
        let ran = run(&case, &[], None);
        let said = stderr(&ran.output);
        assert_eq!(json!(code(&ran.output)), case["exit_code"], "{number}: {said}");
        let requests = case["requests"].as_array().unwrap().iter();
        let requests: Vec<&str> = requests.map(|body| body.as_str().unwrap()).collect();
        assert_eq!(ran.bodies(), requests, "{number}");
        let path = case["rag_results_path"].as_str().unwrap_or(RESULTS);
        let ours = ran.results(path);
        let read: Value = serde_json::from_str(&ours).unwrap();
        assert_eq!(read, theirs(&case, fingerprint), "{number}");
        let shown = stdout(&ran.output);
        for key in recorded {
            let lines = case[*key].as_array().unwrap().iter();
            let lines: Vec<String> = lines.map(|line| plain(line.as_str().unwrap())).collect();
            assert!(lines.len() > 1, "{number} {key}");
            assert!(shown.contains(&lines.join("\n")), "{number} {key}: {shown}");
        }
        assert!(
            shown.contains(&format!("Prompt fingerprint: {fingerprint:>36}")),
            "{shown}"
        );
        let again = run(&case, &["--format", "json"], None);
        assert_eq!(again.codes(), ["unparsed-answers"], "{number}");
    }
}

/// A line without its colours.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').unwrap().1)
}

/// One after the other, each with the number of requests, the exit code and the files of the reference.
#[test]
fn recorded_outcomes_are_the_references() {
    let recorded = golden("engine-workload-cases.json");
    let cases = recorded["cases"].as_array().unwrap().iter();
    let cases = cases.filter(|case| case["args"].to_string().contains("--rag-") || case["case"] == "no dataset");
    let mut compared = 0;
    for case in cases {
        compared += 1;
        let name = case["case"].as_str().unwrap();
        let ran = run(case, &[], None);
        let said = stderr(&ran.output);
        assert_eq!(json!(code(&ran.output)), case["exit_code"], "{name}: {said}");
        let requests = match name {
            // The file is checked before the run.
            "rag-output into a folder name" => json!(0),
            _ => case["requests"].clone(),
        };
        assert_eq!(json!(ran.bodies().len()), requests, "{name}: {said}");
        for file in case["files_written"].as_array().unwrap() {
            assert!(ran.folder.join(file.as_str().unwrap()).exists(), "{name}: {file}");
        }
        let files = [
            RESULTS,
            "r.json",
            "OUT_DIR/bench_results.csv",
            "OUT_DIR/bench_summary.json",
        ];
        let written = files.iter().filter(|file| ran.folder.join(file).exists()).count();
        assert_eq!(
            json!(written),
            case["files_written"].as_array().unwrap().len(),
            "{name}"
        );
        assert_eq!(said.is_empty(), case["exit_code"] == 0, "{name}: {said}");
    }
    assert_eq!(compared, 24);
}

#[test]
fn what_does_not_go_with_it_is_refused_before_any_request() {
    let case = golden("rag-qa-quality-1.json");
    for (more, status, why) in [
        (
            &["--endpoint", "completions"][..],
            1,
            "--endpoint completions does not go with",
        ),
        (
            &["--extra-body", r#"{"chat_template_kwargs":{}}"#],
            2,
            "--extra-body has the key chat_template_kwargs, which --rag-template-kwargs sets too",
        ),
        (
            &["--rag-dataset", "hotpotqa"],
            1,
            "is not in the local Hugging Face cache, and nothing is downloaded; get it with: hf download",
        ),
    ] {
        let ran = run(&case, more, None);
        let said = stderr(&ran.output);
        assert_eq!(code(&ran.output), status, "{said}");
        assert!(said.contains(why), "{said}");
        assert!(ran.engine.seen().is_empty());
    }
}

/// Records that are left out are counted before the run, and passages that were not reused after it.
#[test]
fn records_and_passages_that_do_not_count_are_told() {
    let case = golden("rag-qa-quality-4.json");
    let ran = run(&case, &[], Some(3));
    let shown = stdout(&ran.output);
    let note = "Note: --rag-dataset: 4 of 9 records left out: 1 not an object, 1 without passages, 1 without a question, 1 \
                without answers";
    assert!(shown.contains(note), "{shown}");
    let ran = run(&case, &["--format", "json"], Some(3));
    assert_eq!(ran.codes(), ["unparsed-answers", "little-reuse"]);
    let ran = run(&case, &["--format", "json", "--no-warmup"], Some(3));
    assert_eq!(ran.codes(), ["unparsed-answers"]);
    assert_eq!(ran.bodies().len(), 5);
    assert_eq!(ran.report()["metrics"]["quality"]["parse_rate"], 0.6);
}

#[test]
fn a_known_name_is_read_from_the_local_cache() {
    let mut case = golden("rag-qa-quality-1.json");
    let text = case["files"]["qa.jsonl"].take();
    let cached = "hub/datasets--dgslibisey--MuSiQue";
    case["files"] = json!({
        format!("{cached}/refs/main"): "abc\n",
        format!("{cached}/snapshots/abc/musique_ans_v1.0_dev.jsonl"): text,
    });
    let ran = run(&case, &["--rag-dataset", "musique"], None);
    assert_eq!(code(&ran.output), 0, "{}", stderr(&ran.output));
    assert_eq!(json!(ran.bodies()), case["requests"]);
    let results: Value = serde_json::from_str(&ran.results(RESULTS)).unwrap();
    assert_eq!(results["config"]["dataset"], "musique");
}
