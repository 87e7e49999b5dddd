//! What raises each warning about the ledger, and the texts.

use super::*;
use crate::ledger::balance::Range;
use crate::ledger::testing::{Phase, phase, phases, without};
use crate::ledger::tiers::{Answers, TierFlags};

fn of(ledger: &Ledger) -> Vec<LedgerWarning> {
    let phase = PhaseLedger {
        phase: "measured",
        ledger,
        settled: true,
    };
    warnings(&[phase], Some(256))
}

/// The one warning of a phase: its code and its text.
fn only(ledger: &Ledger) -> (&'static str, String) {
    let warnings = of(ledger);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let Message { finding, advice, .. } = warnings[0].message();
    (warnings[0].code(), finding + " " + &advice)
}

/// The recorded phase with other counts after it.
fn after(name: &str, changes: &[(&str, &str)]) -> Ledger {
    let mut phase = phase(name);
    for (from, to) in changes {
        let changed = phase.engine[1].replace(from, to);
        assert_ne!(changed, phase.engine[1], "{from}");
        phase.engine[1] = changed;
    }
    phase.read()
}

const COMPUTED: &str = "source=\"local_compute\"} 12784.0";

#[test]
fn recorded_phases_raise_no_warning() {
    for phase in phases() {
        assert_eq!(of(&phase.read()), [], "{}", phase.name);
    }
}

#[test]
fn tokens_without_a_source_have_a_likely_cause() {
    let computed = |tokens: u64| after("warm", &[(COMPUTED, &format!("source=\"local_compute\"}} {tokens}"))]);
    let (code, text) = only(&computed(12_784 - 400));
    assert_eq!(code, "ledger-off");
    assert!(
        text.contains("400 tokens (3.3 %) of the prompts have no source") && text.contains("tails of chunks"),
        "{text}"
    );
    assert_eq!(of(&computed(12_784 - 100)), [], "less than 1 % is not worth a warning");
    assert!(only(&computed(12_784 + 5000)).1.contains("please report this"));
    let mut others = phase("warm");
    others.usage.prompt_tokens -= 1;
    others.engine[1] = others.engine[1].replace(COMPUTED, "source=\"local_compute\"} 12284");
    let codes: Vec<_> = of(&others.read()).iter().map(LedgerWarning::code).collect();
    assert_eq!(codes, ["ledger-off", "other-clients"]);
    let text = of(&others.read())[0].message().finding;
    assert!(text.contains("cause: other clients"), "{text}");
}

#[test]
fn fewer_prompts_than_answers_are_of_an_engine_without_a_page() {
    let mut phase = phase("warm");
    phase.usage.prompt_tokens *= 2;
    let (code, text) = only(&phase.read());
    let want = format!(
        "{0} tokens (50.0 %) of the answers' prompts were not counted",
        phase.usage.prompt_tokens / 2
    );
    assert!(
        code == "ledger-off" && text.contains(&want) && text.contains("--metrics-url"),
        "{text}"
    );
    // A few tokens that do not balance must not hide it.
    let beyond = phase.engine[1].replace(COMPUTED, "source=\"local_compute\"} 12787");
    assert_ne!(beyond, phase.engine[1]);
    phase.engine[1] = beyond;
    assert_eq!(phase.read().unexplained(), Some(-3));
    assert!(only(&phase.read()).1.contains("were not counted"));
}

#[test]
fn sources_beyond_the_prompts_have_a_likely_cause() {
    let computed = |tokens: u64| after("warm", &[(COMPUTED, &format!("source=\"local_compute\"}} {tokens}"))]);
    let (_, text) = only(&computed(12_784 + 400));
    assert!(
        text.contains("400 tokens (3.3 %) are in the sources beyond") && text.contains("tails of chunks"),
        "{text}"
    );
    // Eight short prompts: one token of each is more than 1 % of them.
    let mut ledger = computed(12_784 + 3);
    let prompt = ledger.rows.get_mut(&Item::Prompt).unwrap();
    prompt.range = Range::exact(200);
    let (_, text) = only(&ledger);
    assert!(text.contains("counts the last token"), "{text}");
    ledger.recounted = 500;
    assert!(
        only(&ledger)
            .1
            .contains("counted again; lookups exceed the prompts by 500")
    );
    // Answers that were cut off, and nothing else is known.
    let mut ledger = phase("warm").read();
    ledger.balance = Balance::Off(9000);
    ledger.no_first_token = Some(9000);
    assert!(only(&ledger).1.contains("retried, aborted or failed"));
    ledger.no_first_token = None;
    ledger.missing.push("a_counter".into());
    assert!(only(&ledger).1.contains("counters that are missing: a_counter"));
}

#[test]
fn restarts_and_missing_counters_are_named() {
    let (code, text) = only(&after(
        "warm",
        &[(
            "prompt_tokens_total{engine=\"0\",model_name=\"tiny\"} 24304.0",
            "prompt_tokens_total{} 7",
        )],
    ));
    assert!(
        code == "ledger-off" && text.contains("went back from 12152 to"),
        "{text}"
    );
    let lacking = phase("warm").with_engine(|page| {
        without(
            page,
            "vllm:prompt_tokens_by_source_total{engine=\"0\",model_name=\"tiny\",source=\"local_cache",
        )
    });
    let text = only(&lacking.read()).1;
    assert!(
        text.contains("counters are missing: vllm:prompt_tokens_by_source_total{source=\"local_cache_hit\"}"),
        "{text}"
    );
}

#[test]
fn traffic_of_others_and_what_was_not_counted_is_told() {
    let fewer = |failed: u64| {
        let mut phase = phase("warm");
        phase.usage.prompt_tokens -= 100;
        phase.usage.failed = failed;
        phase.read()
    };
    assert_eq!(only(&fewer(0)).0, "other-clients");
    assert_eq!(of(&fewer(1)), [], "they may be of the request that failed");
    let dropped =
        phase("l2_warm").with_lmcache(|page| page.replace("dropped_events_total 0.0", "dropped_events_total 0"));
    let mut dropped = Phase { ..dropped };
    dropped.lmcache[1] = dropped.lmcache[1].replace("dropped_events_total 0", "dropped_events_total 9");
    assert_eq!(only(&dropped.read()).0, "events-dropped");
    let mut shared = phase("l2_warm");
    shared.lmcache[1] += "lmcache_mp_lookup_requested_tokens_total{model_name=\"other\"} 256\n";
    let (code, text) = only(&shared.read());
    assert!(
        code == "shared-cache" && text.contains("256 tokens were looked up for other models (other)."),
        "{text}"
    );
    let old = phase("warm").with_engine(|page| without(page, "vllm:prompt_tokens_by_source"));
    assert_eq!(only(&old.read()).0, "hits-recounted");
    let ledger = phase("warm").read();
    let moving = PhaseLedger {
        phase: "measured",
        ledger: &ledger,
        settled: false,
    };
    assert_eq!(warnings(&[moving], None)[0].code(), "ledger-unsettled");
}

#[test]
fn sizes_that_nobody_said_are_named() {
    let tiers = |text: &str| KvTiers::of(&Answers::default(), &TierFlags::parse(text).unwrap());
    let warning = tiers_warning(&tiers("hbm=10blocks,block=16,l1=1GB"), true).unwrap();
    let text = warning.message().finding;
    assert!(
        text.ends_with("nobody said: chunk, bytes per token, watermark, ratio, l2."),
        "{text}"
    );
    assert_eq!(tiers_warning(&tiers("hbm=10blocks,block=16"), false), None);
}

#[test]
fn texts_are_one_line() {
    let (phase, tokens, percent) = ("measured", 1, 2.0);
    let text = || "x".to_owned();
    let all = [
        LedgerWarning::Off {
            phase,
            gap: Gap::NoSource,
            tokens,
            percent,
            cause: text(),
        },
        LedgerWarning::Void { phase, why: text() },
        LedgerWarning::Unsettled { phase },
        LedgerWarning::EventsDropped { phase, events: 1 },
        LedgerWarning::OtherClients {
            phase,
            tokens,
            percent,
            failed: 0,
        },
        LedgerWarning::OtherClients {
            phase,
            tokens,
            percent,
            failed: 1,
        },
        LedgerWarning::SharedCache { phase, what: text() },
        LedgerWarning::HitsRecounted { phase, tokens },
        LedgerWarning::TiersUnknown {
            names: text(),
            notes: " A note.".to_owned(),
        },
        LedgerWarning::HitsDiffer { phase, what: text() },
        LedgerWarning::NotCold { phase, tokens },
        LedgerWarning::ColdUnchecked { why: text() },
    ];
    for warning in all {
        let Message {
            finding,
            advice,
            separator,
        } = warning.message();
        let text = finding + separator + &advice;
        assert!(!text.contains('\n') && !text.contains("  "), "{text}");
    }
}
