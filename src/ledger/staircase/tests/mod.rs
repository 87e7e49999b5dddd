//! Plans against tiers whose sizes are known: exact ones of least-recently-used blocks and chunks, and the measured table of an
//! engine with L1 and L2.

use super::circle::{Circle, document_tokens};
use super::plan::{Action, Ended, Missed, Plan, Settings};
use super::testing::{BLOCK, CHUNK, Exact};
use super::usable::{Held, Reach, Usable};
use super::{Point, Span, Tier, Tiers, Tokens};
use crate::stats::random::SplitMix64;

mod probes;

fn settings(tiers: Tiers) -> Settings {
    Settings {
        tiers,
        document_tokens: document_tokens(&tiers, None),
        growing: 8,
        passes: 3,
        settle_s: 0.0,
    }
}

/// Runs a plan within a budget of so many seconds.
fn carried_out(settings: Settings, mut measure: impl FnMut(Circle) -> Point, budget_s: f64) -> (Plan, Ended) {
    let mut plan = Plan::new(settings);
    let mut left_s = budget_s;
    loop {
        match plan.next(left_s) {
            Action::Measure(circle) => {
                let point = measure(circle);
                left_s -= point.seconds;
                plan.record(point);
            }
            Action::Done(ended) => return (plan, ended),
        }
    }
}

fn assert_near(found: Option<u64>, expected: u64, share: f64, what: &str) {
    let found = found.unwrap_or(0) as f64;
    let apart = (found / expected as f64 - 1.0).abs();
    assert!(apart <= share, "{what}: {found} for {expected}");
}

#[test]
fn the_sizes_of_exact_tiers_are_found() {
    for (hbm, l1, l2) in [(32_000, 96_000, 400_000), (40_000, 64_000, 0), (64_000, 0, 0)] {
        let mut exact = Exact::new(hbm, l1, l2);
        let (plan, ended) = carried_out(settings(exact.tiers), |circle| exact.point(circle, 3), f64::INFINITY);
        let Usable {
            hbm: found,
            l1: found_l1,
            l2: found_l2,
        } = plan.usable();
        assert_eq!(ended, Ended::Found);
        assert!(
            plan.missed().is_empty() && plan.points().len() < 40,
            "{}",
            plan.points().len()
        );
        assert_near(found.and_then(|reach| reach.tokens()), hbm, 0.03, "HBM");
        for (found, size) in [(found_l1.map(|l1| l1.reach), l1), (found_l2, l2)] {
            match size {
                0 => assert_eq!(found, None),
                size => assert_near(found.and_then(|reach| reach.tokens()), size, 0.03, "a lower tier"),
            }
        }
        if l1 > 0 {
            let l1 = found_l1.unwrap();
            assert_eq!(l1.has_cliff, Some(true));
            assert_eq!(l1.tokens(), l1.reach.tokens().map(|tokens| tokens as f64));
        }
    }
}

#[test]
fn blocks_of_hbm_without_a_chunk_are_none_of_l1() {
    let point = Point {
        circle: Circle::of(600, 300, 17),
        passes: 3,
        tokens: Tokens {
            prompt: 1_800,
            computed: 72,
            hbm: 6 * 288,
            ..Tokens::default()
        },
        ..measured()[0].clone()
    };
    let tiers = Exact::new(12_800, 64_000, 0).tiers;
    assert_eq!(point.held_tokens(Tier::Hbm, &tiers), 2 * 288);
    assert_eq!(point.held_tokens(Tier::L1, &tiers), 2 * 256);
}

#[test]
fn no_tier_is_found_to_be_larger_than_it_is() {
    // Documents with up to a block or a chunk of tokens that no tier holds, and some that fill blocks to the last token.
    for (length, hbm, l1) in [
        (20, 1_600, 0),
        (40, 3_200, 0),
        (640, 64_000, 0),
        (300, 12_800, 64_000),
        (600, 12_800, 64_000),
    ] {
        let mut exact = Exact::new(hbm, l1, 0);
        let own = Settings {
            document_tokens: length,
            ..settings(exact.tiers)
        };
        let (plan, _) = carried_out(own, |circle| exact.point(circle, 3), f64::INFINITY);
        let usable = plan.usable();
        let l1_found = usable.l1.map(|l1| l1.reach);
        for (reach, size) in [(usable.hbm, hbm), (l1_found, l1)]
            .into_iter()
            .filter(|(_, size)| *size > 0)
        {
            let Some(Reach::Cliff { holds, .. }) = reach else {
                panic!("{length}: {reach:?}")
            };
            assert!(holds.tokens <= size, "{holds:?} of {size} by documents of {length}");
            // The working set has more than that.
            assert!(holds.working_set > holds.tokens, "{holds:?}");
            assert_near(Some(holds.tokens), size, 0.05, "a tier");
        }
    }
}

#[test]
fn the_two_ends_of_a_cliff_are_within_two_percent() {
    let mut exact = Exact::new(64_000, 0, 0);
    let (plan, _) = carried_out(settings(exact.tiers), |circle| exact.point(circle, 3), f64::INFINITY);
    let Some(Reach::Cliff { holds, fails }) = plan.usable().hbm else {
        panic!("no cliff")
    };
    let holds = holds.working_set;
    assert!(fails > holds && fails - holds <= holds / 50, "{holds} to {fails}");
}

#[test]
fn unknown_sizes_are_found_by_doubling() {
    let mut exact = Exact::new(50_000, 150_000, 0);
    let unknown = Tiers {
        hbm: None,
        l1: None,
        ..exact.tiers
    };
    let (plan, ended) = carried_out(settings(unknown), |circle| exact.point(circle, 3), f64::INFINITY);
    assert_eq!(ended, Ended::Found);
    assert_near(plan.usable().hbm.and_then(|reach| reach.tokens()), 50_000, 0.03, "HBM");
    let l1 = plan.usable().l1.unwrap();
    assert_near(l1.reach.tokens(), 150_000, 0.03, "L1");
}

#[test]
fn a_size_that_is_wrong_by_far_does_not_mislead() {
    for said in [640_000, 4_000] {
        let mut exact = Exact::new(64_000, 0, 0);
        let wrong = Tiers {
            hbm: Some(said),
            ..exact.tiers
        };
        let wrong = Settings {
            document_tokens: 2_056,
            ..settings(wrong)
        };
        let (plan, _) = carried_out(wrong, |circle| exact.point(circle, 3), f64::INFINITY);
        assert_near(plan.usable().hbm.and_then(|reach| reach.tokens()), 64_000, 0.04, "HBM");
    }
}

#[test]
fn an_engine_without_a_prefix_cache_has_nothing_and_the_plan_ends() {
    let mut exact = Exact::new(0, 0, 0);
    let tiers = Tiers {
        hbm: Some(32_000),
        ..exact.tiers
    };
    let (plan, ended) = carried_out(settings(tiers), |circle| exact.point(circle, 3), f64::INFINITY);
    assert_eq!(ended, Ended::Found);
    let one = document_tokens(&tiers, None);
    assert_eq!(plan.usable().hbm, Some(Reach::Nothing { smallest: one }));
    assert_eq!(plan.usable().l1, None);
}

#[test]
fn what_the_budget_does_not_reach_is_said_and_the_rest_is_kept() {
    // Of 200,000 tokens four passes are 80 s, and three of them 0.6 s where HBM holds them.
    let mut exact = Exact::new(32_000, 0, 0);
    let all = settings(exact.tiers);
    for budget_s in [30.0, 45.0, 60.0] {
        let (plan, ended) = carried_out(all, |circle| exact.point(circle, 3), budget_s);
        assert_eq!(ended, Ended::Budget);
        let spent: f64 = plan.points().iter().map(|point| point.seconds).sum();
        assert!(spent <= budget_s, "{spent} of {budget_s}");
        assert!(plan.points().len() >= 3);
        let Missed::WorkingSet { tokens, seconds } = plan.missed()[0] else {
            panic!("{:?}", plan.missed())
        };
        assert!(seconds.unwrap() >= 4.0 * 1e-4 * tokens as f64, "{:?}", plan.missed());
    }
    let (none, ended) = carried_out(all, |circle| exact.point(circle, 3), 0.0);
    assert_eq!((none.points().len(), ended), (1, Ended::Budget));
}

#[test]
fn small_noise_in_the_shares_does_not_move_the_sizes() {
    let mut random = SplitMix64::new(3);
    let mut exact = Exact::new(48_000, 128_000, 0);
    let mut noisy = |circle| {
        let mut point = exact.point(circle, 3);
        let lost = (point.tokens.hbm as f64 * 0.01 * random.unit()) as u64;
        point.tokens.hbm -= lost;
        let l1 = (point.tokens.l1.min as f64 * 0.01 * random.unit()) as u64;
        point.tokens.l1 = Span::exactly(point.tokens.l1.min - l1);
        point.tokens.computed += lost + l1;
        point
    };
    let known = Tiers {
        hbm: Some(48_000),
        l1: Some(128_000),
        block: Some(BLOCK),
        chunk: Some(CHUNK),
        ..Tiers::default()
    };
    let (plan, ended) = carried_out(settings(known), &mut noisy, f64::INFINITY);
    assert_eq!(ended, Ended::Found);
    assert_near(plan.usable().hbm.and_then(|reach| reach.tokens()), 48_000, 0.04, "HBM");
    assert_near(plan.usable().l1.and_then(|l1| l1.reach.tokens()), 128_000, 0.04, "L1");
}

/// Measured on vLLM 0.32.0 and LMCache 0.5.6 with 64 blocks of 128 tokens and an L1 of 48 chunks, on top of an L2 without a limit:
/// documents, computed, HBM, L1, L2 of three passes over documents of about 2,023 tokens.
const MEASURED: [(u64, u64, u64, u64, u64); 10] = [
    (1, 412, 7_680, 0, 0),
    (2, 824, 15_360, 0, 0),
    (3, 1_236, 23_040, 0, 0),
    (4, 1_233, 23_040, 0, 0),
    (5, 3_462, 7_680, 18_432, 768),
    (6, 4_152, 0, 22_784, 9_472),
    (7, 4_845, 0, 27_648, 9_984),
    (8, 5_544, 0, 24_576, 18_432),
    (10, 6_921, 0, 19_200, 34_560),
    (12, 8_304, 0, 22_784, 41_728),
];

fn measured() -> Vec<Point> {
    let point = |(documents, computed, hbm, l1, l2): (u64, u64, u64, u64, u64)| {
        let prompt = computed + hbm + l1 + l2;
        Point {
            circle: Circle {
                documents,
                tokens: 2_023,
                rest: 0,
            },
            // The first three rows are of four passes.
            passes: (prompt as f64 / 2_023.0 / documents as f64).round() as u64,
            tokens: Tokens {
                prompt,
                computed,
                hbm,
                l1: Span::exactly(l1),
                l2: Span::exactly(l2),
                doubtful: 0,
            },
            ttft_s: Vec::new(),
            filling_s: 0.5,
            seconds: 1.0,
        }
    };
    MEASURED.map(point).into()
}

#[test]
fn the_measured_staircase_reads_as_hbm_with_a_cliff_and_l1_without_one() {
    let tiers = Tiers {
        hbm: Some(64 * 128),
        l1: Some(48 * 256),
        l1_keeps: Some(48 * 256 * 8 / 10),
        l2: None,
        block: Some(128),
        chunk: Some(256),
    };
    let points = measured();
    let usable = Usable::of(&points, &tiers);
    let documents = |count: u64| {
        points
            .iter()
            .find(|point| point.circle.documents == count)
            .unwrap()
            .working_set()
    };
    // All at 4 documents, which are 15.8 MiB of 16.25.
    assert_eq!(
        usable.hbm,
        Some(Reach::Cliff {
            holds: Held {
                working_set: documents(4),
                // 60 of 64 blocks.
                tokens: 7_680
            },
            fails: documents(5)
        })
    );
    let l1 = usable.l1.unwrap();
    assert_eq!(l1.has_cliff, Some(false));
    // 25 to 36 chunks of each pass, whatever the working set.
    let kept = l1.kept.unwrap();
    assert!((kept.min / 256.0, kept.max / 256.0) == (25.0, 36.0), "{kept:?}");
    assert_eq!(l1.tokens(), Some(kept.mean));
    assert!((30.0..31.0).contains(&(kept.mean / 256.0)), "{kept:?}");
    // L2 has no end.
    let Some(Reach::NotReached { largest }) = usable.l2 else {
        panic!("{:?}", usable.l2)
    };
    assert_eq!(largest.working_set, documents(12));
    let ceiling = |tier| points[3].ceiling(tier, &tiers);
    let published = [1_920.0 / 2_023.0, 1_792.0 / 2_023.0];
    for (tier, published) in [Tier::Hbm, Tier::L1].into_iter().zip(published) {
        assert!((ceiling(tier) - published).abs() < 0.001, "{tier:?}: {}", ceiling(tier));
    }
}
