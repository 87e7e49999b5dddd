//! What each tier should have served, against the mock engine, whose tiers are exact and whose log says what each did. The mock and
//! the simulator share the tiers themselves (`PrefixCache`, with tests of its own): what is tested here is all around them.

use std::collections::HashMap;
use std::process::Output;

use serde_json::Value;

use super::runs::{code, engine_at};
use crate::support::mock::{Mock, served};
use crate::support::{report, stderr, warning_codes};

/// HBM, DRAM and disk are all too small for what the workloads send.
pub const TIERS: [&str; 12] = [
    "--hbm-tokens",
    "2400",
    "--dram-tokens",
    "4096",
    "--disk-tokens",
    "5120",
    "--tokens-per-gb",
    "1000",
    "--ttft-ms",
    "1",
    "--itl-ms",
    "0",
];

/// `engine` at a mock, which is its cache server too. Files go into the mock's folder.
pub fn ledger_run(mock: &Mock, flags: &[&str]) -> Output {
    let mut command = engine_at(mock);
    command.args(["--lmcache-url", &mock.address, "--format", "json"]);
    command.arg("--requests-jsonl").arg(mock.dir.join("requests.jsonl"));
    command.args(flags).current_dir(mock.dir.path()).output().unwrap()
}

/// Twelve documents of 600 words, of which HBM holds three, in random order.
pub const DOCUMENTS: [&str; 8] = [
    "--workload",
    "long-doc-qa",
    "--ldqa-document-length",
    "600",
    "--kv-cache-volume",
    "12",
    "--ldqa-max-output-length",
    "4",
];

/// So many prompts of this length that have nothing in common.
pub fn random_prefill<'a>(length: &'a str, requests: &'a str) -> [&'a str; 6] {
    [
        "--workload",
        "random-prefill",
        "--rp-request-length",
        length,
        "--rp-num-requests",
        requests,
    ]
}

/// A count of a table's cell.
pub fn cell(metrics: &Value, section: &str, row: &str, column: &str) -> Option<u64> {
    metrics[section][row][column].as_u64()
}

/// What the mock's log says of the prompt tokens of the measured requests: computed, HBM, DRAM, disk; in all and for each answer.
pub struct Truth {
    pub sums: [u64; 4],
    by_id: HashMap<String, [u64; 4]>,
}

/// The measured requests, as `--requests-jsonl` has them.
pub fn measured(mock: &Mock) -> Vec<Value> {
    let text = std::fs::read_to_string(mock.dir.join("requests.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Truth {
    pub fn of(log: &[Value], requests: &[Value]) -> Truth {
        let parts = ["computed", "hbm", "dram", "disk"];
        let by_id: HashMap<String, [u64; 4]> = served(log)
            .map(|line| {
                let part = |name: &str| line["prompt_sources"][name].as_u64().unwrap();
                (line["id"].as_str().unwrap().to_owned(), parts.map(part))
            })
            .collect();
        let mut sums = [0; 4];
        for request in requests {
            let of = by_id[request["response_id"].as_str().unwrap()];
            sums.iter_mut().zip(of).for_each(|(sum, tokens)| *sum += tokens);
        }
        Truth { sums, by_id }
    }

    fn request(&self, request: &Value) -> [u64; 4] {
        self.by_id[request["response_id"].as_str().unwrap()]
    }
}

const ROWS: [&str; 4] = ["computed", "hbm", "lmcache_l1", "lmcache_l2"];

/// Runs a workload with so many requests in flight and checks all that was expected of it. Returns the truth.
fn expected_equals_seen(flags: &[&str], in_flight: u64, tiers: &[&str]) -> [u64; 4] {
    let mock = Mock::start(tiers);
    let in_flight_flag = in_flight.to_string();
    let load = ["--max-concurrency", &in_flight_flag, "--num-requests", "60"];
    let output = ledger_run(&mock, &[flags, &load].concat());
    let what = format!("{} with {in_flight} in flight", flags[1]);
    assert_eq!(code(&output), 0, "{what}: {}", stderr(&output));
    let metrics = report(&output)["metrics"].take();
    let requests = measured(&mock);
    let (_, log) = mock.end("-TERM");
    let truth = Truth::of(&log, &requests);
    let hits = &metrics["expected_hits"];
    for row in ["computed", "hbm", "lmcache_l1", "lmcache_l2", "cached"] {
        for phase in ["warmup", "measured"] {
            let row = format!("{phase}_{row}");
            let of = |column| cell(&metrics, "expected_hits", &row, column);
            // Where L1 and L2 are known as intervals only, the log says it below. A workload may have no warmup.
            if (phase == "measured" || !hits[&row].is_null()) && (of("seen").is_some() || !row.contains("lmcache")) {
                assert_eq!(
                    (of("expected").is_some(), of("expected")),
                    (true, of("seen")),
                    "{what}, {row}: {hits}"
                );
            }
        }
    }
    for (row, truth) in ROWS.iter().zip(truth.sums) {
        let bound = |column| cell(&metrics, "expected_hits", &format!("measured_{row}"), column).unwrap();
        let (least, most) = (bound("expected_min"), bound("expected_max"));
        assert!((least..=most).contains(&truth), "{what}, {row} {truth}: {hits}");
    }
    let expected = ROWS.map(|row| cell(&metrics, "expected_hits", &format!("measured_{row}"), "expected").unwrap());
    let below = |of: [u64; 4]| [of[0], of[1], of[2] + of[3]];
    assert_eq!(below(expected), below(truth.sums), "{what}");
    let codes = warning_codes(&metrics);
    for code in ["hits-differ", "ledger-off", "ledger-unsettled", "other-clients"] {
        assert!(!codes.contains(&code), "{what}: {codes:?}");
    }
    if in_flight == 1 {
        assert_eq!(expected, truth.sums, "{what}");
        let explained = metrics["hits_explained"].as_array().into_iter().flatten();
        let codes: Vec<&str> = explained.map(|note| note["code"].as_str().unwrap()).collect();
        assert!(!codes.contains(&"interval"), "{what}: {}", metrics["hits_explained"]);
        for request in &requests {
            let causes = request["computed_why"].as_object().into_iter().flatten();
            let causes: u64 = causes.map(|(_, tokens)| tokens.as_u64().unwrap()).sum();
            assert_eq!(Some(causes), request["expected_computed"].as_u64(), "{what}: {request}");
            let of = ["computed", "hbm", "l1", "l2"].map(|tier| request[format!("expected_{tier}")].as_u64().unwrap());
            assert_eq!(of, truth.request(request), "{what}: {request}");
        }
    }
    truth.sums
}

/// All windows at a time, since a run mostly waits. Returns what was served with one request in flight.
fn at_1_8_and_64(flags: &[&str], tiers: &[&str]) -> [u64; 4] {
    std::thread::scope(|scope| {
        let runs = [1, 8, 64].map(|in_flight| scope.spawn(move || expected_equals_seen(flags, in_flight, tiers)));
        runs.map(|run| run.join().unwrap())[0]
    })
}

/// The tiers with another disk.
fn with_disk(tokens: &'static str) -> [&'static str; 12] {
    let mut tiers = TIERS;
    tiers[5] = tokens;
    tiers
}

#[test]
fn long_doc_qa_in_random_order_is_expected_to_the_token() {
    let all = at_1_8_and_64(&[&DOCUMENTS[..], &["--ldqa-shuffle-policy", "random"]].concat(), &TIERS);
    assert!(all.iter().all(|tokens| *tokens > 0), "{all:?}");
}

#[test]
fn long_doc_qa_in_tiles_is_expected_to_the_token() {
    let flags = [&DOCUMENTS[..], &["--ldqa-shuffle-policy", "tile"]].concat();
    // A circle that the disk does not hold serves nothing; one that it holds comes from there.
    let [_, hbm, dram, disk] = at_1_8_and_64(&flags, &TIERS);
    assert_eq!((hbm, dram, disk), (0, 0, 0));
    let [_, hbm, dram, disk] = at_1_8_and_64(&flags, &with_disk("20000"));
    assert!(disk > 0 && (hbm, dram) == (0, 0), "{hbm} {dram} {disk}");
}

#[test]
fn multi_round_chat_is_expected_to_the_token() {
    let lengths = ["--mrc-shared-prompt-length", "200", "--mrc-chat-history-length", "300"];
    let flags = ["--workload", "multi-round-chat", "--mrc-output-length", "4"];
    let flags = [&flags[..], &lengths, &["--kv-cache-volume", "6"]].concat();
    let [_, _, dram, disk] = at_1_8_and_64(&flags, &with_disk("10240"));
    assert!(dram + disk > 0);
}

#[test]
fn long_doc_permutator_is_expected_to_the_token() {
    let lengths = ["--ldp-context-length", "300", "--ldp-system-prompt-length", "100"];
    let flags = ["--workload", "long-doc-permutator", "--ldp-num-contexts", "4"];
    let number = ["--ldp-num-permutations", "24", "--ldp-max-output-length", "4"];
    let [_, hbm, ..] = at_1_8_and_64(&[flags, lengths, number].concat(), &TIERS);
    assert!(hbm > 0);
}

/// The tuner pauses for five seconds between its passes.
#[test]
fn prefix_suffix_tuner_is_expected_to_the_token() {
    let flags = [
        "--workload",
        "prefix-suffix-tuner",
        "--psf-context-length",
        "800",
        "--psf-thrash",
        "5",
    ];
    let [_, _, dram, disk] = at_1_8_and_64(&flags, &TIERS);
    assert!(dram > 0 && disk > 0);
}

#[test]
fn random_prefill_is_expected_to_the_token() {
    let flags = random_prefill("600", "30");
    let [computed, hbm, dram, disk] = at_1_8_and_64(&flags, &TIERS);
    assert!(computed > 0 && (hbm, dram, disk) == (0, 0, 0));
}

#[test]
fn kv_tier_pressure_is_expected_to_the_token() {
    let flags = [
        "--workload",
        "kv-tier-pressure",
        "--ktp-pool-size",
        "12",
        "--ktp-docs-per-request",
        "1",
    ];
    let lengths = ["--ktp-context-length", "600", "--ktp-system-prompt-length", "100"];
    // The warmup is sent one by one, so what it leaves behind does not depend on an order that nothing tells.
    let number = ["--ktp-num-requests", "40", "--ktp-num-inflight-requests", "1"];
    let all = at_1_8_and_64(&[&flags[..], &lengths, &number].concat(), &TIERS);
    assert!(all.iter().all(|tokens| *tokens > 0), "{all:?}");
}

/// Of `count` words that no other number has.
fn words(number: usize, count: usize) -> String {
    let words: Vec<String> = (0..count).map(|at| format!("w{number}x{at}")).collect();
    words.join(" ")
}

#[test]
fn custom_prompts_are_expected_to_the_token() {
    let folder = crate::support::Dir::new();
    let file = folder.join("prompts.jsonl");
    // Nine documents, the later ones seldom.
    let lines = (0..60).map(|number: usize| {
        let document = words(number * number % 13 % 9, 150);
        serde_json::json!({"prompt": format!("{document} question {number}"), "max_tokens": 2}).to_string()
    });
    std::fs::write(&file, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let all = at_1_8_and_64(&["--workload", "custom", "--prompts", file.to_str().unwrap()], &TIERS);
    assert!(all[1..].iter().sum::<u64>() > 0, "{all:?}");
}

#[test]
fn rag_qa_quality_is_expected_to_the_token() {
    let folder = crate::support::Dir::new();
    let file = folder.join("questions.jsonl");
    // Passages of letters, each of which is a token.
    let passage = |passage: usize| {
        let letters = (0..60).map(|at: usize| "bcdfghjkl".as_bytes()[(at * at * (passage + 1) + at) % 9] as char);
        letters.flat_map(|letter| [' ', letter]).collect::<String>()
    };
    let lines = (0..60).map(|number: usize| {
        let passages = [number % 7, number % 3].map(passage);
        let question = format!("question {number}");
        serde_json::json!({"question": question, "answer": "word", "contexts": passages}).to_string()
    });
    std::fs::write(&file, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let flags = ["--workload", "rag-qa-quality", "--rag-dataset", file.to_str().unwrap()];
    let more = ["--rag-num-samples", "60", "--rag-max-output-length", "4"];
    let align = ["--rag-doc-align-tokens", "64"];
    let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/engine/words-tokenizer");
    let tiers = [&TIERS[..], &["--tokenizer", tokenizer]].concat();
    let all = at_1_8_and_64(&[&flags[..], &more, &align].concat(), &tiers);
    assert!(all[1..].iter().sum::<u64>() > 0, "{all:?}");
}
