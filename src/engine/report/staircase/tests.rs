//! The report of a staircase from made-up points.

use std::time::Instant;

use super::*;
use crate::engine::testing::config;
use crate::ledger::staircase::circle::Circle;
use crate::ledger::staircase::plan::Settings;
use crate::ledger::staircase::probes::{self, Sent, Source, Step};
use crate::ledger::staircase::{Span, Tokens};
use crate::report::Renderer;
use crate::report::json::ReferenceJson;

fn tiers() -> Tiers {
    Tiers {
        hbm: Some(8_192),
        l1: Some(12_288),
        l1_keeps: Some(9_830),
        l2: None,
        block: Some(128),
        chunk: Some(256),
    }
}

/// Documents, HBM, L1 and L2 of three passes over documents of 2,000 tokens.
fn point(documents: u64, hbm: u64, l1: u64, l2: u64) -> Point {
    let prompt = documents * 6_000;
    Point {
        circle: Circle {
            documents,
            tokens: 2_000,
            rest: 0,
        },
        passes: 3,
        tokens: Tokens {
            prompt,
            computed: prompt - hbm - l1 - l2,
            hbm,
            l1: Span::exactly(l1),
            l2: Span::exactly(l2),
            doubtful: 0,
        },
        ttft_s: vec![0.010, 0.020, 0.030],
        filling_s: 0.7,
        seconds: 3.0,
    }
}

fn climbed(points: &[Point]) -> Climbed {
    let mut plan = Plan::new(Settings {
        tiers: tiers(),
        document_tokens: 2_000,
        growing: 8,
        passes: 3,
        settle_s: 2.3,
    });
    points.iter().for_each(|point| plan.record(point.clone()));
    Climbed {
        plan,
        ended: Some(Ended::Budget),
        cut_off: None,
        probes: None,
        // 2^30 / 2^11 is 524,288 tokens per GB.
        bytes_per_token: Some(2_048.0),
        failure: None,
    }
}

/// HBM holds four documents; L1 keeps some of every larger working set, and L2 has the rest.
fn without_a_cliff() -> Climbed {
    climbed(&[
        point(8, 0, 24_576, 18_432),
        point(4, 22_990, 0, 0),
        point(5, 7_680, 10_000, 8_000),
        point(12, 0, 22_784, 41_728),
    ])
}

fn shown(climbed: &Climbed) -> serde_json::Value {
    let config = config(&["--staircase"]);
    let result = result(&config, climbed, None, &[], Instant::now());
    serde_json::from_slice(&ReferenceJson.render(&result)).unwrap()
}

#[test]
fn points_are_rows_in_the_order_of_their_size() {
    let report = shown(&without_a_cliff());
    let rows = report["metrics"]["kv_staircase"].as_object().unwrap();
    let documents: Vec<u64> = rows.values().map(|row| row["documents"].as_u64().unwrap()).collect();
    assert_eq!(documents, [4, 5, 8, 12]);
    let third = &rows["3"];
    assert_eq!(third["working_set_tokens"], 16_000);
    assert_eq!((third["l1"].as_f64(), third["l2"].as_f64()), (Some(51.2), Some(38.4)));
    assert_eq!(
        (third["hbm"].as_f64(), third["ttft_p50_ms"].as_f64()),
        (Some(0.0), Some(20.0))
    );
    assert_eq!(third["ttft_p90_ms"], 28.0);
}

#[test]
fn both_readings_of_l1_are_given_and_the_text_says_why() {
    let report = shown(&without_a_cliff());
    let usable = &report["metrics"]["kv_usable"];
    assert_eq!(
        (usable["hbm_holds_tokens"].as_u64(), usable["hbm_fails_tokens"].as_u64()),
        (Some(8_000), Some(10_000))
    );
    // 22,990 of three passes.
    assert_eq!(usable["hbm_tokens"], 7_663);
    // The next working set is a quarter larger, so the size may be anything between.
    assert_eq!(usable["hbm_found"], "between two working sets far apart");
    assert!(usable["hbm_usable_percent"].is_null());
    let mut closer = without_a_cliff();
    let mut fails = point(5, 7_680, 10_000, 8_000);
    fails.circle.documents = 4;
    fails.circle.rest = 200;
    fails.tokens = Tokens {
        prompt: 24_600,
        computed: 6_600,
        hbm: 0,
        ..fails.tokens
    };
    closer.plan.record(fails);
    let usable_closer = shown(&closer)["metrics"]["kv_usable"].clone();
    assert_eq!(usable_closer["hbm_found"], "found");
    assert_eq!(usable_closer["hbm_usable_percent"], 93.5);
    // Documents of whole chunks, of which L2 has nearly all.
    assert_eq!(
        (usable["l2_tokens"].as_u64(), usable["l2_holds_tokens"].as_u64()),
        (Some(21_504), Some(24_000))
    );
    assert_eq!(
        (
            usable["l1_kept_min_tokens"].as_u64(),
            usable["l1_kept_max_tokens"].as_u64()
        ),
        (Some(7_595), Some(8_192))
    );
    assert_eq!(usable["l1_keeps_tokens"], 9_830);
    assert_eq!(usable["l1_tokens"], 7_893);
    assert_eq!(usable["l1_gb"], 0.015);
    assert!(usable["l2_found"].as_str().unwrap().starts_with("not reached"));
    let reading = report["metrics"]["kv_reading"].to_string();
    assert!(
        reading.contains("L1 has no cliff here: it went on serving 7,595 to 8,192 tokens"),
        "{reading}"
    );
    assert!(reading.contains("LMCache's default prefetch policy"), "{reading}");
    assert!(
        reading.contains("lies between 8,000 tokens (0.015 GB) and 10,000 tokens"),
        "{reading}"
    );
}

#[test]
fn a_tier_that_adds_nothing_is_told_from_one_that_is_not_there() {
    let with_points = |l2: Option<u64>, points: usize| {
        let mut small = climbed(&[]);
        let tiers = Tiers { l2, ..tiers() };
        small.plan = Plan::new(Settings {
            tiers,
            ..*small.plan.settings()
        });
        // The last one lies in neither, and none between L1 and L2 was measured.
        for (documents, hbm, l1) in [(4, 22_990, 0), (6, 0, 32_256), (8, 0, 0)].into_iter().take(points) {
            small.plan.record(point(documents, hbm, l1, 0));
        }
        shown(&small)["metrics"]["kv_usable"].clone()
    };
    let with_l2 = |l2: Option<u64>| with_points(l2, 3);
    let usable = with_l2(Some(12_400));
    assert_eq!(
        (&usable["l1_found"], &usable["l2_found"]),
        (
            &"between two working sets far apart".into(),
            &"adds nothing measurable to L1".into()
        )
    );
    assert_eq!(with_l2(None)["l2_found"], "serves nothing");
    // Also where HBM and L1 held all that was measured, so that nothing speaks against it.
    for points in [1, 2, 3] {
        let without = with_points(Some(0), points);
        assert_eq!(without["l2_found"], "none, as the servers say");
        assert!(without["l2_configured_tokens"].is_null());
    }
}

#[test]
fn documents_that_are_shorter_than_a_chunk_say_nothing_of_l1() {
    let circle = Circle {
        documents: 40,
        tokens: 200,
        rest: 0,
    };
    let short = Point {
        circle,
        tokens: Tokens {
            prompt: 24_000,
            computed: 8_640,
            hbm: 15_360,
            ..Tokens::default()
        },
        ..point(4, 0, 0, 0)
    };
    let metrics = shown(&climbed(&[short]))["metrics"].clone();
    let usable = &metrics["kv_usable"];
    for found in ["l1_found", "l2_found"] {
        assert_eq!(usable[found], "documents are shorter than a chunk", "{usable}");
    }
    assert!(usable.get("l1_holds_tokens").is_none(), "{usable}");
    let reading = metrics["kv_reading"].to_string();
    assert!(reading.contains("raise --staircase-document-length"), "{reading}");
}

#[test]
fn tokens_of_other_clients_are_kept_and_said() {
    let mut shared = point(8, 0, 24_576, 18_432);
    shared.tokens.doubtful = 900;
    let report = shown(&climbed(&[point(4, 22_990, 0, 0), shared]));
    assert_eq!(report["metrics"]["kv_staircase"].as_object().unwrap().len(), 2);
    let reading = report["metrics"]["kv_reading"].to_string();
    assert!(
        reading.contains("in 1 of 2 working sets and 0 of 0 lengths of prompts"),
        "{reading}"
    );
    let alone = shown(&without_a_cliff())["metrics"]["kv_reading"].to_string();
    assert!(!alone.contains("other clients"), "{alone}");
}

#[test]
fn without_any_working_set_nothing_is_said_of_tiers_and_times() {
    let mut none = climbed(&[]);
    none.cut_off = Some(2_048);
    let report = shown(&none);
    let reading = report["metrics"]["kv_reading"].to_string();
    assert!(
        reading.contains("The working set of 2,048 tokens (0.004 GB) was not measured to its end"),
        "{reading}"
    );
    assert!(reading.contains("raise --budget to reach it"), "{reading}");
    assert!(!reading.contains(" 0 s") && !reading.contains("L1"), "{reading}");
    assert_eq!(report["metrics"]["kv_usable"]["hbm_found"], "not measured");
}

#[test]
fn without_a_cache_server_only_hbm_is_spoken_of() {
    let mut alone = climbed(&[point(4, 22_990, 0, 0), point(5, 0, 0, 0)]);
    let settings = Settings {
        tiers: Tiers {
            l1: None,
            l1_keeps: None,
            ..tiers()
        },
        ..*alone.plan.settings()
    };
    let points = alone.plan.points().to_vec();
    alone.plan = Plan::new(settings);
    points.into_iter().for_each(|point| alone.plan.record(point));
    let report = shown(&alone);
    let text = report["metrics"].to_string();
    assert!(!text.contains("L1") && !text.contains("\"l1"), "{text}");
}

#[test]
fn an_interval_between_l1_and_l2_is_named() {
    let mut unsure = point(8, 0, 24_576, 18_432);
    unsure.tokens.l1 = Span {
        min: 10_000,
        max: 24_576,
    };
    unsure.tokens.l2 = Span {
        min: 18_432,
        max: 33_008,
    };
    let report = shown(&climbed(&[point(4, 22_990, 0, 0), unsure]));
    assert!(
        report["metrics"]["kv_reading"]
            .to_string()
            .contains("Of 1 working sets the counters leave open")
    );
}

#[test]
fn lines_and_break_even_lengths_are_rows_and_what_has_none_is_a_sentence() {
    let mut climbed = without_a_cliff();
    let mut probes = Probes::new(probes::Settings {
        tiers: Tiers {
            l1: Some(122_880),
            l1_keeps: None,
            ..tiers()
        },
        has_l1: true,
        has_l2: true,
        prompts: 3,
        longest: 1_100,
    });
    while let Some(step) = probes.next(f64::INFINITY) {
        let Step::Send {
            source,
            length,
            prompts,
        } = step
        else {
            continue;
        };
        // Computing 1 ms and 0.1 ms per token; L1 31 ms and 0.01 ms per token; nothing else serves what it should.
        let (served, each) = match source {
            Source::Computed => (0, 0.001 + length as f64 * 1e-4),
            Source::From(Tier::L1) => (length / 256 * 256 * prompts, 0.031 + length as f64 * 1e-5),
            Source::From(_) => (0, 0.5),
        };
        let prompt = length * prompts;
        probes.record(Sent {
            source,
            length,
            tokens: Tokens {
                prompt,
                computed: prompt - served,
                l1: Span::exactly(served),
                ..Tokens::default()
            },
            ttft_s: vec![each; prompts as usize],
            seconds: 1.0,
        });
    }
    climbed.probes = Some(probes);
    let report = shown(&climbed);
    let even = &report["metrics"]["kv_break_even"];
    assert_eq!(
        (
            even["computed"]["fixed_ms"].as_f64(),
            even["computed"]["per_token_us"].as_f64()
        ),
        (Some(1.0), Some(100.0))
    );
    // 2,048 bytes in 10 us.
    assert_eq!(
        (even["l1"]["fixed_ms"].as_f64(), even["l1"]["gb_per_s"].as_f64()),
        (Some(31.0), Some(0.19))
    );
    assert_eq!(even["l1"]["break_even_tokens"], 333.0);
    assert!(even.get("hbm").is_none(), "{even}");
    let reading = report["metrics"]["kv_reading"].to_string();
    assert!(
        reading.contains("TTFT by HBM is not isolated: it served 0 % of what it could, computing 100 % of the prompt."),
        "{reading}"
    );
    let samples = samples(&climbed);
    assert_eq!(samples.tables["kv_staircase"].rows.len(), 4);
    assert!(samples.tables["kv_probes"].rows.len() >= 6);
}
