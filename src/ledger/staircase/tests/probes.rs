//! Probes against exact tiers.

use crate::ledger::staircase::circle::Circle;
use crate::ledger::staircase::probes::{self, NotIsolated, Probes, Sent, Source, Step};
use crate::ledger::staircase::testing::{BLOCK, Exact, add};
use crate::ledger::staircase::{Span, Tier, Tiers, Tokens};

fn probed(exact: &mut Exact, settings: probes::Settings, budget_s: f64) -> Probes {
    let mut probes = Probes::new(settings);
    let mut left_s = budget_s;
    while let Some(step) = probes.next(left_s) {
        match step {
            Step::Fill { tokens } => {
                let circle = Circle::of(tokens, 2_056, BLOCK + 1);
                exact.next_document += circle.count();
                let first = 1_000_000 + exact.next_document;
                left_s -= exact.pass(&circle, first).1.iter().sum::<f64>();
            }
            Step::Send {
                source,
                length,
                prompts,
            } => {
                let mut sum = Tokens::default();
                let mut ttft_s = Vec::new();
                for number in 0..prompts {
                    let (tokens, ttft) = exact.send(9_000_000 + length * 100 + number, length);
                    add(&mut sum, &tokens);
                    ttft_s.push(ttft);
                }
                let seconds = ttft_s.iter().sum();
                left_s -= seconds;
                probes.record(Sent {
                    source,
                    length,
                    tokens: sum,
                    ttft_s,
                    seconds,
                });
            }
        }
    }
    probes
}

fn of_probes(tiers: Tiers) -> probes::Settings {
    probes::Settings {
        tiers,
        has_l1: tiers.l1.is_some(),
        has_l2: tiers.l2.is_some(),
        prompts: 5,
        longest: 9_000,
    }
}

#[test]
fn the_break_even_lengths_of_exact_tiers_are_found() {
    for noise in [0.0, 0.02] {
        let mut exact = Exact::new(64_000, 300_000, 2_000_000);
        exact.noise = noise;
        let settings = of_probes(exact.tiers);
        let lines = probed(&mut exact, settings, f64::INFINITY).lines();
        // Computing costs 0.1 ms for each token. What is behind the last whole chunk is computed in any case.
        for (at, expected) in [(1, 17.0), (2, 256.0), (3, 500.0)] {
            let found = lines[at].break_even.unwrap().tokens.unwrap();
            assert!((found / expected - 1.0).abs() < 0.10, "{:?}: {found}", lines[at].source);
        }
        let slopes = lines.iter().map(|line| line.line.clone().unwrap().per_token_s);
        for (slope, expected) in slopes.zip(exact.cost_s) {
            // The few tokens of HBM are lost in the noise of 20 ms.
            let allowed = (0.05 * expected).max(noise * 5e-6);
            assert!((slope - expected).abs() <= allowed, "{slope} for {expected}");
        }
    }
}

#[test]
fn a_source_that_was_not_isolated_says_why() {
    let line = |lines: &[probes::SourceLine], at: usize| lines[at].line.clone().unwrap_err();
    // L1 is no larger than HBM.
    let mut exact = Exact::new(64_000, 70_000, 0);
    let settings = of_probes(exact.tiers);
    let lines = probed(&mut exact, settings, f64::INFINITY).lines();
    assert_eq!(line(&lines, 2), NotIsolated::L1TooSmall);
    assert_eq!(line(&lines, 3), NotIsolated::NoTier);
    assert!(lines[0].line.is_ok() && lines[1].line.is_ok());
    // Said to be larger than it is.
    let boasting = probes::Settings {
        tiers: Tiers {
            l1: Some(300_000),
            ..settings.tiers
        },
        ..settings
    };
    let lines = probed(&mut Exact::new(64_000, 70_000, 0), boasting, f64::INFINITY).lines();
    let NotIsolated::Served { share, other, .. } = line(&lines, 2) else {
        panic!("{:?}", lines[2].line)
    };
    assert!(share < 0.9 && other == Source::Computed);
    let unknown = probes::Settings {
        tiers: Tiers {
            hbm: None,
            ..settings.tiers
        },
        ..settings
    };
    let lines = probed(&mut Exact::new(64_000, 300_000, 0), unknown, f64::INFINITY).lines();
    assert_eq!(line(&lines, 2), NotIsolated::SizeUnknown { tier: Tier::Hbm });
    let mut exact = Exact::new(64_000, 300_000, 0);
    let settings = of_probes(exact.tiers);
    let lines = probed(&mut exact, settings, 20.0).lines();
    assert_eq!(line(&lines, 2), NotIsolated::Budget);
    assert!(lines[0].line.is_ok());
}

/// The steps of probes that are never sent.
fn fills(settings: probes::Settings) -> Vec<u64> {
    let mut probes = Probes::new(settings);
    let steps = std::iter::from_fn(|| probes.next(f64::INFINITY));
    let fills = steps.filter_map(|step| match step {
        Step::Fill { tokens } => Some(tokens),
        Step::Send { .. } => None,
    });
    fills.collect()
}

#[test]
fn what_pushes_prompts_out_is_larger_than_every_tier_above() {
    // HBM, L1 and L2, and what is sent before the prompts of L1 and those of L2.
    for (sizes, expected) in [
        ([64_000, 300_000, 2_000_000], &[80_000, 375_000][..]),
        // L1 is smaller than HBM, so that its prompts cannot be told from those of HBM.
        ([64_000, 40_000, 2_000_000], &[80_000]),
        // L2 behind HBM.
        ([64_000, 0, 2_000_000], &[80_000]),
        ([64_000, 300_000, 0], &[80_000]),
    ] {
        let [hbm, l1, l2] = sizes;
        assert_eq!(fills(of_probes(Exact::new(hbm, l1, l2).tiers)), expected, "{sizes:?}");
    }
}

#[test]
fn a_tier_behind_hbm_alone_is_isolated() {
    let mut exact = Exact::new(64_000, 0, 2_000_000);
    let settings = of_probes(exact.tiers);
    let lines = probed(&mut exact, settings, f64::INFINITY).lines();
    assert!(lines[3].line.is_ok(), "{:?}", lines[3].line);
    assert_eq!(lines[2].line, Err(NotIsolated::NoTier));
}

/// What five prompts of one length came to.
fn sent(source: Source, length: u64, computed: u64, hbm: u64, l1: u64) -> Sent {
    assert_eq!(computed + hbm + l1, length);
    Sent {
        source,
        length,
        tokens: Tokens {
            prompt: 5 * length,
            computed: 5 * computed,
            hbm: 5 * hbm,
            l1: Span::exactly(5 * l1),
            ..Tokens::default()
        },
        ttft_s: vec![0.001 * length as f64; 5],
        seconds: 1.0,
    }
}

fn recorded(sent: impl IntoIterator<Item = Sent>) -> Vec<probes::SourceLine> {
    let mut probes = Probes::new(of_probes(Exact::new(64_000, 300_000, 0).tiers));
    sent.into_iter().for_each(|sent| probes.record(sent));
    probes.lines()
}

#[test]
fn what_all_prompts_begin_with_is_nobodys_fault() {
    // A chat template of 48 tokens, which HBM always has: of the first chunk L1 gives 208.
    let computed = || [264, 520, 1_032].map(|length| sent(Source::Computed, length, length - 48, 48, 0));
    let loaded = [264, 520, 1_032].map(|length| sent(Source::From(Tier::L1), length, 8, 48, length - 56));
    let lines = recorded(computed().into_iter().chain(loaded));
    assert_eq!((lines[0].lengths.len(), lines[2].lengths.len()), (3, 3));
    // L1 itself gives too little.
    let short = [264, 520, 1_032].map(|length| sent(Source::From(Tier::L1), length, length / 2, 48, length / 2 - 48));
    let lines = recorded(computed().into_iter().chain(short));
    assert!(lines[2].lengths.is_empty(), "{:?}", lines[2]);
}

#[test]
fn what_a_run_before_left_is_no_common_beginning() {
    // The short lengths are known from another run, but for their last tokens; the long one is new.
    let left = [264, 520].map(|length| sent(Source::Computed, length, 8, length - 8, 0));
    let new = sent(Source::Computed, 4_104, 4_056, 48, 0);
    assert_eq!(recorded(left.clone().into_iter().chain([new]))[0].lengths.len(), 1);
    assert!(recorded(left)[0].lengths.is_empty());
}

#[test]
fn a_budget_that_ends_in_the_middle_is_the_cause() {
    let mut probes = Probes::new(of_probes(Exact::new(64_000, 300_000, 0).tiers));
    let first = probes.next(f64::INFINITY).unwrap();
    probes.cut_off(first);
    assert_eq!(probes.next(f64::INFINITY), None);
    for line in &probes.lines()[..3] {
        assert_eq!(line.line, Err(NotIsolated::Budget), "{:?}", line.source);
    }
}

#[test]
fn a_chunk_that_no_server_can_have_leaves_nothing_to_send() {
    let tiers = Tiers {
        chunk: Some(u64::MAX),
        ..Exact::new(64_000, 300_000, 0).tiers
    };
    let mut probes = Probes::new(of_probes(tiers));
    assert_eq!(probes.next(f64::INFINITY), None);
}
