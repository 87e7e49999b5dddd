//! kv-tier-pressure beside an LMCache server that counts lookups: recorded runs of the reference again, and what differs on
//! purpose.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::recorded::{self, chats, golden, own_codes};
use super::runs::code;
use crate::support::pages::PageServer;
use crate::support::script::{After, ScriptServer, good_answer, plain_answer};
use crate::support::{Dir, bench, report, stderr, stdout};

/// The codes of the warnings that only this workload has.
const CODES: [&str; 7] = [
    "no-lmcache-url",
    "no-l1-capacity",
    "no-status",
    "no-blend-module",
    "unconfirmed",
    "not-blended",
    "no-lookup-tokens",
];

/// The HTTP side of an LMCache server: a status, and a page of metrics for each time that it is asked for; the last one is
/// repeated. It has no page for what is not given.
struct CacheServer(PageServer);

impl CacheServer {
    fn start(status: Option<Value>, metrics: Vec<String>) -> CacheServer {
        CacheServer(PageServer::start(move |path, earlier| match path {
            "/status" => status.as_ref().map(Value::to_string),
            "/metrics" => metrics.get(earlier).or(metrics.last()).cloned(),
            _ => None,
        }))
    }

    fn asked(&self) -> Vec<String> {
        self.0.asked()
    }
}

/// One run and its two servers.
struct Ran {
    output: Output,
    engine: ScriptServer,
    cache: CacheServer,
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
}

/// The servers of a recorded run. The page of metrics before the sweep has no counters, because the reference reads none then
/// and takes the later ones as if the server had just been started.
fn servers(case: &Value) -> (ScriptServer, CacheServer) {
    let script = case["server"]["script"].clone();
    let number = AtomicUsize::new(0);
    let engine = ScriptServer::start(move |request, stream| {
        if !request.head.starts_with("POST /v1/chat/completions ") {
            plain_answer(stream, "404 Not Found", "application/json", "{}");
            return After::Keep;
        }
        let refused = &script[number.fetch_add(1, Ordering::SeqCst).to_string()]["status"];
        if refused.is_null() {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            good_answer(stream, body["max_tokens"].as_u64().unwrap());
        } else {
            plain_answer(stream, &format!("{refused} X"), "application/json", "{}");
        }
        After::Keep
    });
    let texts = case["server"]["metrics"].as_array().into_iter().flatten();
    let mut metrics: Vec<String> = texts
        .map(|text| as_the_reference_reads(text.as_str().unwrap()))
        .collect();
    let sweeps = !case["args"].as_array().unwrap().contains(&"--no-warmup".into());
    if sweeps && !metrics.is_empty() {
        metrics.insert(0, String::new());
    }
    let cache = CacheServer::start(case["server"].get("status").cloned(), metrics);
    (engine, cache)
}

/// A page without the samples whose labels hold a blank: the reference passes them over.
fn as_the_reference_reads(page: &str) -> String {
    let lines = page.lines().filter(|line| !line.contains("b c"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The command of a recorded run. Documents that fit into L1 are let through, as in the reference.
fn command(case: &Value, (engine, cache): (&ScriptServer, &CacheServer), folder: &Dir) -> Command {
    let places = [
        ("ENGINE_URL", engine.url()),
        ("LMCACHE_URL", &cache.0.url),
        ("OUT_DIR", folder.path().to_str().unwrap()),
    ];
    let mut command = recorded::command(case, folder, &places);
    // The pages of metrics are told in turn, so nothing but the workload may read them.
    command.args(["--ktp-fitting", "run", "--no-ledger"]);
    command
}

fn run(case: &Value, more: &[&str]) -> Ran {
    let (engine, cache) = servers(case);
    let folder = Dir::new();
    let output = command(case, (&engine, &cache), &folder).args(more).output().unwrap();
    Ran {
        output,
        engine,
        cache,
        folder,
    }
}

/// The lines of the workload's section of a report for people.
fn section(report: &str) -> Vec<&str> {
    let lines = report.lines().skip_while(|line| !line.contains("- Document pool -"));
    let mut lines = lines.peekable();
    let head = lines.next();
    head.into_iter()
        .chain(lines.take_while(|line| !line.starts_with('-')))
        .collect()
}

#[test]
fn recorded_runs_have_the_references_requests_and_section() {
    for (name, warnings) in [
        ("kv-tier-pressure-1.json", &["no-lmcache-url"][..]),
        ("kv-tier-pressure-2.json", &[]),
        // The reference shows what the server counted since it was started, although nothing was sent before.
        ("kv-tier-pressure-3.json", &["no-l1-capacity", "no-lookup-tokens"]),
    ] {
        let case = golden(name);
        let ran = run(&case, &["--save", "json=/dev/null"]);
        assert_eq!(code(&ran.output), 0, "{name}: {}", stderr(&ran.output));
        let mut theirs: Vec<&str> = case["requests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|body| body.as_str().unwrap())
            .collect();
        let mut ours = ran.bodies();
        if case["order"] == "multiset" {
            ours.sort();
            theirs.sort_unstable();
        }
        assert_eq!(ours, theirs, "{name}");
        let report = stdout(&ran.output);
        let lines = case["report_section"].as_array().unwrap().iter();
        let mut theirs: Vec<&str> = lines.map(|line| line.as_str().unwrap()).collect();
        if warnings.contains(&"no-lookup-tokens") {
            theirs.truncate(7);
        }
        assert_eq!(section(&report), theirs, "{name}");
        assert_eq!(run(&case, &["--format", "json"]).codes(), warnings, "{name}");
    }
}

/// One after the other, each with the number of requests, the exit code, the warnings and the files of the reference.
#[test]
fn recorded_outcomes_are_the_references() {
    let recorded = golden("engine-workload-cases.json");
    let cases = recorded["cases"].as_array().unwrap().iter();
    let cases = cases.filter(|case| case["args"].as_array().unwrap().contains(&"kv-tier-pressure".into()));
    let mut compared = 0;
    for case in cases {
        compared += 1;
        let name = case["case"].as_str().unwrap();
        let ran = run(case, &["--format", "json"]);
        let said = stderr(&ran.output);
        if name == "no tokenizer" {
            // The words are made up then, and a warning says so.
            assert_eq!(code(&ran.output), 0, "{said}");
            assert!(
                ran.report()["metrics"]["warnings"]
                    .to_string()
                    .contains("Words are made up")
            );
            continue;
        }
        // A number below 0 is a mistake on the command line.
        let status = if name == "pool size -2" {
            2
        } else {
            case["exit_code"].as_i64().unwrap()
        };
        assert_eq!(i64::from(code(&ran.output)), status, "{name}: {said}");
        assert_eq!(json!(ran.engine.seen().len()), case["requests"], "{name}: {said}");
        let has_rows = ran.folder.join("bench_results.csv").exists();
        assert_eq!(
            has_rows,
            case["files_written"].to_string().contains("bench_results.csv"),
            "{name}"
        );
        if !has_rows {
            assert!(!said.is_empty(), "{name}");
            continue;
        }
        let mut theirs: Vec<&str> = case["warnings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|code| code.as_str().unwrap())
            .collect();
        // The reference takes the difference across two kinds of counters.
        if name == "family changes after warm-up" {
            theirs.push("not-blended");
        }
        assert_eq!(ran.codes(), theirs, "{name}");
    }
    assert_eq!(compared, 34);
}

fn case(more: &[&str], status: Value, metrics: &[&str]) -> Value {
    let line = [
        "bench",
        "engine",
        "--engine-url",
        "ENGINE_URL",
        "--lmcache-url",
        "LMCACHE_URL",
        "--model",
        "WORDS",
        "--workload",
        "kv-tier-pressure",
        "--tokens-per-gb-kvcache",
        "10",
        "--ktp-pool-size",
        "6",
        "--ktp-docs-per-request",
        "2",
        "--ktp-context-length",
        "4",
        "--ktp-num-requests",
        "2",
        "--output-dir",
        "OUT_DIR",
    ];
    let line = [&line[..], more].concat();
    json!({"args": line, "server": {"status": status, "metrics": metrics}})
}

fn l1(bytes: u64) -> Value {
    json!({"storage_manager": {"l1_manager": {"memory_total_bytes": bytes}}, "active_cb_lookups": 0})
}

/// All counters are read at the borders of the phases, and the status once.
#[test]
fn counters_are_read_before_and_after_the_sweep_and_at_the_end() {
    let counted = [
        "lmcache_blend_lookup_requested_tokens_total 8\n",
        "lmcache_blend_lookup_requested_tokens_total 20\n",
    ];
    let ran = run(&case(&[], l1(1 << 30), &counted), &["--format", "json"]);
    assert_eq!(code(&ran.output), 0, "{}", stderr(&ran.output));
    assert_eq!(ran.cache.asked(), ["/status", "/metrics", "/metrics", "/metrics"]);
    let shown = &ran.report()["metrics"]["kv_tier_pressure"];
    assert_eq!(shown["requested_tokens_total"], 12, "{shown}");
    assert_eq!(shown["warmup_sweep_requests"], 3, "{shown}");
    let ran = run(&case(&["--no-warmup"], l1(1 << 30), &counted), &["--format", "json"]);
    assert_eq!(ran.cache.asked(), ["/status", "/metrics", "/metrics"]);
    assert_eq!(
        ran.report()["metrics"]["kv_tier_pressure"]["requested_tokens_total"],
        12
    );
}

/// The counters cover all that a load sends, also its warm-up time, whatever --ktp-num-requests says.
#[test]
fn hits_per_request_are_of_the_requests_that_were_sent() {
    let counted = [
        "lmcache_blend_lookup_requested_tokens_total 8\n",
        "lmcache_blend_lookup_requested_tokens_total 91\nlmcache_blend_lookup_hit_tokens_total 42\n",
    ];
    let case = case(&["--ktp-access-skew", "1.2346"], l1(1 << 30), &counted);
    let load = ["--num-requests", "7", "--warmup-time", "1ms", "--format", "json"];
    let ran = run(&case, &load);
    assert_eq!(code(&ran.output), 0, "{}", stderr(&ran.output));
    let report = ran.report();
    let shown = &report["metrics"]["kv_tier_pressure"];
    // Three of the sweep besides.
    assert_eq!(ran.engine.seen().len(), 7 + 3);
    assert_eq!(shown["hit_tokens_per_request"], 6.0, "{shown}");
    assert_eq!(shown["hit_token_rate_pct"], 50.6, "{shown}");
    // To three places first, as in the reference.
    assert_eq!(shown["access_skew"], 1.24, "{shown}");
}

/// Also the first reading, of which nothing else is shown.
#[test]
fn why_lookups_could_not_be_read_is_told() {
    let page = |tokens: &str| format!("lmcache_blend_lookup_requested_tokens_total {tokens}\n");
    for (first, cause) in [
        ("5", ""),
        (
            "NaN",
            "line 1 counts NaN for lmcache_blend_lookup_requested_tokens_total",
        ),
    ] {
        let case = case(&["--format", "json"], l1(1 << 30), &[]);
        let (engine, _) = servers(&case);
        let cache = CacheServer::start(Some(l1(1 << 30)), [first, "9", "20"].map(page).to_vec());
        let output = command(&case, (&engine, &cache), &Dir::new()).output().unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let warnings = report(&output)["metrics"]["warnings"].to_string();
        let is_unread = warnings.contains("could not be read both before and after the warmup");
        assert_eq!(is_unread, !cause.is_empty(), "{warnings}");
        assert!(warnings.contains(cause), "{warnings}");
        let codes = if is_unread { &["unconfirmed"][..] } else { &[] };
        assert_eq!(own_codes(&output, &CODES), codes);
    }
}

#[test]
fn a_server_that_does_not_blend_ends_the_run_after_the_sweep() {
    let status = json!({"storage_manager": {"l1_manager": {"memory_total_bytes": 1 << 30}}});
    let counted = ["lmcache_mp_lookup_requested_tokens_total 30\n"];
    let ran = run(&case(&[], status, &counted), &[]);
    let (shown, said) = (stdout(&ran.output), stderr(&ran.output));
    assert_eq!((code(&ran.output), ran.engine.seen().len()), (1, 3), "{said}");
    assert!(
        shown.contains("Note: the warmup prefills 798 tokens; at 10000 tokens per second that takes 1 s"),
        "{shown}"
    );
    assert!(
        shown.contains("Note: the LMCache server has not loaded the module for blending"),
        "{shown}"
    );
    assert!(!shown.contains("Engine Benchmark Result"), "{shown}");
    assert!(said.contains("the warmup was looked up by prefix: 30 tokens"), "{said}");
    assert!(!ran.folder.join("bench_results.csv").exists());
}

#[test]
fn documents_that_fit_into_l1_are_refused_before_any_request() {
    let case = case(&[], l1(3 << 30), &[]);
    let ran = run(&case, &["--ktp-fitting", "refuse"]);
    let said = stderr(&ran.output);
    assert_eq!((code(&ran.output), ran.engine.seen().len()), (1, 0), "{said}");
    assert!(
        said.starts_with("all 6 documents of 4 tokens fit into the server's L1 of 3.00 GB, about 30 tokens"),
        "{said}"
    );
    assert_eq!(ran.cache.asked(), ["/status"]);
}

/// LMCache 0.5.7 writes these files, the number of documents only where it is given.
#[test]
fn exports_are_the_references_files() {
    let recorded = golden("engine-workload-cases.json");
    let exports = recorded["exports"].as_array().unwrap().iter();
    let exports = exports.filter(|case| case["args"].as_array().unwrap().contains(&"kv-tier-pressure".into()));
    let mut compared = 0;
    for case in exports {
        compared += 1;
        let folder = Dir::new();
        let words = case["args"].as_array().unwrap()[1..].iter();
        let words = words.map(|word| word.as_str().unwrap().replace("ENGINE_URL", "http://e:1"));
        let output = bench().args(words).current_dir(folder.path()).output().unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let ours = std::fs::read_to_string(folder.join("c.json")).unwrap();
        assert_eq!(ours, case["file"].as_str().unwrap());
    }
    assert_eq!(compared, 2);
}
