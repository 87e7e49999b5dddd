//! Settings that are refused, and what recorded runs do not show: chunks, repeats, and every warning.

use super::*;
use crate::engine::ask::lookups::Tokens;
use crate::engine::testing::{config, finished, golden, workload_values};
use crate::engine::workload::check;

const RECORDS: &str = "{\"id\":\"a\",\"question\":\"Who?\",\"answer\":\"Ada\",\"ctxs\":[\"Ada wrote it.\",\"Odo read it.\"]}\n\
                       {\"id\":\"b\",\"question\":\"What?\",\"answer\":\"x\",\"ctxs\":[\"Odo read it.\"]}\n";

fn refused(words: &[&str]) -> String {
    let refused = check(&DESCRIPTOR, &workload_values(words), &Sizes::new(100.0, 6553));
    refused.expect_err("a refusal").to_string()
}

fn words_tokenizer() -> Tokenizer {
    Tokenizer::from_folder(&golden("words-tokenizer")).unwrap()
}

/// A run over these records, with these further flags.
fn quality(records: &str, more: &[&str], tokenizer: &Tokenizer) -> Quality {
    let line = ["--workload", DESCRIPTOR.name, "--rag-dataset", "d.jsonl"];
    let config = config(&[&line[..], &["--rag-doc-align-tokens", "16"], more].concat());
    let settings = RagQaQuality::resolve(&config.workload.values, &config.sizes()).unwrap();
    let dataset = Dataset::of_lines(records.as_bytes(), 50).unwrap();
    Quality::new(settings.recorded("r.json".into()), dataset, &config, tokenizer).unwrap()
}

fn codes(quality: &mut Quality) -> Vec<&'static str> {
    let warnings = quality.conclude(false).warnings.into_iter();
    warnings.map(|warning| warning.code).collect()
}

fn answered(id: &str, answer: &str, cached_tokens: Option<u64>) -> Finished {
    Finished {
        cached_tokens,
        ..finished(id, format!("<final_answer>{answer}</final_answer>"))
    }
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

#[test]
fn every_block_of_a_prompt_fills_whole_chunks() {
    let tokenizer = words_tokenizer();
    for seed in ["0", "5", "-7"] {
        let quality = quality(RECORDS, &["--seed", seed], &tokenizer);
        let prompts = &quality.prompts;
        let prefix = tokenizer.count("<|bos|>user\n").unwrap();
        let tokens = |text: &str| tokenizer.count(text).unwrap();
        for passage in 0..2 {
            assert_eq!((prefix + tokens(&prompts.prefill(passage))) % 16, 0);
        }
        let measured = prompts.measured(0, "Who?");
        let (before, after) = measured.split_once("\n\nAnswer the question").unwrap();
        let system = prefix + tokens(&prompts.prefill(0)) - prompts.passage_tokens(1);
        assert_eq!(prefix + tokens(before), system + prompts.passage_tokens(0), "{after}");
        assert_eq!((prompts.unaligned, prompts.passages()), (0, 2));
    }
}

#[test]
fn a_question_may_hold_braces_and_its_own_place() {
    let quality = quality(RECORDS, &[], &words_tokenizer());
    let prompt = quality.prompts.measured(1, "{question} {0} %s");
    assert!(prompt.ends_with("\n\nQuestion: {question} {0} %s\nAnswer:"), "{prompt}");
}

#[test]
fn only_first_answers_to_measured_questions_are_scored() {
    let mut quality = quality(RECORDS, &["--no-warmup"], &words_tokenizer());
    quality.ended(Phase::Warmup, &answered("prefill_doc0", "Ada", None));
    quality.ended(Phase::Measured, &answered("sample1", "y", None));
    quality.ended(Phase::Measured, &answered("sample0", "Ada", Some(0)));
    quality.ended(Phase::Measured, &answered("sample0#2", "no", Some(0)));
    let folder = crate::testing::temporary_path("rag-results");
    quality.file = Some(checked(&folder.join("made/r.json")).unwrap());
    let concluded = quality.conclude(false);
    std::fs::remove_dir_all(&folder).unwrap();
    let [(_, contents)] = &concluded.files[..] else {
        panic!("one file");
    };
    let results: serde_json::Value = serde_json::from_slice(contents).unwrap();
    assert_eq!(results["summary"]["f1_mean"], 0.5);
    assert_eq!(results["per_sample"][0]["answer"], "Ada");
    assert_eq!(results["per_sample"].as_array().unwrap().len(), 2);
    // Without a warmup nothing is expected from the cache.
    assert!(concluded.warnings.is_empty(), "{:?}", concluded.warnings);
}

#[test]
fn an_interrupted_run_writes_no_results() {
    let mut quality = quality(RECORDS, &[], &words_tokenizer());
    quality.file = Some(OutputFile::check(Path::new("/dev/null")).unwrap());
    quality.ended(Phase::Measured, &answered("sample0", "Ada", None));
    let concluded = quality.conclude(true);
    assert!(concluded.files.is_empty() && concluded.section.is_some());
}

#[test]
fn little_reuse_is_told_where_the_engine_says_it() {
    let tokenizer = words_tokenizer();
    for (cached, expected) in [(None, &[][..]), (Some(15), &["little-reuse"]), (Some(16), &[])] {
        let mut quality = quality(RECORDS, &[], &tokenizer);
        assert_eq!(quality.prompts.passage_tokens(0), 32);
        quality.ended(Phase::Measured, &answered("sample0", "Ada", cached));
        assert_eq!(codes(&mut quality), expected, "{cached:?}");
    }
}

#[test]
fn what_the_cache_server_had_is_shown_and_its_absence_told() {
    let tokenizer = words_tokenizer();
    let counts = |requested, hit| {
        let mp = Some(Tokens { requested, hit });
        let blend = Some(Tokens::default());
        Some(LookupCounts { mp, blend })
    };
    let keys = |concluded: &Conclusion| format!("{:?}", concluded.section);
    let concluded = |more: &[&str], last, partial| {
        let mut quality = quality(RECORDS, more, &tokenizer);
        assert_eq!(quality.watches_lookups(), !more.is_empty());
        for (at, counts) in [
            (Moment::BeforeWarmup, counts(0.0, 0.0)),
            (Moment::AfterWarmup, counts(500.0, 20.0)),
            (Moment::AfterMeasured, last),
        ] {
            quality.looked_up(at, counts).unwrap();
        }
        quality.ended(Phase::Measured, &answered("sample0", "Ada", None));
        quality.ended(Phase::Measured, &answered("sample0#2", "Ada", None));
        quality.conclude(partial)
    };
    let codes = |concluded: &Conclusion| {
        concluded
            .warnings
            .iter()
            .map(|warning| warning.code)
            .collect::<Vec<_>>()
    };
    let with = ["--lmcache-url", "h:1"];
    let shown = concluded(&with, counts(800.0, 120.0), false);
    let rows = keys(&shown);
    assert!(
        rows.contains("hit_tokens_total") && rows.contains("value: 50.0"),
        "{rows}"
    );
    assert!(
        rows.contains("hit_token_rate_pct") && rows.contains("value: 33.33"),
        "{rows}"
    );
    assert!(codes(&shown).is_empty());
    let unread = concluded(&with, None, false);
    assert!(!keys(&unread).contains("hit_tokens"));
    assert_eq!(codes(&unread), ["no-lookup-tokens"]);
    assert!(
        codes(&concluded(&with, None, true)).is_empty(),
        "ended before the last reading"
    );
    let without = concluded(&[], counts(800.0, 120.0), false);
    assert!(!keys(&without).contains("hit_tokens") && codes(&without).is_empty());
}

#[test]
fn ids_that_repeat_and_answers_that_are_missing_are_told() {
    let same = RECORDS.replace("\"b\"", "\"a\"");
    let mut quality = quality(&same, &[], &words_tokenizer());
    quality.ended(Phase::Measured, &answered("sample0", "Ada", None));
    quality.ended(Phase::Measured, &finished("sample1", "no tags"));
    assert_eq!(codes(&mut quality), ["unparsed-answers", "repeated-ids"]);
}

#[test]
fn doubts_about_the_prefix_are_told() {
    for (doubt, words) in [
        (Doubt::Unknown("no template".into()), "is not known (no template)"),
        (Doubt::Kwargs(9), "puts 9 tokens before a prompt"),
        (Doubt::Engine(7), "the engine puts 7 tokens"),
    ] {
        let warning = Warning::of_prefix(&doubt);
        let text = crate::result::warning::Warning::text(&warning);
        assert!(text.contains(words), "{text}");
        let mut quality = quality(RECORDS, &[], &words_tokenizer());
        quality.doubt = Some(doubt);
        assert_eq!(codes(&mut quality), ["chat-prefix"]);
    }
    let mut quality = quality(RECORDS, &[], &words_tokenizer());
    quality.prompts.unaligned = 2;
    assert_eq!(codes(&mut quality), ["unaligned-blocks"]);
}

#[test]
fn a_path_that_cannot_be_written_is_refused_with_its_flag() {
    let folder = checked(Path::new("/dev/null/x/r.json")).unwrap_err().to_string();
    assert!(
        folder.starts_with("could not make the folder /dev/null/x for --rag-output: "),
        "{folder}"
    );
    let file = checked(Path::new("/")).unwrap_err().to_string();
    assert!(
        file.starts_with("could not write the answers to --rag-output /: "),
        "{file}"
    );
}
