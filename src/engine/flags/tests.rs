//! The flag table of `engine`: defaults, every flag's field, choices, abbreviations.

use super::*;
use crate::cli::flag::{Kind, Preset};

fn typed(words: &[&str]) -> EngineArgs {
    crate::cli::table_rules::typed(&TABLE, EngineArgs::default(), words)
}

#[test]
fn nothing_given_is_nothing_set_and_the_defaults_are_the_references() {
    assert_eq!(typed(&[]), EngineArgs::default());
    let args = EngineArgs::presets();
    assert_eq!(
        (args.kv_cache_volume, args.seed, args.output_dir),
        (Some(100.0), Some(BigInt::from(42)), Some(".".into()))
    );
    assert_eq!(
        (
            args.ldp_num_contexts,
            args.ldp_context_length,
            args.ldp_system_prompt_length
        ),
        (Some(5), Some(5000), Some(1000))
    );
    assert_eq!(
        (args.ldp_num_permutations, args.ldp_num_inflight_requests),
        (Some(10), Some(1))
    );
    assert_eq!(
        (args.ldp_max_output_length, args.ldqa_max_output_length),
        (Some(128), Some(128))
    );
    assert_eq!(
        (args.ldqa_document_length, args.ldqa_query_per_document),
        (Some(10000), Some(2))
    );
    assert_eq!(
        (args.ldqa_shuffle_policy, args.ldqa_num_inflight_requests),
        (Some(ShufflePolicy::Random), Some(3))
    );
    assert_eq!(
        (args.mrc_shared_prompt_length, args.mrc_chat_history_length),
        (Some(2000), Some(10000))
    );
    assert_eq!(
        (args.mrc_user_input_length, args.mrc_output_length),
        (Some(50), Some(200))
    );
    assert_eq!((args.mrc_qps, args.mrc_duration), (Some(1.0), Some(60.0)));
    assert_eq!(
        (args.psf_context_length, args.psf_prefix_ratio, args.psf_thrash),
        (Some(8000), Some(0.8), Some(20.0))
    );
    assert_eq!((args.rp_request_length, args.rp_num_requests), (Some(10000), Some(50)));
    assert_eq!(
        (
            args.rag_num_samples,
            args.rag_max_output_length,
            args.rag_doc_align_tokens
        ),
        (Some(50), Some(1024), Some(256))
    );
    assert_eq!(
        (args.engine_url, args.workload, args.model, args.ignore_eos),
        (None, None, None, None)
    );
}

/// Every row sets a field, and no two rows set the same one.
#[test]
fn every_flag_reaches_a_field_of_its_own() {
    let mut seen: Vec<EngineArgs> = vec![EngineArgs::default()];
    for spec in TABLE.specs() {
        let word = format!("--{}", spec.long);
        let args = match spec.kind {
            Kind::Help => continue,
            Kind::Value if spec.choices.is_empty() => typed(&[&word, "7"]),
            Kind::Value => typed(&[&word, spec.choices[0]]),
            _ => typed(&[&word]),
        };
        assert!(!seen.contains(&args), "{word}");
        // The flag's name is the field's name.
        assert!(format!("{args:?}").contains(&format!("{}: Some", spec.long.replace('-', "_"))));
        seen.push(args);
    }
}

#[test]
fn every_listed_choice_is_taken_and_no_two_mean_the_same() {
    for flag in TABLE.flags.iter().filter(|flag| !flag.spec.choices.is_empty()) {
        let mut results: Vec<EngineArgs> = Vec::new();
        for choice in flag.spec.choices {
            let mut args = EngineArgs::default();
            (flag.set)(&mut args, choice).unwrap();
            assert!(!results.contains(&args), "--{} {choice}", flag.spec.long);
            results.push(args);
        }
        assert!((flag.set)(&mut EngineArgs::default(), "?").is_err());
    }
}

#[test]
fn rows_are_complete() {
    for spec in TABLE.specs() {
        assert_eq!(spec.value_name.is_empty(), spec.kind != Kind::Value, "--{}", spec.long);
        let explained = !spec.help.is_empty() && (spec.kind == Kind::Help || !spec.detail.is_empty());
        assert!(explained, "--{}", spec.long);
        if let Preset::Text(text) = spec.preset {
            assert!(
                spec.choices.is_empty() || spec.choices.contains(&text),
                "--{}",
                spec.long
            );
        }
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
    assert_eq!(args.mrc_qps, Some(10.0));
    assert!(args.set("workload", "x").unwrap().unwrap_err().contains("choose from"));
    assert_eq!(args.set("no-such-flag", "1"), None);
}

/// Every beginning of every flag of LMCache does here what it would do if our flags did not exist; only `--output`,
/// which LMCache reads as a beginning of `--output-dir`, is a flag of its own.
#[test]
fn our_flags_leave_the_abbreviations_of_lmcache_alone() {
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
            // Which flags to choose from may differ, that there is a choice may not.
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
