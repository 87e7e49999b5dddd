//! From the variants of a run to figures with an interval each.

use super::exact;
use super::pending::at_risk;
use super::play::{Input, Played, Timed};
use super::tiers::{Capacity, Tiers};
use super::variants::{Kind, Variant, Variants, overlapping};
use super::{Expected, Fit, Phase, Reason, Row, Rule, Seen, Start, Ticks};
use crate::ledger::causes::History;
use crate::ledger::simulate::{Served, Tier};

/// What each tier should have served of each phase. `start` is what the caches held before the first one. When `stop` says so, the
/// intervals are made of what was simulated until then.
pub fn expect(tiers: &Tiers, phases: &[Phase], start: Start, ticks: Ticks, stop: &dyn Fn() -> bool) -> Vec<Expected> {
    let units = tiers.units();
    let requests = || phases.iter().flat_map(|phase| &phase.requests);
    let (catalog, entries) = tiers.catalog(requests().map(|request| &request.prompt));
    let mut timed = requests()
        .zip(entries)
        .map(|(request, entry)| Timed::new(request, entry));
    let timed = |phase: &Phase| {
        let requests: Vec<Timed> = timed.by_ref().take(phase.requests.len()).collect();
        match phase.not_predicted {
            None => requests,
            Some(_) => requests.into_iter().map(Timed::unchecked).collect(),
        }
    };
    let input = Input {
        phases: phases.iter().map(timed).collect(),
        catalog,
        units,
    };
    let seen: Vec<Seen> = phases
        .iter()
        .zip(&input.phases)
        .map(|(phase, requests)| completed(phase.seen, &input, requests))
        .collect();
    if tiers.unknown().next().is_some() {
        return bounds(tiers, &input, phases, &seen, start);
    }
    // What cannot be predicted says nothing about the variants.
    let checked = phases.iter().zip(&seen);
    let checked: Vec<Seen> = checked
        .map(|(phase, seen)| phase.not_predicted.as_ref().map_or(*seen, |_| Seen::default()))
        .collect();
    let variants = Variants::try_all(tiers, &input, &checked, start, ticks, stop);
    let chosen = variants.in_detail(variants.best());
    let mut all: Vec<Expected> = Vec::new();
    for (number, played) in chosen.into_iter().enumerate() {
        let mut of = expected(&variants, number, played);
        add_seen(&mut of, tiers, &seen[number]);
        of.not_predicted.clone_from(&phases[number].not_predicted);
        if all.iter().any(Expected::leaves_unknown_state) {
            forget_state(&mut of, tiers);
        }
        all.push(of);
    }
    all
}

/// Without counters of the engine the answers' own counts of cached tokens say what was computed.
fn completed(mut seen: Seen, input: &Input, requests: &[Timed]) -> Seen {
    if seen.computed.is_none() {
        let counted = requests.iter().filter(|of| of.counts);
        let computed = counted.map(|of| {
            let tokens = input.catalog.entries[of.entry].tokens() as u64;
            of.cached_tokens.and_then(|cached| tokens.checked_sub(cached))
        });
        seen.computed = computed
            .sum::<Option<u64>>()
            .filter(|_| requests.iter().any(|of| of.counts));
    }
    seen
}

/// Where a capacity is unknown: what endless tiers would have served, and nothing.
fn bounds(tiers: &Tiers, input: &Input, phases: &[Phase], seen: &[Seen], start: Start) -> Vec<Expected> {
    let mut history = History::new(&input.catalog);
    let mut all = Vec::new();
    for (number, requests) in input.phases.iter().enumerate() {
        let mut order: Vec<&Timed> = requests.iter().collect();
        order.sort_by_key(|of| of.sent_ns);
        let (mut prompt, mut possible) = (0, 0);
        for of in order {
            if of.counts {
                let tokens = input.catalog.entries[of.entry].tokens() as u64;
                prompt += tokens;
                possible += input.units.possible(tokens, &history.known(of.entry));
                history.answered(of.entry);
            }
            // One that failed may have been computed all the same.
            history.sent(of.entry);
        }
        let most = if start.is_unknown() { prompt } else { possible };
        let row = |min: u64, max: u64| Row {
            min,
            max,
            ..Row::default()
        };
        let tier = |capacity: Capacity| row(0, if capacity == Capacity::Absent { 0 } else { most });
        let unknown = tiers.unknown().map(Reason::UnknownCapacity);
        let unknown_start = start.is_unknown().then_some(Reason::UnknownStart);
        let mut expected = Expected {
            prompt,
            computed: row(prompt - most, prompt),
            hbm: tier(tiers.hbm),
            l1: tier(tiers.l1),
            l2: tier(tiers.l2),
            requests: vec![None; requests.len()],
            causes: None,
            possible,
            width: unknown.chain(unknown_start).collect(),
            overflowed: Vec::new(),
            fit: Fit::NotChecked,
            not_predicted: phases[number].not_predicted.clone(),
        };
        add_seen(&mut expected, tiers, &seen[number]);
        all.push(expected);
    }
    all
}

fn add_seen(expected: &mut Expected, tiers: &Tiers, seen: &Seen) {
    let external = |tier: Option<u64>, other: Capacity| match (tier, seen.external) {
        (None, Some(external)) if external == 0 || other == Capacity::Absent => Some(external),
        _ => tier,
    };
    expected.computed.seen = seen.computed;
    expected.hbm.seen = seen.hbm;
    expected.l1.seen = external(seen.l1, tiers.l2);
    expected.l2.seen = external(seen.l2, tiers.l1);
}

/// A phase of the variant that was chosen, between the least and the most of all variants.
fn expected(variants: &Variants, number: usize, played: Played) -> Expected {
    let chosen = played.served;
    let range = |figure: fn(&Served) -> u64| {
        let figures = variants
            .tried
            .iter()
            .map(|variant| figure(&variant.phases[number].served));
        let figures = figures.chain([figure(&chosen)]);
        let (min, max) = figures.fold((u64::MAX, 0), |(min, max), figure| (min.min(figure), max.max(figure)));
        Row {
            expected: Some(figure(&chosen)),
            min,
            max,
            seen: None,
        }
    };
    let mut expected = Expected {
        prompt: chosen.computed + chosen.cached(),
        computed: range(|served| served.computed),
        hbm: range(|served| served.hbm),
        l1: range(|served| served.l1),
        l2: range(|served| served.l2),
        overflowed: overflowed(variants.tiers.rule, &played),
        requests: played.requests,
        causes: Some(played.causes),
        possible: played.possible,
        width: variants_differ(variants, number),
        fit: fit(variants, number),
        not_predicted: None,
    };
    let moved = may_move(variants, number, expected.fit);
    if moved > 0 {
        widen(&mut expected, variants.tiers, moved, true);
        if variants.tiers.rule == Rule::Vllm {
            let tokens = at_risk(variants.input, number, &expected.requests);
            miss(&mut expected, tokens);
        }
        note(&mut expected, in_flight(variants, number));
    }
    let late = may_be_late(variants, number, &expected);
    if late > 0 {
        widen(&mut expected, variants.tiers, late, true);
        note(&mut expected, Reason::TickPhase);
    }
    if variants.start.is_unknown() && played.causes.new > 0 {
        widen(&mut expected, variants.tiers, played.causes.new, false);
        note(&mut expected, Reason::UnknownStart);
    }
    expected
}

fn overflowed(rule: Rule, played: &Played) -> Vec<Tier> {
    let lost = match rule {
        Rule::Vllm => [(Tier::Hbm, played.hbm_lost), (Tier::L1, played.l1_lost)],
        // All tiers of the mock get all that is sent, and the first one that still has it serves it.
        Rule::Exact => [
            (Tier::Hbm, played.served.l1 + played.served.l2 > 0),
            (Tier::L1, played.served.l2 > 0),
        ],
    };
    let lost = lost.into_iter().filter(|(_, lost)| *lost);
    lost.map(|(tier, _)| tier).collect()
}

/// Tokens that requests in flight together may move from one row to another in orders that were not simulated: a block for
/// each on vLLM, if any are evicted; on the mock the prompt of each that may have overtaken another one, if nothing fits. Where
/// nothing fits, earlier phases have left their order in the caches too.
fn may_move(variants: &Variants, number: usize, fit: Fit) -> u64 {
    let input = variants.input;
    let from = if fit == Fit::Differs { 0 } else { number };
    let phases = input.phases[from..=number].iter();
    let lost = || variants.tried.iter().any(|variant| variant.phases[number].hbm_lost);
    match variants.tiers.rule {
        Rule::Vllm if lost() => {
            let requests: u64 = phases.map(|requests| overlapping(requests)).sum();
            requests.saturating_mul(input.units.block_tokens)
        }
        Rule::Exact if fit == Fit::Differs => {
            let overtakers =
                phases.flat_map(|requests| exact::overtakers(requests).into_iter().map(|at| &requests[at]));
            overtakers
                .map(|of| input.catalog.entries[of.entry].tokens() as u64)
                .sum()
        }
        _ => 0,
    }
}

/// Tokens that a store or an eviction moves that came a little earlier or later than in any variant: those of one request, if L1
/// evicts and no variant explains the phase. More cannot be served than was sent before.
fn may_be_late(variants: &Variants, number: usize, expected: &Expected) -> u64 {
    let ticks = variants.tried.iter().any(|variant| variant.ticking.is_some());
    if !ticks || matches!(expected.fit, Fit::Explained { .. }) {
        return 0;
    }
    let requests = variants.input.phases[number].iter().filter(|of| of.counts);
    let tokens = requests.map(|of| variants.input.catalog.entries[of.entry].tokens() as u64);
    tokens.max().unwrap_or(0).min(expected.possible)
}

/// So many tokens may not have been found.
fn miss(expected: &mut Expected, tokens: u64) {
    expected.computed.max = expected.computed.max.saturating_add(tokens).min(expected.prompt);
    for row in [&mut expected.hbm, &mut expected.l1, &mut expected.l2] {
        row.min = row.min.saturating_sub(tokens);
    }
}

/// Any share of what was sent before may have been found.
fn forget_state(expected: &mut Expected, tiers: &Tiers) {
    let possible = expected.possible.max(expected.prompt - expected.computed.min);
    expected.computed.max = expected.prompt;
    expected.computed.min = expected.prompt - possible;
    let rows = [&mut expected.hbm, &mut expected.l1, &mut expected.l2];
    for (row, (_, capacity)) in rows.into_iter().zip(tiers.all()) {
        row.min = 0;
        row.max = if capacity == Capacity::Absent { 0 } else { possible };
    }
    note(expected, Reason::UnknownState);
}

/// Makes all intervals wider, for more hits and, if `both`, for fewer.
fn widen(expected: &mut Expected, tiers: &Tiers, tokens: u64, both: bool) {
    let fewer = if both { tokens } else { 0 };
    let prompt = expected.prompt;
    let change = |row: &mut Row, fewer: u64, more: u64| {
        row.min = row.min.saturating_sub(fewer);
        row.max = row.max.saturating_add(more).min(prompt);
    };
    change(&mut expected.computed, tokens, fewer);
    let rows = [&mut expected.hbm, &mut expected.l1, &mut expected.l2];
    for (row, (tier, capacity)) in rows.into_iter().zip(tiers.all()) {
        // Nothing comes from L2 in any variant if L1 lost nothing.
        let never = capacity == Capacity::Absent || (both && tier == Tier::L2 && row.max == 0);
        if !never {
            change(row, fewer, tokens);
        }
    }
}

fn note(expected: &mut Expected, reason: Reason) {
    if !expected.width.contains(&reason) {
        expected.width.push(reason);
    }
}

/// Which of the things that variants differ in makes this phase differ.
fn variants_differ(variants: &Variants, number: usize) -> Vec<Reason> {
    let served = |variant: &Variant| variant.phases[number].served;
    let tokens = |variant: &Variant| {
        let served = served(variant);
        (served.computed, served.hbm, served.l1, served.l2)
    };
    // Whether variants of other kinds give what those of the usual kind do not.
    let other = |is_other: fn(&Kind) -> bool| {
        let (others, usual): (Vec<_>, Vec<_>) = variants.tried.iter().partition(|variant| is_other(&variant.kind));
        let usual: Vec<_> = usual.into_iter().map(tokens).collect();
        others.into_iter().any(|variant| !usual.contains(&tokens(variant)))
    };
    let first = &variants.tried[0];
    let with_ticks = variants.tried.iter().filter(|variant| variant.kind == first.kind);
    let ticks = with_ticks.into_iter().any(|variant| tokens(variant) != tokens(first));
    let requests = &variants.input.phases;
    let failed = requests[..=number].iter().flatten().filter(|of| !of.counts).count() as u64;
    let found = [
        (ticks, Reason::TickPhase),
        (other(Kind::is_other_order), in_flight(variants, number)),
        (other(Kind::is_without_answers), Reason::Answers),
        (other(Kind::serves_failed), Reason::Failed { requests: failed }),
        (other(Kind::is_foreign), Reason::UnknownStart),
        (
            variants.left_out > 0,
            Reason::FewerVariants {
                simulated: variants.tried.len() as u64,
                of: variants.tried.len() as u64 + variants.left_out,
            },
        ),
    ];
    found
        .into_iter()
        .filter(|(differs, _)| *differs)
        .map(|(_, reason)| reason)
        .collect()
}

/// All that were in flight together so far: an earlier phase leaves its order in the caches.
fn in_flight(variants: &Variants, number: usize) -> Reason {
    let phases = variants.input.phases[..=number].iter();
    Reason::InFlight {
        requests: phases.map(|requests| overlapping(requests)).sum(),
    }
}

fn fit(variants: &Variants, number: usize) -> Fit {
    let nothing = |(seen, requests): (&Seen, &Vec<Timed>)| {
        *seen == Seen::default() && requests.iter().all(|of| of.cached_tokens.is_none())
    };
    let mut unchecked = variants.seen[..=number].iter().zip(&variants.input.phases);
    let explaining = variants
        .tried
        .iter()
        .filter(|variant| variant.explained > number)
        .count() as u64;
    match (unchecked.all(nothing), explaining) {
        (true, _) => Fit::NotChecked,
        (false, 0) => Fit::Differs,
        (false, variants) => Fit::Explained { variants },
    }
}
