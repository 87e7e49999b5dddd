//! Requests against recorded ones of the reference, byte for byte and in order, in virtual time.

use std::collections::VecDeque;

use serde_json::Value;

use super::*;
use crate::engine::ask::discover;
use crate::engine::flags::TABLE;
use crate::engine::testing::finished as finished_request;
use crate::engine::testing::{given, golden};
use crate::engine::tokens::library::Library;
use crate::engine::tokens::testing::{Form, counting, through_engine};

/// Settings of a recorded command line. The models TINY and WORDS stand for folders with tokenizers.
fn recorded(fixture: &Value) -> (EngineConfig, Tokenizer) {
    let words: Vec<&str> = fixture["args"].as_array().unwrap()[2..]
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    let args = given(&words).or(TABLE.presets());
    let model = args.model.clone().unwrap();
    let status = fixture["server"].get("status").filter(|_| args.lmcache_url.is_some());
    let looked_up = || discover::from_status(status.unwrap(), &model, || Ok(Vec::new())).unwrap();
    let tokens_per_gb = args.tokens_per_gb_kvcache.unwrap_or_else(looked_up);
    let cache = status.map(discover::cache_facts).unwrap_or_default();
    let config = EngineConfig::resolve(&args, model, tokens_per_gb, cache).unwrap();
    let folder = match config.model.as_str() {
        "TINY" => Some("tiny-tokenizer"),
        "WORDS" => Some("words-tokenizer"),
        _ => None,
    };
    let tokenizer = folder.map(|folder| Tokenizer::from_folder(&golden(folder)).unwrap());
    (config, tokenizer.unwrap_or(Tokenizer::Words(None)))
}

/// What is sent in a phase where each answer takes `answer` and has " word" for every token.
fn sent(workload: &mut dyn Workload, phase: Phase, answer: Duration) -> Vec<Request> {
    let mut now = Duration::ZERO;
    let mut in_flight: VecDeque<(Duration, Finished)> = VecDeque::new();
    let mut requests = Vec::new();
    workload.begin(phase);
    loop {
        let mut finished = Vec::new();
        while in_flight.front().is_some_and(|(ends, _)| *ends <= now) {
            finished.extend(in_flight.pop_front().map(|(_, finished)| finished));
        }
        match workload.step(now, &finished) {
            Step::Send(request) => {
                let text = " word".repeat(request.max_tokens as usize);
                let text = if request.wants_text { text } else { String::new() };
                let ended = finished_request(request.id.clone(), text);
                in_flight.push_back((now + answer, ended));
                requests.push(request);
            }
            Step::SleepUntil(then) => {
                assert!(then > now, "time must go on");
                now = then;
            }
            Step::AwaitUntil(_) => unreachable!("no workload of the reference has delays"),
            Step::Await => now = in_flight.front().expect("something to wait for").0,
            Step::Done => return requests,
        }
    }
}

/// A text without its colours.
fn plain(text: String) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').unwrap().1)
}

fn fixture(name: &str) -> Value {
    let path = golden(&format!("{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn check(name: &str) {
    let fixture = fixture(name);
    let (config, tokenizer) = recorded(&fixture);
    check_with(name, &fixture, &config, &tokenizer);
}

/// The same where the engine has the tokenizer and this machine has none.
fn check_through_engine(name: &str) {
    let fixture = fixture(name);
    let (config, tokenizer) = recorded(&fixture);
    let file = tokenizer.local().expect("a fixture with a tokenizer").path();
    let library = Library::read(&std::fs::read(file).unwrap()).unwrap();
    check_with(name, &fixture, &config, &through_engine(library, Form::Vllm));
}

fn check_with(name: &str, fixture: &Value, config: &EngineConfig, tokenizer: &Tokenizer) {
    let mut workload = create(config, tokenizer).unwrap();
    let plan = workload.plan();
    if let Some(banner) = fixture["banner"].as_array() {
        let lines = banner.iter().map(|line| line.as_str().unwrap());
        assert_eq!(
            workload.banner().render(false),
            plain(lines.collect::<Vec<_>>().join("\n"))
        );
    }
    let answer = Duration::from_millis(1);
    let mut requests = if config.warmup {
        sent(workload.as_mut(), Phase::Warmup, answer)
    } else {
        Vec::new()
    };
    assert_eq!(
        requests.len() as u64,
        fixture["warmup_requests"].as_u64().unwrap(),
        "{name}"
    );
    let measured = sent(workload.as_mut(), Phase::Measured, answer);
    let ids: Vec<&str> = measured.iter().map(|request| request.id.as_str()).collect();
    let expected: Vec<&str> = fixture["request_ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap())
        .collect();
    assert_eq!(ids, expected, "{name}");
    assert_eq!(plan.requests, measured.len() as u64);
    assert_eq!(plan.tokens_per_answer, measured[0].max_tokens);
    // The tuner's random texts are not all of one size.
    let bytes = measured[0].body.len() as u64;
    assert!(
        plan.body_bytes.abs_diff(bytes) < bytes / 8,
        "{} is not about {bytes}",
        plan.body_bytes
    );
    requests.extend(measured);
    let recorded = fixture["requests"].as_array().unwrap().iter();
    let mut theirs: Vec<&str> = recorded.map(|body| body.as_str().unwrap()).collect();
    let bodies = requests
        .iter()
        .map(|request| std::str::from_utf8(&request.body).unwrap());
    let mut ours: Vec<&str> = bodies.collect();
    assert_eq!(ours.len(), theirs.len());
    // Recorded as they arrived, with several in flight.
    if fixture["order"] == "multiset" {
        ours.sort_unstable();
        theirs.sort_unstable();
    }
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours, theirs, "{name} {number}");
    }
}

#[test]
fn kv_tier_pressure_is_the_references() {
    check("kv-tier-pressure-1");
    check("kv-tier-pressure-2");
    check("kv-tier-pressure-3");
}

#[test]
fn long_doc_qa_is_the_references() {
    check("long-doc-qa-1");
    check("long-doc-qa-2");
}

#[test]
fn multi_round_chat_is_the_references() {
    check("multi-round-chat-1");
    check("multi-round-chat-2");
}

#[test]
fn long_doc_permutator_is_the_references() {
    check("long-doc-permutator-1");
    check("long-doc-permutator-2");
    check("long-doc-permutator-3");
}

#[test]
fn prefix_suffix_tuner_is_the_references() {
    check("prefix-suffix-tuner-1");
    check("prefix-suffix-tuner-2");
    check("prefix-suffix-tuner-3");
}

/// Warmups, breakers of both passes and prompts as with the file.
#[test]
fn requests_are_the_references_if_only_the_engine_has_the_tokenizer() {
    check_through_engine("long-doc-permutator-1");
    check_through_engine("long-doc-permutator-2");
    check_through_engine("long-doc-permutator-3");
    check_through_engine("prefix-suffix-tuner-1");
    check_through_engine("prefix-suffix-tuner-2");
}

#[test]
fn without_a_tokenizer_requests_are_those_of_lmcache_0_5_2() {
    check("v052-long-doc-permutator-1");
    check("v052-long-doc-permutator-2");
}

#[test]
fn random_prefill_is_the_references() {
    check("random-prefill-1");
    check("random-prefill-2");
}

#[test]
fn permutations_go_out_shuffled_by_flag() {
    let line = [
        "--workload",
        "long-doc-permutator",
        "--ldp-num-contexts",
        "3",
        "--ldp-context-length",
        "4",
    ];
    let tokenizer = Tokenizer::from_folder(&golden("words-tokenizer")).unwrap();
    let bodies = |more: &[&str]| {
        let config = crate::engine::testing::config(&[&line[..], more].concat());
        let mut workload = create(&config, &tokenizer).unwrap();
        let sent = sent(workload.as_mut(), Phase::Measured, Duration::ZERO);
        sent.into_iter().map(|request| request.body).collect::<Vec<_>>()
    };
    let (mut sorted, mut shuffled) = (bodies(&[]), bodies(&["--ldp-order", "random"]));
    assert_ne!(sorted, shuffled);
    sorted.sort();
    shuffled.sort();
    assert_eq!(sorted, shuffled);
}

/// A load that goes on behind the list needs more of them than were made for both passes.
#[test]
fn breakers_that_the_engine_made_serve_again_with_other_prefixes() {
    let library = std::fs::read(golden("words-tokenizer").join("tokenizer.json")).unwrap();
    let tokenizer = through_engine(Library::read(&library).unwrap(), Form::Vllm);
    let line = ["--workload", "prefix-suffix-tuner", "--psf-context-length", "700"];
    let config = crate::engine::testing::config(&[&line[..], &["--psf-thrash", "30", "--num-requests", "13"]].concat());
    let mut workload = create(&config, &tokenizer).unwrap();
    workload.offer(config.load.first_offer().unwrap());
    let mut requests = sent(workload.as_mut(), Phase::Warmup, Duration::ZERO);
    let prefixes = requests.len() - 1;
    assert!((3..6).contains(&prefixes), "{prefixes}");
    requests.extend(sent(workload.as_mut(), Phase::Measured, Duration::ZERO));
    assert_eq!(requests.len(), 1 + prefixes + 13);
    let bodies: std::collections::BTreeSet<&[u8]> = requests.iter().map(|request| &request.body[..]).collect();
    assert_eq!(bodies.len(), requests.len(), "each prompt is another one");
}

#[test]
fn more_texts_than_an_engine_may_be_asked_about_are_refused_at_once() {
    let tokenizer = counting(|text| text.split_whitespace().count() as u64);
    let asked = |tokenizer: &Tokenizer| match tokenizer {
        Tokenizer::Engine(engine) => engine.calls(),
        _ => unreachable!(),
    };
    for (line, expected) in [
        (
            &[
                "kv-tier-pressure",
                "--ktp-pool-size",
                "20000",
                "--ktp-context-length",
                "4",
            ][..],
            "20001 texts of a wanted length would take some 200010 questions to the tokenizer of the engine at http://",
        ),
        (
            &[
                "long-doc-permutator",
                "--ldp-num-contexts",
                "20000",
                "--ldp-context-length",
                "4",
            ],
            "and a load may ask 131072; lower --ldp-num-contexts, or give --tokenizer PATH",
        ),
        (
            &[
                "prefix-suffix-tuner",
                "--exact-lengths",
                "--psf-context-length",
                "700",
                "--psf-thrash",
                "70000",
            ],
            "lower --psf-thrash, or raise --psf-context-length, or give --tokenizer PATH",
        ),
    ] {
        let config = crate::engine::testing::config(&[&["--workload"], line].concat());
        let before = asked(&tokenizer);
        let refused = create(&config, &tokenizer).err().expect("a refusal").to_string();
        assert!(refused.contains(expected), "{refused}");
        // At most the suffix was made.
        assert!(asked(&tokenizer) - before < 10, "{}", asked(&tokenizer));
    }
}

/// Both tokenizers, and the shortest length that the config allows.
#[test]
fn the_tuners_prompts_have_exactly_the_length_asked_for() {
    for (folder, context) in [
        ("words-tokenizer", "1000"),
        ("tiny-tokenizer", "801"),
        ("words-tokenizer", "700"),
    ] {
        let tokenizer = Tokenizer::from_folder(&golden(folder)).unwrap();
        let config = crate::engine::testing::config(&[
            "--workload",
            "prefix-suffix-tuner",
            "--psf-context-length",
            context,
            "--psf-thrash",
            "30",
            "--exact-lengths",
        ]);
        let mut workload = create(&config, &tokenizer).unwrap();
        let sent = sent(workload.as_mut(), Phase::Measured, Duration::ZERO);
        assert!(sent.len() >= 3);
        let prompts = sent.iter().map(|request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            body["messages"][0]["content"].as_str().unwrap().to_owned()
        });
        let prompts: Vec<String> = prompts.collect();
        for prompt in &prompts {
            assert_eq!(
                tokenizer.count(prompt).unwrap().to_string(),
                context,
                "{folder}: {prompt}"
            );
        }
        let suffix = |prompt: &String| prompt[prompt.find(" SUFFIX").unwrap()..].to_owned();
        assert!(prompts.iter().all(|prompt| suffix(prompt) == suffix(&prompts[0])));
        assert_ne!(prompts[0][..40], prompts[1][..40]);
    }
}
