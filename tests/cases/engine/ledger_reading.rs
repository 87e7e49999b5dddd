//! When pages of metrics are read, and what is made of those that do not come or keep moving.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::ledger::{TIERS, cell, ledger_run, random_prefill};
use super::ledger_pages::{Counting, page};
use super::runs::{code, engine, good};
use crate::support::mock::Mock;
use crate::support::pages::PageServer;
use crate::support::script::ScriptServer;
use crate::support::{Dir, report, stderr, warning_codes};

/// An LMCache server's page: so many tokens were looked up.
fn looked_up(tokens: u64) -> String {
    format!("lmcache_mp_lookup_requested_tokens_total{{model_name=\"m\"}} {tokens}\n")
}

#[test]
fn pages_are_read_between_phases_and_not_during_them() {
    let read: Arc<Mutex<Vec<u64>>> = Arc::default();
    let record = Arc::clone(&read);
    let run = Counting::start(move |answers| {
        record.lock().unwrap().push(answers);
        page(7 * answers)
    });
    run.metrics(&["--require-ledger"]);
    // Before the warmup of 5, behind it, and behind the 10 that are measured.
    let mut read = read.lock().unwrap().clone();
    read.dedup();
    assert_eq!(read, [0, 5, 15]);
}

#[test]
fn without_a_ledger_no_page_is_read() {
    let (server, folder) = (ScriptServer::start(good), Dir::new());
    let cache = PageServer::start(|_, _| Some(looked_up(1)));
    let flags = ["--no-ledger", "--format", "json", "--lmcache-url", &cache.url];
    let output = engine(server.url(), &folder, &flags).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    for asked in [server.asked(), cache.asked()] {
        assert!(!asked.iter().any(|head| head.contains("/metrics")), "{asked:?}");
    }
    let metrics = report(&output)["metrics"].take();
    for section in ["token_ledger", "ledger_checks", "expected_hits", "prompt_sources"] {
        assert!(metrics[section].is_null(), "{section}");
    }
}

#[test]
fn counters_are_read_until_they_stand_still() {
    // The lookups of the measured phase are counted over three readings.
    let run = Counting::start(|answers| page(7 * answers));
    let answers = Arc::clone(&run.answers);
    let late = Mutex::new(0);
    let cache = PageServer::start(move |path, _| {
        let is_done = answers.load(Ordering::SeqCst) == 15 && path == "/metrics";
        let mut late = late.lock().unwrap();
        *late = if is_done { 3.min(*late + 1) } else { 0 };
        (path == "/metrics").then(|| looked_up(100 + *late))
    });
    let metrics = run.metrics(&["--lmcache-url", &cache.url]);
    assert_eq!(
        cell(&metrics, "lmcache_work", "looked_up", "measured"),
        Some(3),
        "{metrics}"
    );
    assert!(!warning_codes(&metrics).contains(&"ledger-unsettled"));
    assert_eq!(metrics["ledger_checks"]["settled"]["measured"], "yes");
}

#[test]
fn counters_that_do_not_stand_still_are_said() {
    let run = Counting::start(|answers| page(7 * answers));
    let answers = Arc::clone(&run.answers);
    let cache = PageServer::start(move |path, earlier| {
        let is_done = answers.load(Ordering::SeqCst) == 15;
        (path == "/metrics").then(|| looked_up(if is_done { earlier as u64 } else { 0 }))
    });
    let metrics = run.metrics(&["--lmcache-url", &cache.url]);
    assert!(warning_codes(&metrics).contains(&"ledger-unsettled"), "{metrics}");
    assert_eq!(
        (
            &metrics["ledger_checks"]["settled"]["warmup"],
            &metrics["ledger_checks"]["settled"]["measured"]
        ),
        (&"yes".into(), &"no".into())
    );
}

#[test]
fn a_server_that_goes_away_leaves_what_was_read_before() {
    let run = Counting::start(|answers| page(7 * answers));
    let answers = Arc::clone(&run.answers);
    let left = Mutex::new(1);
    let cache = PageServer::start(move |path, _| {
        // Behind the measured phase its page comes once.
        let mut left = left.lock().unwrap();
        if answers.load(Ordering::SeqCst) == 15 && path == "/metrics" && std::mem::take(&mut *left) == 0 {
            return None;
        }
        (path == "/metrics").then(|| looked_up(answers.load(Ordering::SeqCst)))
    });
    let metrics = run.metrics(&["--lmcache-url", &cache.url]);
    assert_eq!(
        cell(&metrics, "lmcache_work", "looked_up", "measured"),
        Some(10),
        "{metrics}"
    );
    assert!(warning_codes(&metrics).contains(&"ledger-unsettled"), "{metrics}");
}

#[test]
fn a_page_that_is_missing_among_several_makes_no_sum() {
    let run = Counting::start(|answers| page(7 * answers));
    let missing = PageServer::start(|_, _| None);
    let output = run.run(&["--metrics-url", &missing.url, "--require-ledger"]);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    let metrics = report(&output)["metrics"].take();
    let warnings = metrics["warnings"].to_string();
    let told = format!("{}/metrics: there is no such page; check --metrics-url", missing.url);
    assert!(warnings.contains(&told), "{warnings}");
    assert_eq!(
        metrics["ledger_counters"]["prompt"], "usage.prompt_tokens of our answers",
        "{metrics}"
    );
}

#[test]
fn a_page_that_is_too_long_is_named_and_not_used() {
    let mock = Mock::start(&[&TIERS[..], &["--metrics-padding", "70"]].concat());
    let flags = random_prefill("20", "2");
    let output = ledger_run(&mock, &flags);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let metrics = report(&output)["metrics"].take();
    let warnings = metrics["warnings"].to_string();
    assert!(
        warnings.contains("/metrics: the answer is longer than 64.0 MiB"),
        "{warnings}"
    );
}
