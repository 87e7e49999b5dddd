//! Settings that are refused, and what an answer is worth where it differs from the recorded runs.

use super::*;
use crate::engine::testing::workload_values;
use crate::engine::workload::check;

fn refused(words: &[&str]) -> String {
    let refused = check(&DESCRIPTOR, &workload_values(words), &Sizes::new(100.0, 6553));
    refused.expect_err("a refusal").to_string()
}

#[test]
fn settings_without_which_it_cannot_run_are_refused() {
    let given = ["--rag-dataset", "x"];
    let with = |more: &[&str]| refused(&[&given[..], more].concat());
    assert!(refused(&[]).starts_with("the workload rag-qa-quality needs --rag-dataset: "));
    assert_eq!(refused(&["--rag-dataset", ""]), refused(&[]));
    for flag in ["--rag-num-samples", "--rag-max-output-length", "--rag-doc-align-tokens"] {
        assert!(
            with(&[flag, "0"]).starts_with(&format!("{flag} must be at least 1, got 0")),
            "{flag}"
        );
    }
    assert_eq!(
        with(&["--rag-template-kwargs", "a=1", "--rag-template-kwargs", "oops"]),
        "--rag-template-kwargs: 'oops' is not of the form KEY=VALUE; give it as enable_thinking=false"
    );
}
