//! The ledger of prompt tokens by pages of all kinds: the names of each engine, and pages that are wrong.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::ledger::{DOCUMENTS, TIERS, Truth, cell, ledger_run, measured, random_prefill};
use super::runs::{code, engine, engine_at, good};
use crate::support::mock::{Mock, exchange};
use crate::support::pages::PageServer;
use crate::support::script::ScriptServer;
use crate::support::{Dir, bench, report, stderr, warning_codes};

/// A tier's tokens in the measured phase; a tier that gave nothing may have no row.
fn counted(metrics: &Value, row: &str) -> u64 {
    cell(metrics, "token_ledger", row, "measured").unwrap_or(0)
}

/// Runs with the counters of an engine, and returns the report's metrics and the truth of the measured phase.
fn by_names(names: &str, with_cache: bool) -> (Value, [u64; 4]) {
    let cache = ["--dram-tokens", "4096", "--disk-tokens", "5120"];
    let hbm = [
        "--metrics",
        names,
        "--hbm-tokens",
        "2400",
        "--tokens-per-gb",
        "1000",
        "--ttft-ms",
        "1",
    ];
    let mock = Mock::start(&[&hbm[..], if with_cache { &cache } else { &[] }].concat());
    let output = if with_cache {
        ledger_run(&mock, &DOCUMENTS)
    } else {
        let mut command = engine_at(&mock);
        command
            .args(["--format", "json", "--tokens-per-gb-kvcache", "1000"])
            .args(DOCUMENTS);
        command.arg("--requests-jsonl").arg(mock.dir.join("requests.jsonl"));
        command.current_dir(mock.dir.path()).output().unwrap()
    };
    assert_eq!(code(&output), 0, "{names}: {}", stderr(&output));
    let requests = measured(&mock);
    let (_, log) = mock.end("-TERM");
    (report(&output)["metrics"].take(), Truth::of(&log, &requests).sums)
}

#[test]
fn the_names_of_each_engine_make_the_same_ledger() {
    let all = ["vllm", "vllm-hits", "vllm-gpu", "sglang", "none"];
    std::thread::scope(|scope| {
        for names in all {
            for with_cache in [true, false] {
                scope.spawn(move || {
                    let (metrics, truth) = by_names(names, with_cache);
                    check_names(names, with_cache, &metrics, truth);
                });
            }
        }
    });
}

fn check_names(names: &str, with_cache: bool, metrics: &Value, [computed, hbm, dram, disk]: [u64; 4]) {
    let ledger = &metrics["token_ledger"];
    let what = format!("{names}, cache {with_cache}: {ledger} {}", metrics["ledger_checks"]);
    assert!(hbm > 0 && (dram + disk > 0) == with_cache, "{what}");
    assert_eq!(counted(metrics, "prompt"), computed + hbm + dram + disk, "{what}");
    assert_eq!(counted(metrics, "computed"), computed, "{what}");
    assert_eq!(ledger["unexplained"]["measured"].as_i64().unwrap_or(0), 0, "{what}");
    let codes = warning_codes(metrics);
    assert!(
        !codes.contains(&"ledger-off") && !codes.contains(&"hits-differ"),
        "{codes:?} {what}"
    );
    let recounts = matches!(names, "vllm-hits" | "vllm-gpu");
    assert_eq!(codes.contains(&"hits-recounted"), recounts, "{codes:?} {what}");
    match names {
        "none" => assert_eq!(
            counted(metrics, "cached") + counted(metrics, "hbm") + counted(metrics, "lmcache"),
            hbm + dram + disk,
            "{what}"
        ),
        "sglang" => {
            assert_eq!(counted(metrics, "hbm"), hbm, "{what}");
            let others = ["engine_host", "engine_storage", "lmcache"].map(|row| counted(metrics, row));
            assert_eq!(others.iter().sum::<u64>(), dram + disk, "{what}");
        }
        _ => {
            assert_eq!(counted(metrics, "hbm"), hbm, "{what}");
            assert_eq!(
                counted(metrics, "lmcache") + counted(metrics, "external"),
                dram + disk,
                "{what}"
            );
        }
    }
}

#[test]
fn a_page_of_50_mib_is_read_as_a_whole() {
    let mock = Mock::start(&[&TIERS[..], &["--metrics-padding", "50"]].concat());
    let output = ledger_run(&mock, &random_prefill("20", "2"));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = report(&output)["metrics"].take();
    assert_eq!(metrics["ledger_checks"]["balance"]["measured"], "exact", "{metrics}");
    assert!(counted(&metrics, "prompt") > 0);
    assert_eq!(counted(&metrics, "prompt"), counted(&metrics, "computed"));
}

/// Whether the measured phase has no expected hits, and why.
fn not_predicted(metrics: &Value) -> String {
    let notes = metrics["hits_explained"].as_array().into_iter().flatten();
    let note = notes.into_iter().find(|note| note["code"] == "not-predicted");
    note.map_or_else(String::new, |note| note["text"].as_str().unwrap().to_owned())
}

#[test]
fn counters_that_start_again_in_the_measured_phase_void_its_ledger() {
    // 20 requests of the warmup, then 40. What is counted of the last ten is less than what there was before.
    let restarts = |after: &'static str, more: &[&str]| {
        let mock = Mock::start(&[&TIERS[..], &["--metrics-restart-after", after]].concat());
        ledger_run(&mock, &[&DOCUMENTS[..], more].concat())
    };
    let output = restarts("50", &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = report(&output)["metrics"].take();
    let checks = &metrics["ledger_checks"]["balance"];
    assert_eq!(
        (&checks["warmup"], &checks["measured"]),
        (&"exact".into(), &"unknown".into())
    );
    let computed = &metrics["token_ledger"]["computed"];
    assert!(
        computed["warmup"].is_u64() && computed["measured"].is_null(),
        "{computed}"
    );
    let why = not_predicted(&metrics);
    assert!(why.contains("counters went back"), "{why}");
    assert!(warning_codes(&metrics).contains(&"ledger-off"));
    // Begun again early on: no counter is smaller than before, but they have too little.
    let output = restarts("30", &["--require-ledger"]);
    assert_eq!(code(&output), 3);
    let told = stderr(&output);
    assert!(
        told.contains("--require-ledger: the report has the warning ledger-off"),
        "{told}"
    );
    let why = not_predicted(&report(&output)["metrics"]);
    assert!(
        why.contains("prompt tokens fewer than the answers have") && !why.contains('-'),
        "{why}"
    );
}

/// An engine whose page of metrics is made by a function of the answers that it has given: 5 in the warmup, then 10, each with 7
/// prompt tokens.
pub struct Counting {
    engine: ScriptServer,
    pages: PageServer,
    folder: Dir,
    /// Answers that were given so far.
    pub answers: Arc<AtomicU64>,
}

impl Counting {
    pub fn start(page: impl Fn(u64) -> String + Send + 'static) -> Counting {
        let answers = Arc::new(AtomicU64::new(0));
        let (counted, given) = (Arc::clone(&answers), Arc::clone(&answers));
        Counting {
            answers,
            engine: ScriptServer::start(move |seen, stream| {
                counted.fetch_add(1, Ordering::SeqCst);
                good(seen, stream)
            }),
            pages: PageServer::start(move |path, _| (path == "/metrics").then(|| page(given.load(Ordering::SeqCst)))),
            folder: Dir::new(),
        }
    }

    pub fn run(&self, more: &[&str]) -> Output {
        let flags = ["--metrics-url", &self.pages.url, "--format", "json"];
        engine(self.engine.url(), &self.folder, &[&flags[..], more].concat())
            .output()
            .unwrap()
    }

    pub fn metrics(&self, more: &[&str]) -> Value {
        let output = self.run(more);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        report(&output)["metrics"].take()
    }
}

/// A page with so many prompt tokens, all of them computed.
pub fn page(prompt: u64) -> String {
    format!(
        "vllm:prompt_tokens_total{{engine=\"0\"}} {prompt}\n\
         vllm:prompt_tokens_by_source_total{{engine=\"0\",source=\"local_compute\"}} {prompt}\n\
         vllm:prompt_tokens_by_source_total{{engine=\"0\",source=\"local_cache_hit\"}} 0\n\
         vllm:prompt_tokens_by_source_total{{engine=\"0\",source=\"external_kv_transfer\"}} 0\n"
    )
}

#[test]
fn a_scripted_page_is_a_ledger() {
    let run = Counting::start(|answers| page(7 * answers));
    let metrics = run.metrics(&["--require-ledger"]);
    assert_eq!(cell(&metrics, "token_ledger", "computed", "warmup"), Some(35));
    assert_eq!(cell(&metrics, "token_ledger", "computed", "measured"), Some(70));
    assert_eq!(metrics["ledger_checks"]["others"]["measured"], 0);
}

#[test]
fn the_api_key_goes_to_the_engine_alone() {
    let run = Counting::start(|answers| page(7 * answers));
    run.metrics(&[]);
    assert!(!run.pages.heads().is_empty());
    assert!(
        !run.pages
            .heads()
            .iter()
            .any(|head| head.contains("sk-very-secret") || head.to_lowercase().contains("authorization"))
    );
    // Beside the engine's API it is sent, as the engine may ask for it there too.
    engine(run.engine.url(), &run.folder, &[]).output().unwrap();
    let asked = run.engine.asked();
    assert!(
        asked
            .iter()
            .any(|head| head.starts_with("GET /metrics ") && head.contains("sk-very-secret")),
        "{asked:?}"
    );
}

#[test]
fn counters_that_went_back_are_said_and_no_ledger_is_made_of_them() {
    let backwards = |answers: u64| page(if answers < 15 { 1000 + 7 * answers } else { 3 });
    let run = Counting::start(backwards);
    let metrics = run.metrics(&[]);
    assert!(warning_codes(&metrics).contains(&"ledger-off"), "{metrics}");
    assert_eq!(cell(&metrics, "token_ledger", "computed", "warmup"), Some(35));
    assert_eq!(cell(&metrics, "token_ledger", "computed", "measured"), None);
    let run = Counting::start(backwards);
    assert_eq!(code(&run.run(&["--require-ledger"])), 3);
}

#[test]
fn traffic_of_another_client_is_told_by_what_the_answers_do_not_have() {
    // 500 tokens before the measured phase, and 100 in it.
    let run = Counting::start(|answers| page(7 * answers + if answers < 15 { 500 } else { 600 }));
    let metrics = run.metrics(&["--kv-tiers", "hbm=1000tokens,block=16"]);
    assert_eq!(
        metrics["ledger_checks"]["others"],
        serde_json::json!({"warmup": 0, "measured": 100})
    );
    let codes = warning_codes(&metrics);
    assert!(
        codes.contains(&"other-clients") && !codes.contains(&"hits-differ"),
        "{codes:?}"
    );
    let why = not_predicted(&metrics);
    assert!(why.contains("100 prompt tokens came from other clients"), "{why}");
}

#[test]
fn a_page_without_sources_or_without_a_total_leaves_rows_out() {
    let total = |answers: u64| format!("vllm:prompt_tokens_total {}\n", 7 * answers);
    let metrics = Counting::start(total).metrics(&[]);
    assert_eq!(
        cell(&metrics, "token_ledger", "prompt", "measured"),
        Some(70),
        "{metrics}"
    );
    assert_eq!(cell(&metrics, "token_ledger", "hbm", "measured"), None, "{metrics}");
    // Half of the sources and no total: nothing can be checked against it.
    let half = |answers: u64| {
        format!(
            "vllm:prompt_tokens_by_source_total{{source=\"local_cache_hit\"}} {}\n",
            2 * answers
        )
    };
    let output = Counting::start(half).run(&["--require-ledger"]);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    let metrics = report(&output)["metrics"].take();
    assert!(warning_codes(&metrics).contains(&"ledger-off"), "{metrics}");
    // A family that is not there before the first count is none that is missing.
    let late = |answers: u64| {
        if answers == 0 {
            "vllm:prompt_tokens_total 0\n".into()
        } else {
            page(7 * answers)
        }
    };
    let metrics = Counting::start(late).metrics(&[]);
    assert_eq!(
        cell(&metrics, "token_ledger", "computed", "measured"),
        Some(70),
        "{metrics}"
    );
}

#[test]
fn the_pages_of_two_engines_are_added_up() {
    // The other engine serves another client.
    let answers = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&answers);
    let run = Counting::start(move |given| {
        seen.store(given, Ordering::SeqCst);
        page(7 * given)
    });
    let other = PageServer::start(move |_, _| Some(page(if answers.load(Ordering::SeqCst) < 15 { 40 } else { 340 })));
    let metrics = run.metrics(&["--metrics-url", &other.url]);
    assert_eq!(cell(&metrics, "token_ledger", "prompt", "measured"), Some(370));
    assert_eq!(metrics["ledger_checks"]["others"]["measured"], 300);
    assert!(warning_codes(&metrics).contains(&"other-clients"));
}

#[test]
fn lookups_of_other_models_at_the_cache_server_are_told() {
    let mock = Mock::start(&TIERS);
    let behind = mock.address.clone();
    let cache = PageServer::start(move |path, _| {
        let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n");
        let reply = String::from_utf8(exchange(&behind, request.as_bytes())).unwrap();
        let body = reply.split_once("\r\n\r\n")?.1.to_owned();
        if path != "/metrics" {
            return Some(body);
        }
        // As many lookups of another model as of ours.
        let name = "lmcache_mp_lookup_requested_tokens_total";
        let ours = body.lines().find(|line| line.starts_with(name));
        let tokens = ours.and_then(|line| line.rsplit(' ').next()).unwrap_or("0").to_owned();
        Some(body + &format!("{name}{{model_name=\"other\"}} {tokens}\n"))
    });
    let mut command = bench();
    command.args(["engine", "--engine-url", &mock.address, "--lmcache-url", &cache.url]);
    command.args(["--no-certificate", "--no-interactive", "--format", "json"]);
    let output = command.args(DOCUMENTS).current_dir(mock.dir.path()).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = report(&output)["metrics"].take();
    assert!(warning_codes(&metrics).contains(&"shared-cache"), "{metrics}");
    let why = not_predicted(&metrics);
    assert!(why.contains("other engines use the LMCache server"), "{why}");
}
