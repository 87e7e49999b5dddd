//! The flag table of `engine`: defaults, every flag's field, choices, abbreviations.

use super::*;
use crate::cli::flag::Kind;
use crate::cli::table_rules;
use crate::engine::args::WorkloadValue;
use crate::engine::config::Sizes;
use crate::engine::testing::given as typed;
use crate::engine::workload;
use crate::python::big_int::BigInt;

#[test]
fn an_empty_command_line_sets_nothing_and_the_defaults_are_the_references() {
    assert_eq!(typed(&[]), EngineArgs::default());
    let args = TABLE.presets();
    assert_eq!(
        (args.kv_cache_volume, args.seed, args.output_dir),
        (Some(100.0), Some(BigInt::from(42)), Some(".".into()))
    );
    let values = &args.workload_values;
    for (flag, default) in [
        ("ktp-docs-per-request", 16),
        ("ktp-context-length", 2560),
        ("ktp-system-prompt-length", 256),
        ("ktp-num-requests", 200),
        ("ktp-num-inflight-requests", 8),
        ("ktp-max-output-length", 1),
        ("ldp-num-contexts", 5),
        ("ldp-context-length", 5000),
        ("ldp-system-prompt-length", 1000),
        ("ldp-num-permutations", 10),
        ("ldp-num-inflight-requests", 1),
        ("ldp-max-output-length", 128),
        ("ldqa-document-length", 10000),
        ("ldqa-query-per-document", 2),
        ("ldqa-num-inflight-requests", 3),
        ("ldqa-max-output-length", 128),
        ("mrc-shared-prompt-length", 2000),
        ("mrc-chat-history-length", 10000),
        ("mrc-user-input-length", 50),
        ("mrc-output-length", 200),
        ("psf-context-length", 8000),
        ("rp-request-length", 10000),
        ("rp-num-requests", 50),
    ] {
        assert_eq!(values.int(flag).unwrap(), default, "--{flag}");
    }
    for (flag, default) in [
        ("ktp-overflow-factor", 2.0),
        ("ktp-access-skew", 0.0),
        ("mrc-qps", 1.0),
        ("mrc-duration", 60.0),
        ("psf-prefix-ratio", 0.8),
        ("psf-thrash", 20.0),
    ] {
        assert_eq!(values.float(flag).unwrap(), default, "--{flag}");
    }
    assert_eq!(values.get("ktp-pool-size"), None);
    assert_eq!(
        values.get("ldqa-shuffle-policy"),
        Some(&WorkloadValue::Choice("random"))
    );
    assert_eq!(
        (args.engine_url, args.workload, args.model, args.ignore_eos),
        (None, None, None, None)
    );
}

/// Every row sets a value under its own name, and no two rows set the same one.
#[test]
fn every_flag_reaches_a_value_of_its_own() {
    let mut seen: Vec<EngineArgs> = vec![EngineArgs::default()];
    for spec in TABLE.specs() {
        let word = format!("--{}", spec.long);
        let mut args = match spec.kind {
            Kind::Help => continue,
            Kind::Value if spec.value_name == "JSON" => typed(&[&word, r#"{"k":7}"#]),
            Kind::Value if spec.choices.is_empty() => typed(&[&word, "7"]),
            Kind::Value => typed(&[&word, spec.choices[0]]),
            _ => typed(&[&word]),
        };
        assert!(!seen.contains(&args), "{word}");
        seen.push(args.clone());
        // Config files take values by the flag's name.
        let key = spec.long.replace('-', "_");
        assert!(args.value(&key).is_some(), "{word}");
        args.clear(&key);
        assert_eq!(args, EngineArgs::default(), "{word}");
    }
}

#[test]
fn the_table_follows_the_common_rules() {
    table_rules::choices_are_taken_and_differ(&TABLE);
    table_rules::rows_are_complete(&TABLE);
}

/// Workloads read their flags by name; each name must be in the table.
#[test]
fn every_workload_can_be_run_with_its_defaults() {
    for workload in WORKLOADS {
        let mut args = TABLE.presets();
        for flag in workload.flags.iter().filter(|flag| flag.required) {
            (flag.row.set)(&mut args, "x").unwrap();
        }
        let checked = workload::check(workload, &args.workload_values, &Sizes::new(100.0, 6553));
        checked.unwrap_or_else(|error| panic!("{}: {error}", workload.name));
    }
}

#[test]
fn one_command_line_is_laid_over_another() {
    let above = typed(&["--model", "a", "--ignore-eos"]);
    let below = typed(&["--model", "b", "--rp-num-requests", "3"]);
    assert_eq!(
        above.or(below),
        typed(&["--model", "a", "--ignore-eos", "--rp-num-requests", "3"])
    );
}

#[test]
fn values_can_be_set_by_name() {
    let mut args = EngineArgs::default();
    assert_eq!(args.set("mrc-qps", "1_0"), Some(Ok(())));
    let negative = args.set("ktp-pool-size", "-2").unwrap().unwrap_err();
    assert_eq!(negative, "must be 0 or more, got -2");
    assert_eq!(args.workload_values.float("mrc-qps").unwrap(), 10.0);
    assert!(args.set("workload", "x").unwrap().unwrap_err().contains("choose from"));
    assert_eq!(args.set("no-such-flag", "1"), None);
}

/// Every prefix of every LMCache flag has the same outcome as without our flags. The exception is `--output`, which in LMCache
/// is an abbreviation of `--output-dir`.
#[test]
fn abbreviations_of_lmcache_keep_their_meaning() {
    let count = TABLE
        .flags
        .iter()
        .take_while(|flag| flag.spec.group.of_reference)
        .count();
    let theirs = Table {
        flags: &TABLE.flags[..count],
        ..TABLE
    };
    let outcome = |table: &Table<EngineArgs>, word: &str| {
        let mut args = EngineArgs::default();
        match table.walk(&mut lexopt::Parser::from_args([word]), &mut args) {
            Ok(stop) => format!("{stop:?} {args:?}"),
            // The list of candidates may differ, but both must be ambiguous.
            Err(error) => error
                .to_string()
                .split("it could be")
                .next()
                .unwrap_or_default()
                .to_string(),
        }
    };
    for spec in theirs.specs() {
        for typed in (1..=spec.long.len()).map(|end| &spec.long[..end]) {
            for word in [format!("--{typed}"), format!("--{typed}=1")] {
                if typed != "output" {
                    assert_eq!(outcome(&TABLE, &word), outcome(&theirs, &word), "{word}");
                }
            }
        }
    }
    assert_eq!(typed(&["--outp", "x"]).output_dir, Some("x".into()));
    assert_eq!(typed(&["--output", "x"]).output, Some("x".into()));
}
