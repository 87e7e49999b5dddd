//! The flags about the KV cache: sizes that are given, shares that are required, and what is told before a run.

use std::process::Output;

use serde_json::{Value, json};

use super::ledger::{DOCUMENTS, TIERS, cell, ledger_run, random_prefill};
use super::runs::{code, engine_at};
use crate::support::mock::{Mock, served};
use crate::support::{bench, report, stderr, stdout, warning_codes};

/// `engine` with a mock that has HBM alone and is asked for nothing else.
pub fn run(mock: &Mock, flags: &[&str]) -> Output {
    let mut command = engine_at(mock);
    command.args(["--tokens-per-gb-kvcache", "1000"]).args(DOCUMENTS);
    command.args(["--kv-cache-volume", "4"]).args(flags);
    command.current_dir(mock.dir.path()).output().unwrap()
}

pub fn metrics(output: &Output) -> Value {
    assert_eq!(code(output), 0, "{}", stderr(output));
    report(output)["metrics"].take()
}

pub const JSON: [&str; 2] = ["--format", "json"];

/// A mock with 2,400 tokens in HBM, which hold three documents of a bit more than 600.
pub fn small(more: &[&str]) -> Mock {
    Mock::start(&[&["--hbm-tokens", "2400", "--ttft-ms", "1"], more].concat())
}

#[test]
fn shares_that_are_required_decide_the_exit_code() {
    let mock = Mock::start(&["--hbm-tokens", "100000", "--ttft-ms", "1"]);
    let kept = run(
        &mock,
        &["--require-hits", "hbm>=95%,computed<=5%,l2<=0%", "--require-ledger"],
    );
    assert_eq!(code(&kept), 3, "L2 is not known without an LMCache: {}", stderr(&kept));
    let said = stderr(&kept);
    assert!(said.contains("--require-hits l2<=0%: the share is not known"), "{said}");
    assert!(
        !said.contains("hbm>=95%: it was") && !said.contains("--require-ledger"),
        "{said}"
    );
    let kept = run(
        &mock,
        &[
            "--require-hits",
            "hbm>=95%,computed<=5%,cached>=95%",
            "--require-ledger",
        ],
    );
    assert_eq!(code(&kept), 0, "{}", stderr(&kept));
    let missed = run(&mock, &["--require-hits", "hbm<=10%,computed>=50%"]);
    assert_eq!(code(&missed), 3);
    let said = stderr(&missed);
    assert!(said.contains("--require-hits hbm<=10%: it was 9"), "{said}");
    assert!(said.contains("% of the prompt tokens"), "{said}");
    assert!(said.contains("--require-hits computed>=50%: it was"), "{said}");
    // The report is there all the same, and has both limits.
    assert!(stdout(&missed).contains("Token Ledger"), "{}", stdout(&missed));
    let missed = run(
        &mock,
        &[&JSON[..], &["--require-hits", "hbm<=10%,cached>=50%"]].concat(),
    );
    assert_eq!(code(&missed), 3);
    let limits = &report(&missed)["metrics"]["requirements"];
    assert_eq!(
        (&limits[0]["code"], &limits[1]["code"]),
        (&"broken".into(), &"kept".into())
    );
    assert!(
        limits[1]["text"]
            .as_str()
            .unwrap()
            .starts_with("Kept: --require-hits cached>=50%: it was 9"),
        "{limits}"
    );
}

#[test]
fn without_counters_there_is_no_ledger_to_require() {
    let mock = small(&["--metrics", "none"]);
    let output = run(&mock, &["--require-ledger"]);
    assert_eq!(code(&output), 3);
    let said = stderr(&output);
    assert!(
        said.contains("--require-ledger: the engine has no counters to make a ledger of"),
        "{said}"
    );
}

#[test]
fn flags_that_cannot_be_are_refused_before_anything_is_sent() {
    let mock = small(&[]);
    for (flags, says) in [
        (&["--require-hits", "l3>=80%"][..], "no source of tokens"),
        (&["--require-hits", "l2=80%"], "--require-hits"),
        (&["--kv-tiers", "hbm=lots"], "--kv-tiers"),
        (&["--kv-tiers", "l4=1GB"], "--kv-tiers"),
        (&["--kv-tiers", ""], "--kv-tiers"),
        (&["--no-ledger", "--require-ledger"], "--no-ledger"),
        (&["--no-ledger", "--require-hits", "hbm>=1%"], "--no-ledger"),
        (&["--no-ledger", "--kv-tiers", "hbm=1GB"], "--no-ledger"),
        (&["--no-ledger", "--metrics-url", "localhost:1"], "--no-ledger"),
        (
            &["--sweep", "concurrency=1,2", "--require-hits", "hbm>=1%"],
            "--require-hits",
        ),
        (&["--sweep", "concurrency=1,2", "--require-ledger"], "--require-ledger"),
        (&["--sweep", "concurrency=1,2", "--kv-tiers", "hbm=1GB"], "--kv-tiers"),
        (&["--metrics-url=localhost:1"; 257], "--metrics-url was given 257 times"),
    ] {
        let output = run(&mock, flags);
        assert_eq!(code(&output), 2, "{flags:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{flags:?}: {}", stderr(&output));
    }
    let output = run(&mock, &["--metrics-url", "ftp://h"]);
    assert_eq!(code(&output), 1, "as with every address");
    assert!(stderr(&output).contains("--metrics-url ftp://h begins with ftp://"));
    let (_, log) = mock.end("-TERM");
    assert_eq!(served(&log).count(), 0);
}

/// The measured row of HBM: expected, least, most, seen.
fn hbm(metrics: &Value) -> [Value; 4] {
    ["expected", "expected_min", "expected_max", "seen"]
        .map(|column| metrics["expected_hits"]["measured_hbm"][column].clone())
}

#[test]
fn sizes_that_the_engine_does_not_say_are_taken_from_the_flag() {
    let sizes = ["--kv-tiers", "hbm=100000tokens,block=16"];
    let mock = Mock::start(&["--hbm-tokens", "100000", "--ttft-ms", "1", "--metrics", "sglang"]);
    let unknown = metrics(&run(&mock, &JSON));
    let row = &unknown["expected_hits"]["measured_hbm"];
    assert!(
        row["expected"].is_null() && row["expected_max"].as_u64() > Some(0),
        "{row}"
    );
    let explained = unknown["hits_explained"].to_string();
    assert!(explained.contains("the capacity of HBM is unknown"), "{explained}");
    assert!(!warning_codes(&unknown).contains(&"hits-differ"));
    // A mock of its own, so that nothing of the run before is found.
    let mock = Mock::start(&["--hbm-tokens", "100000", "--ttft-ms", "1", "--metrics", "sglang"]);
    let given = metrics(&run(&mock, &[&JSON[..], &sizes].concat()));
    assert_eq!(
        given["kv_tiers"]["usable_hbm_tokens"],
        json!({"value": 100_000, "source": "flag"}),
        "{}",
        given["kv_tiers"]
    );
    assert!(hbm(&given)[0].as_u64() > Some(0), "{}", given["expected_hits"]);
    assert!(
        !warning_codes(&given).contains(&"hits-differ"),
        "{}",
        given["expected_hits"]
    );
}

#[test]
fn nothing_is_expected_where_the_flag_says_so() {
    let off = metrics(&run(&small(&[]), &[&JSON[..], &["--kv-tiers", "off"]].concat()));
    assert_eq!(
        off["expected_hits"],
        json!({"reason": "No hits are expected: --kv-tiers off."})
    );
    assert!(off["token_ledger"]["computed"]["measured"].is_u64());
}

#[test]
fn a_wrong_size_makes_the_hits_differ() {
    // HBM holds all four documents, and is said to hold one.
    let mock = Mock::start(&["--hbm-tokens", "100000", "--ttft-ms", "1"]);
    let output = run(
        &mock,
        &[&JSON[..], &["--kv-tiers", "hbm=800tokens", "--require-ledger"]].concat(),
    );
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    let metrics = report(&output)["metrics"].take();
    let warnings = metrics["warnings"].as_array().unwrap();
    let differ = warnings
        .iter()
        .find(|warning| warning["code"] == "hits-differ")
        .expect("it is said");
    assert!(differ["text"].as_str().unwrap().contains("HBM"), "{differ}");
    let [_, _, most, seen] = hbm(&metrics);
    assert!(seen.as_u64() > most.as_u64(), "{seen} {most}");
}

#[test]
fn a_cache_server_that_says_no_size_leaves_bounds_and_a_reason() {
    // The cache server is there by the flag alone, without its size.
    let mock = small(&[]);
    let metrics = metrics(&run(&mock, &[&JSON[..], &["--lmcache-url", &mock.address]].concat()));
    let row = &metrics["expected_hits"]["measured_computed"];
    assert!(row["expected"].is_null(), "{}", metrics["expected_hits"]);
    let of = |column: &str| row[column].as_u64().unwrap();
    assert!(
        of("expected_min") <= of("seen") && of("seen") <= of("expected_max"),
        "{row}"
    );
    let notes = metrics["hits_explained"].to_string();
    assert!(notes.contains("the capacity of L2 is unknown"), "{notes}");
}

/// The lines of the paragraph before the run.
fn outlook(shown: &str) -> Vec<&str> {
    let mut lines = shown.lines().skip_while(|line| *line != "Cache tiers:").skip(1);
    lines.by_ref().take_while(|line| line.starts_with("  ")).collect()
}

#[test]
fn what_the_run_will_do_to_each_tier_is_told_before_it() {
    let flags = random_prefill("600", "5");
    let told = |mock: &Mock| {
        let mut command = engine_at(mock);
        command.args(["--tokens-per-gb-kvcache", "1000"]).args(flags);
        let output = command.current_dir(mock.dir.path()).output().unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        stdout(&output)
    };
    let shown = told(&small(&[]));
    let lines = outlook(&shown);
    assert!(
        lines.len() >= 3 && lines.iter().all(|line| line.len() <= 100),
        "{shown}"
    );
    let text = lines.concat();
    assert!(
        text.contains("5 requests begin") && text.contains("of HBM (2,400 tokens"),
        "{text}"
    );
    assert!(text.contains("No prefix is sent twice"), "{text}");
    // Nothing is told of tiers whose sizes nobody says.
    let shown = told(&small(&["--metrics", "sglang"]));
    assert!(!shown.contains("Cache tiers"), "{shown}");
}

/// The tuner's prompts are 5 % more than the tier that it is to overflow. What is told before the run is what comes of it.
#[test]
fn what_is_told_of_the_tuner_comes_true() {
    std::thread::scope(|scope| {
        for (hbm, filled) in [
            ("8000", "121 % of HBM (8,000 tokens)"),
            ("4000", "241 % of HBM (4,000 tokens)"),
        ] {
            scope.spawn(move || tuner(hbm, filled));
        }
    });
}

fn tuner(hbm: &str, filled: &str) {
    let mock = Mock::start(&["--hbm-tokens", hbm, "--ttft-ms", "1"]);
    let mut command = engine_at(&mock);
    command.args(["--tokens-per-gb-kvcache", "1000", "--workload", "prefix-suffix-tuner"]);
    command.args([
        "--psf-context-length",
        "800",
        "--psf-thrash",
        "8",
        "--num-requests",
        "10",
    ]);
    command.args(["--max-concurrency", "1"]).args(JSON);
    let output = command.current_dir(mock.dir.path()).output().unwrap();
    let metrics = metrics(&output);
    let shown = stderr(&output);
    let lines = outlook(&shown);
    let text: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    let text = text.join(" ");
    assert!(lines.iter().all(|line| line.len() <= 100), "{shown}");
    assert!(
        text.contains("21 requests begin with 11 different prefixes") && text.contains(filled),
        "{shown}"
    );
    let of = |row| cell(&metrics, "token_ledger", row, "measured").unwrap() as f64;
    let served = format!("HBM will serve {:.0} %", of("hbm") / of("prompt") * 100.0);
    assert!(text.contains(&served), "{served}: {shown}");
}

#[test]
fn the_tuner_tells_which_tiers_overflowed() {
    let overflowed = |tiers: &[&str], flags: &[&str]| {
        let mock = Mock::start(tiers);
        let lengths = ["--workload", "prefix-suffix-tuner", "--psf-context-length", "800"];
        let metrics = metrics(&ledger_run(&mock, &[&lengths[..], flags].concat()));
        let notes = metrics["hits_explained"].as_array().unwrap();
        let note = notes.iter().find(|note| note["code"] == "overflowed");
        note.map_or_else(String::new, |note| note["text"].as_str().unwrap().to_owned())
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let text = overflowed(&TIERS, &["--psf-thrash", "5", "--max-concurrency", "1"]);
            assert!(text.contains("HBM and L1 overflowed"), "{text}");
        });
        scope.spawn(|| {
            let mut roomy = TIERS;
            (roomy[3], roomy[5]) = ("40960", "81920");
            let text = overflowed(&roomy, &["--psf-thrash", "5", "--max-concurrency", "1"]);
            assert!(text.contains("HBM overflowed"), "{text}");
        });
    });
}

#[test]
fn a_result_with_a_ledger_reads_back_as_it_was() {
    let mock = Mock::start(&TIERS);
    let file = mock.dir.join("run.json");
    let saved = format!("result={}", file.display());
    let csv = format!("csv={}", mock.dir.join("run.csv").display());
    let direct = metrics(&ledger_run(
        &mock,
        &[&DOCUMENTS[..], &["--save", &saved, "--save", &csv]].concat(),
    ));
    let again = |format: &str| {
        let mut command = bench();
        let output = command
            .args(["report", file.to_str().unwrap(), "--format", format])
            .output()
            .unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        output
    };
    let read_back = report(&again("json"))["metrics"].take();
    for section in [
        "token_ledger",
        "ledger_checks",
        "ledger_compared",
        "lmcache_work",
        "kv_tiers",
        "expected_hits",
        "computed_why",
        "hits_explained",
        "ttft_by_source",
    ] {
        assert!(!direct[section].is_null(), "{section}");
        assert_eq!(read_back[section], direct[section], "{section}");
    }
    let rows = std::fs::read_to_string(mock.dir.join("run.csv")).unwrap();
    for key in ["token_ledger", "expected_hits", "kv_tiers"] {
        assert!(rows.contains(key), "{rows}");
    }
    assert_eq!(stdout(&again("csv")), rows);
    assert!(stdout(&again("terminal")).contains("Expected Hits"));
}
