//! Runs on a machine without the model's files: words and counts come from the engine, or are made up.

use std::process::{Command, Output};

use serde_json::{Value, json as value};

use super::recorded::chats;
use super::runs::code;
use crate::support::mock::{Mock, body_of, served};
use crate::support::script::{After, ScriptServer, good_answer, plain_answer};
use crate::support::{Dir, bench, stderr, stdout};

const WORDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/engine/words-tokenizer");

#[test]
fn the_mock_answers_about_tokens_as_vllm_does() {
    let mock = Mock::start(&["--model", "tiny", "--max-model-len", "8192", "--tokenizer", WORDS]);
    let recorded: Value = serde_json::from_str(include_str!("../../golden/engine/tokenize-replies.json")).unwrap();
    let replies = recorded["replies"].as_array().unwrap();
    assert!(replies.len() > 10);
    for case in replies {
        let reply = mock.ask(case["path"].as_str().unwrap(), &case["request"], "");
        let status = format!("HTTP/1.1 {} ", case["status"]);
        assert!(reply.starts_with(&status), "{case}: {reply}");
        let answer: Value = serde_json::from_str(&body_of(&reply).unwrap()).unwrap();
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        if case["status"] == 200 {
            assert_eq!(keys(&answer), keys(&case["reply"]), "{case}");
        }
        // No text and no tokens are the same with any vocabulary.
        if case["reply"]["prompt"] == "" || case["reply"]["count"] == 0 {
            assert_eq!(answer, case["reply"], "{case}");
        }
    }
    let ids = value!({"prompt": "bet\n<|eos|>", "add_special_tokens": false});
    let ids: Value = serde_json::from_str(&body_of(&mock.ask("/tokenize", &ids, "")).unwrap()).unwrap();
    let text = mock.ask("/detokenize", &value!({"tokens": ids["tokens"]}), "");
    assert_eq!(body_of(&text).unwrap(), r#"{"prompt":"bet\n<|eos|>"}"#);
    let plain = Mock::start(&[]).ask("/detokenize", &value!({"tokens": [1]}), "");
    assert!(
        plain.starts_with("HTTP/1.1 404 ") && plain.contains("--tokenizer"),
        "{plain}"
    );
}

const PERMUTATOR: [&str; 8] = [
    "--workload",
    "long-doc-permutator",
    "--ldp-num-contexts",
    "3",
    "--ldp-context-length",
    "50",
    "--ldp-num-permutations",
    "4",
];
const TUNER: [&str; 8] = [
    "--workload",
    "prefix-suffix-tuner",
    "--psf-context-length",
    "400",
    "--psf-prefix-ratio",
    "0.6",
    "--psf-thrash",
    "12",
];

/// `engine` where no tokenizer is on this machine.
fn run(url: &str, folder: &Dir, flags: &[&[&str]]) -> Command {
    let mut command = bench();
    command.env("HF_HUB_CACHE", folder.path());
    command.args([
        "engine",
        "--engine-url",
        url,
        "--model",
        "m",
        "--tokens-per-gb-kvcache",
        "100",
    ]);
    command.args(["--no-certificate", "--output-dir"]).arg(folder.path());
    command.args(flags.concat());
    command
}

/// What is shown, without the line breaks of the report.
fn told(output: &Output) -> String {
    stdout(output).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An engine that answers about tokens as a mock does, and records what it is sent.
fn engine_of(mock: Mock) -> ScriptServer {
    ScriptServer::start(move |seen, stream| {
        let path = seen.head.split(' ').nth(1).unwrap();
        if path.ends_with("/chat/completions") {
            good_answer(stream, 1);
            return After::Keep;
        }
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        let reply = mock.ask(path, &body, "");
        let status = reply.split(' ').nth(1).unwrap();
        plain_answer(
            stream,
            &format!("{status} x"),
            "application/json",
            &body_of(&reply).unwrap(),
        );
        After::Keep
    })
}

fn with_tokenizer() -> ScriptServer {
    engine_of(Mock::start(&["--model", "m", "--tokenizer", WORDS]))
}

/// What goes out with the tokenizer's file, and what with the engine's tokenizer.
fn both(flags: &[&str]) -> [(Output, Vec<String>); 2] {
    [&["--tokenizer", WORDS][..], &[]].map(|more| {
        let (server, folder) = (with_tokenizer(), Dir::new());
        let output = run(server.url(), &folder, &[flags, more]).output().unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        (output, chats(&server))
    })
}

#[test]
fn words_from_the_engine_make_the_same_requests_as_those_of_the_file() {
    // The pause of the tuner's warmup is in the unit tests.
    let tuner = [&TUNER[..], &["--no-warmup"]].concat();
    for flags in [&PERMUTATOR[..], &tuner, &[&tuner[..], &["--exact-lengths"]].concat()] {
        let [(_, local), (output, remote)] = both(flags);
        assert!(local.len() >= 3 && local == remote, "{flags:?}");
        let told = told(&output);
        assert!(told.contains("Note: words from the engine's tokenizer ("), "{told}");
        assert!(!told.contains("made up") && !told.contains("made-up"), "{told}");
    }
}

/// The mock without a tokenizer file counts and does not decode.
#[test]
fn an_engine_that_only_counts_gets_made_up_words_of_exact_length() {
    let mock = Mock::start(&["--model", "m"]);
    let url = format!("http://{}", mock.address);
    let folder = Dir::new();
    let result = folder.join("result.json");
    let more = [
        "--ldp-system-prompt-length",
        "7",
        "--save",
        &format!("result={}", result.display()),
    ];
    let output = run(&url, &folder, &[&PERMUTATOR, &more]).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let told = told(&output);
    assert!(told.contains("cut to tokens that the engine counts"), "{told}");
    assert!(
        told.contains("Words are made up and lengths counted by the engine, so these are not LMCache's requests: ")
            && told.contains("/detokenize does not decode tokens: it answered 404"),
        "{told}"
    );
    let (_, log) = mock.end("-INT");
    // Three documents, two separators of two tokens, and seven of the system prompt; the chat costs five.
    let tokens: Vec<_> = served(&log)
        .skip(1)
        .map(|record| record["prompt_tokens"].clone())
        .collect();
    assert_eq!(tokens, vec![value!(150 + 4 + 7 + 5); 4]);
}

#[test]
fn without_any_tokenizer_requests_are_those_of_lmcache_0_5_2() {
    for fixture in [
        include_str!("../../golden/engine/v052-long-doc-permutator-1.json"),
        include_str!("../../golden/engine/v052-long-doc-permutator-2.json"),
    ] {
        let fixture: Value = serde_json::from_str(fixture).unwrap();
        let args = fixture["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap());
        let args: Vec<&str> = args.skip(2).collect();
        let server = ScriptServer::start(|seen, stream| {
            match seen.head.contains("/chat/completions ") {
                true => good_answer(stream, 1),
                false => plain_answer(stream, "404 Not Found", "application/json", "{}"),
            }
            After::Keep
        });
        let folder = Dir::new();
        let flags: Vec<&str> = args
            .iter()
            .map(|word| match *word {
                "ENGINE_URL" => server.url(),
                "OUT_DIR" => folder.path().to_str().unwrap(),
                word => word,
            })
            .filter(|word| *word != "-q")
            .collect();
        let mut command = bench();
        command
            .env("HF_HUB_CACHE", folder.path())
            .arg("engine")
            .args(flags)
            .arg("--no-certificate");
        let output = command.output().unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert_eq!(value!(chats(&server)), fixture["requests"]);
        let told = told(&output);
        assert!(
            told.contains("made-up words of 3 to 5 tokens; lengths are words"),
            "{told}"
        );
        assert!(
            told.contains("Words are made up, as in LMCache 0.5.2")
                && told.contains("/tokenize does not count tokens: it answered 404 Not Found")
                && told.contains("/detokenize does not decode tokens: it answered 404 Not Found"),
            "{told}"
        );
        command.arg("--exact-lengths");
        let refused = command.output().unwrap();
        assert!(
            code(&refused) == 1 && stderr(&refused).contains("--exact-lengths needs a tokenizer"),
            "{}",
            stderr(&refused)
        );
    }
}
