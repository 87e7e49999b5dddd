//! The number of documents, and settings that are refused.

use serde_json::Value;

use super::*;
use crate::engine::testing::workload_values;

fn vectors() -> Value {
    serde_json::from_str(include_str!(
        "../../../../tests/golden/engine/kv-tier-pressure-vectors.json"
    ))
    .unwrap()
}

fn resolved(words: &[&str], l1: &L1Memory) -> Result<KvTierPressure, String> {
    let sizes = Sizes::new(100.0, 1000).with_l1(l1);
    KvTierPressure::resolve(&workload_values(words), &sizes).map_err(|error| error.to_string())
}

#[test]
fn the_number_of_documents_is_the_references() {
    for case in vectors()["pool_size"].as_array().unwrap() {
        let number = |key: &str| case[key].as_f64().unwrap();
        let tokens = case["tokens_per_gb_kvcache"].as_i64().unwrap();
        let sizes = Sizes::new(100.0, tokens).with_l1(&L1Memory::Gb(number("l1_capacity_gb")));
        let pool = case["pool_size"].as_i64().unwrap();
        let (factor, context) = (
            number("overflow_factor").to_string(),
            number("context_length").to_string(),
        );
        let mut line = vec!["--ktp-overflow-factor", &factor, "--ktp-context-length", &context];
        let pool_text = pool.to_string();
        // The reference takes a number below 0 for none; it is no number of documents here.
        if pool >= 0 {
            line.extend(["--ktp-pool-size", &pool_text]);
        }
        let found = documents(&workload_values(&line), &sizes).unwrap();
        assert_eq!(found, case["result"].as_u64(), "{case}");
    }
}

#[test]
fn documents_that_the_memory_holds_are_refused_unless_allowed() {
    let l1 = L1Memory::Gb(2.0);
    let line = ["--ktp-pool-size", "20", "--ktp-context-length", "100"];
    let refused = resolved(&line, &l1).map(drop).unwrap_err();
    let expected = "all 20 documents of 100 tokens fit into the server's L1 of 2.00 GB, about 2000 tokens, so no other tier \
                    would be used; raise --ktp-pool-size (or --ktp-overflow-factor above 1), or give --ktp-fitting run";
    assert_eq!(refused, expected);
    assert!(resolved(&[&line[..], &["--ktp-fitting", "run"]].concat(), &l1).is_ok());
    let more = ["--ktp-pool-size", "21", "--ktp-context-length", "100"];
    assert!(resolved(&more, &l1).is_ok());
    for unknown in [L1Memory::Unasked, L1Memory::Unknown("it is away".into())] {
        assert!(resolved(&line, &unknown).is_ok());
    }
    // A factor of 1 fills the memory exactly.
    let derived = ["--ktp-overflow-factor", "1", "--ktp-context-length", "100"];
    assert!(
        resolved(&derived, &l1)
            .map(drop)
            .unwrap_err()
            .starts_with("all 20 documents ")
    );
}

#[test]
fn what_cannot_be_run_is_named() {
    let refusal = |words: &[&str]| {
        resolved(&[&["--ktp-pool-size", "40"], words].concat(), &L1Memory::Unasked)
            .map(drop)
            .unwrap_err()
    };
    for (words, expected) in [
        (
            ["--ktp-docs-per-request", "0"],
            "--ktp-docs-per-request must be at least 1, got 0",
        ),
        (
            ["--ktp-docs-per-request", "41"],
            "--ktp-docs-per-request must be at most the number of documents, 40, got 41",
        ),
        (
            ["--ktp-context-length", "0"],
            "--ktp-context-length must be at least 1, got 0",
        ),
        (
            ["--ktp-context-length", "90000000"],
            "--ktp-docs-per-request x --ktp-context-length makes prompts of",
        ),
        (
            ["--ktp-system-prompt-length", "-1"],
            "--ktp-system-prompt-length must be 0 to 100000000, got -1",
        ),
        (
            ["--ktp-num-requests", "0"],
            "--ktp-num-requests must be at least 1, got 0",
        ),
        (
            ["--ktp-overflow-factor", "0"],
            "--ktp-overflow-factor must be above 0, got 0",
        ),
        (
            ["--ktp-overflow-factor", "nan"],
            "--ktp-overflow-factor must be above 0, got NaN",
        ),
        (
            ["--ktp-access-skew", "-1"],
            "--ktp-access-skew must be a finite number, at least 0, got -1",
        ),
        (
            ["--ktp-access-skew", "nan"],
            "--ktp-access-skew must be a finite number, at least 0, got NaN",
        ),
        (
            ["--ktp-access-skew", "inf"],
            "--ktp-access-skew must be a finite number, at least 0, got inf",
        ),
        (
            ["--ktp-access-skew", "2000"],
            "--ktp-access-skew 2000 is too much for 40 documents",
        ),
        (
            ["--ktp-num-inflight-requests", "0"],
            "--ktp-num-inflight-requests must be at least 1, got 0",
        ),
        (
            ["--ktp-max-output-length", "0"],
            "--ktp-max-output-length must be at least 1, got 0",
        ),
        (
            ["--ktp-pool-size", "10000001"],
            "--ktp-pool-size must be 1 to 10000000, got 10000001",
        ),
    ] {
        let refused = refusal(&words);
        assert!(refused.starts_with(expected), "{refused}");
    }
}

#[test]
fn too_many_requests_and_underivable_documents_are_named() {
    let many = ["--ktp-pool-size", "40", "--ktp-num-requests", "10000001"];
    let refused = resolved(&many, &L1Memory::Unasked).map(drop).unwrap_err();
    assert!(
        refused.starts_with("these settings make 10000001 requests"),
        "{refused}"
    );
    let huge = resolved(&["--ktp-context-length", "1"], &L1Memory::Gb(1e9))
        .map(drop)
        .unwrap_err();
    assert!(
        huge.contains("makes 2000000000000 documents; at most 10000000 can be sent"),
        "{huge}"
    );
    let why = resolved(&[], &L1Memory::Unknown("it is away".into()))
        .map(drop)
        .unwrap_err();
    assert_eq!(
        why,
        "--ktp-pool-size is not given and cannot be derived: it is away; give --ktp-pool-size, or the --lmcache-url of a \
         running server"
    );
}
