//! `--clear-cache`: caches that are emptied before a run, and whether the run found them so.

use super::ledger::{DOCUMENTS, TIERS, cell, ledger_run};
use super::ledger_flags::{JSON, metrics, run, small};
use super::runs::code;
use crate::support::mock::{Mock, served};
use crate::support::{stderr, warning_codes};

/// Three documents, each asked about once and not before.
fn once() -> Vec<&'static str> {
    let one = [
        "--no-warmup",
        "--ldqa-query-per-document",
        "1",
        "--kv-cache-volume",
        "3",
    ];
    [&DOCUMENTS[..], &one].concat()
}

#[test]
fn emptied_caches_serve_nothing_that_this_run_did_not_send() {
    let mock = Mock::start(&TIERS[..4].iter().chain(&TIERS[6..]).copied().collect::<Vec<_>>());
    let flags = once();
    let computed = |more: &[&str]| {
        let output = ledger_run(&mock, &[&flags[..], more].concat());
        let told = stderr(&output);
        for request in ["/reset_prefix_cache", "/cache/clear"] {
            let emptied = format!("Emptied the cache: http://{}{request}", mock.address);
            assert_eq!(told.contains(&emptied), !more.is_empty(), "{told}");
        }
        let metrics = metrics(&output);
        let of = |row| cell(&metrics, "token_ledger", row, "measured").unwrap();
        let codes: Vec<String> = warning_codes(&metrics).into_iter().map(str::to_owned).collect();
        (of("prompt") - of("computed"), codes, metrics)
    };
    assert_eq!(computed(&[]).0, 0);
    assert!(computed(&[]).0 > 0, "the same prompts are found");
    let (cached, codes, metrics) = computed(&["--clear-cache"]);
    assert_eq!(cached, 0);
    assert!(!codes.contains(&"not-cold".to_owned()), "{codes:?}");
    assert_eq!(metrics["expected_hits"]["measured_cached"]["expected"], 0);
}

#[test]
fn whether_emptied_caches_were_empty_is_said_where_nobody_knows() {
    let mock = small(&[]);
    let output = run(&mock, &[&JSON[..], &["--clear-cache", "--no-ledger"]].concat());
    let metrics = metrics(&output);
    let warnings = metrics["warnings"].as_array().unwrap();
    let unchecked = warnings
        .iter()
        .find(|warning| warning["code"] == "cold-unchecked")
        .expect("it is said");
    assert!(
        unchecked["text"]
            .as_str()
            .unwrap()
            .contains("there is no ledger (--no-ledger)"),
        "{unchecked}"
    );
}

#[test]
fn a_disk_that_keeps_what_an_earlier_run_stored_is_not_cold() {
    let mock = Mock::start(&TIERS);
    let flags = once();
    assert_eq!(code(&ledger_run(&mock, &flags)), 0);
    let output = ledger_run(&mock, &[&flags[..], &["--clear-cache"]].concat());
    let told = stderr(&output);
    let left = format!("The L2 of the LMCache server at {} (MockL2Adapter)", mock.address);
    assert!(told.contains(&left) && told.contains("keeps what it has"), "{told}");
    let metrics = metrics(&output);
    let codes = warning_codes(&metrics);
    assert!(
        codes.contains(&"not-cold") && !codes.contains(&"hits-differ"),
        "{codes:?}"
    );
    let of = |row| cell(&metrics, "token_ledger", row, "measured").unwrap();
    assert!(of("lmcache_l2") > 0);
    assert_eq!(of("hbm"), 0);
}

#[test]
fn an_engine_that_clears_nothing_is_named_before_a_request() {
    let mock = small(&["--no-reset"]);
    let output = run(&mock, &["--clear-cache"]);
    assert_eq!(code(&output), 1);
    let said = stderr(&output);
    assert!(
        said.contains(&mock.address) && said.contains("VLLM_SERVER_DEV_MODE=1"),
        "{said}"
    );
    let (_, log) = mock.end("-TERM");
    assert_eq!(served(&log).count(), 0);
}

/// Sizes that nobody says leave bounds only. What an emptied cache served is compared with what was sent all the same.
#[test]
fn repeated_prompts_are_no_sign_of_a_cache_that_was_not_empty() {
    let mock = small(&["--metrics", "sglang"]);
    let metrics = metrics(&run(&mock, &[&JSON[..], &["--clear-cache", "--no-warmup"]].concat()));
    assert!(cell(&metrics, "token_ledger", "hbm", "measured") > Some(0));
    let codes = warning_codes(&metrics);
    assert!(
        !codes.contains(&"not-cold") && !codes.contains(&"cold-unchecked"),
        "{codes:?}"
    );
}
