//! Predictions from the stamps of recorded phases.

mod made_up;

use std::sync::Arc;

use super::*;
use crate::ledger::simulate::testing::{Recorded, Series};

fn ns(seconds: f64) -> i64 {
    (seconds * 1e9) as i64
}

/// When each phase began, so that the ticks between phases are as many as the servers counted.
fn begins(series: &Series) -> Vec<i64> {
    let mut begins = vec![0];
    for pair in series.phases.windows(2) {
        let ticks = |phase: &Recorded, when: &str| {
            let lines = phase.json[when]["lmcache"].as_array().unwrap().iter();
            let line = lines
                .map(|line| line.as_str().unwrap())
                .find(|line| line.contains("eviction_loop_ticks"));
            line.unwrap().rsplit(' ').next().unwrap().parse::<f64>().unwrap() as i64
        };
        let tick_times = |phase: &Recorded| -> Vec<f64> {
            let events = phase.json["timeline"].as_array().unwrap().iter();
            events
                .filter(|event| event[1] == "tick")
                .map(|event| event[0].as_f64().unwrap())
                .collect()
        };
        let (one, next) = (&pair[0], &pair[1]);
        let done = one.requests.iter().map(|request| request.done_s).fold(0.0, f64::max);
        let last = tick_times(one).into_iter().rfind(|at| *at <= done).unwrap_or(0.0);
        let first = tick_times(next).into_iter().find(|at| *at >= 0.0).unwrap_or(0.0);
        let between = ticks(next, "before") - ticks(one, "after") + 1;
        let begin = begins.last().unwrap() + ns(last - first) + between * 1_001_000_000;
        begins.push(begin.max(begins.last().unwrap() + ns(done)));
    }
    begins
}

fn tiers(series: &Series) -> Tiers {
    Tiers {
        rule: Rule::Vllm,
        block_tokens: series.block_tokens as u64,
        hbm: Capacity::Units(u64::from(series.blocks)),
        chunk_tokens: series.chunk_tokens as u64,
        l1: Capacity::Units(u64::from(series.settings.l1_chunks.unwrap())),
        l2: Capacity::NoLimit,
        watermark: series.settings.watermark,
        ratio: series.settings.ratio,
        retain: false,
    }
}

fn phases(series: &Series) -> Vec<Phase> {
    let phases = series.phases.iter().zip(begins(series));
    phases
        .map(|(phase, begin)| {
            let counted = |name: &str| phase.json["ledger"][name].as_u64();
            let (min, max) = (counted("lmcache_l2_min"), counted("lmcache_l2_max"));
            Phase {
                requests: phase
                    .requests
                    .iter()
                    .map(|request| Request {
                        prompt: request.prompt.clone(),
                        sent_ns: begin + ns(request.sent_s),
                        first_token_ns: Some(begin + ns(request.first_token_s)),
                        done_ns: begin + ns(request.done_s),
                        succeeded: true,
                        cached_tokens: Some(request.cached_tokens),
                    })
                    .collect(),
                seen: Seen {
                    computed: counted("computed"),
                    hbm: counted("hbm"),
                    external: counted("lmcache"),
                    l1: counted("lmcache_l1_min").filter(|_| min == max),
                    l2: min.filter(|_| min == max),
                    found_l1: counted("found_l1"),
                    found_l2: counted("found_l2"),
                    chunks_evicted: counted("chunks_evicted"),
                    stores_refused_chunks: counted("store_failed_chunks"),
                    loads_refused_chunks: counted("load_failed_chunks"),
                },
                not_predicted: None,
            }
        })
        .collect()
}

fn all_of(name: &str, start: Start, ticks: Ticks) -> Vec<Expected> {
    let series = Series::read(name);
    let all = expect(&tiers(&series), &phases(&series), start, ticks, &|| false);
    for (of, phase) in all.iter().zip(&series.phases) {
        let rows = of.rows();
        assert!(rows.iter().all(|row| row.holds()), "{name} {} {rows:?}", phase.name);
        let expected = |row: &Row| row.expected.unwrap();
        assert_eq!(rows.iter().map(|row| expected(row)).sum::<u64>(), of.prompt);
        assert_eq!(of.causes.unwrap().computed(), expected(&of.computed));
        assert!(rows.iter().all(|row| (row.min..=row.max).contains(&expected(row))));
    }
    all
}

fn is_point(of: &Expected) -> bool {
    of.rows()
        .iter()
        .all(|row| (row.min, Some(row.max)) == (row.max, row.seen))
        && of.width.is_empty()
}

#[test]
fn one_request_in_flight_and_no_eviction_in_l1_is_predicted_to_the_token() {
    for (name, phases_of) in [("hbm-large", 4), ("hbm-small", 4)] {
        let series = Series::read(name);
        let all = all_of(name, Start::Empty, Ticks::Unknown);
        for (of, phase) in all.iter().zip(&series.phases).take(phases_of) {
            assert!(is_point(of), "{name} {} {of:?}", phase.name);
            assert!(matches!(of.fit, Fit::Explained { .. }), "{name} {}", phase.name);
            for (request, seen) in of.requests.iter().zip(&phase.requests) {
                assert_eq!(request.unwrap().served.cached(), seen.cached_tokens);
            }
        }
    }
}

#[test]
fn a_conversation_is_explained_and_its_width_is_that_of_the_answers() {
    let all = all_of("chat", Start::Empty, Ticks::Unknown);
    assert_eq!(all[0].fit, Fit::Explained { variants: 1 });
    assert_eq!((all[0].computed.min, all[0].hbm.max), (7476, 18048));
    assert!(all[0].hbm.min < 18048);
    assert_eq!(all[0].width, [Reason::Answers]);
}

#[test]
fn requests_in_flight_together_are_explained_by_an_order_that_stamps_allow() {
    let all = all_of("hbm-small", Start::Empty, Ticks::Unknown);
    for (of, together) in all[4..].iter().zip([8, 20, 24]) {
        assert!(matches!(of.fit, Fit::Explained { .. }), "{of:?}");
        for row in of.rows() {
            assert_eq!(row.expected, row.seen);
        }
        assert_eq!(of.width, [Reason::InFlight { requests: together }]);
    }
}

#[test]
fn evictions_at_an_unknown_time_widen_the_interval_as_far_as_needed() {
    let all = all_of("l1-small-l2", Start::Empty, Ticks::Unknown);
    assert!(is_point(&all[0]), "{:?}", all[0]);
    for of in &all[..5] {
        assert!(matches!(of.fit, Fit::Explained { .. }), "{of:?}");
    }
    for of in &all[1..] {
        assert!(of.width.contains(&Reason::TickPhase), "{of:?}");
    }
    assert_eq!((all[1].computed.min, all[1].computed.max), (6354, 9938));
    assert_eq!((all[3].l1.expected, all[3].l2.expected), (Some(3328), Some(7680)));
    // No variant gives all figures of the last phase, which inherits the state of four requests in flight.
    assert_eq!(all[5].fit, Fit::Differs);
}

#[test]
fn without_counters_the_interval_stands_and_nothing_is_checked() {
    let series = Series::read("l1-small-l2");
    let mut unseen = phases(&series);
    for phase in &mut unseen {
        phase.seen = Seen::default();
        phase
            .requests
            .iter_mut()
            .for_each(|request| request.cached_tokens = None);
    }
    let all = expect(&tiers(&series), &unseen, Start::Empty, Ticks::Unknown, &|| false);
    let counted = all_of("l1-small-l2", Start::Empty, Ticks::Unknown);
    assert!(all.iter().all(|of| of.fit == Fit::NotChecked));
    let seen = counted[1].computed;
    assert!(all[1].computed.min <= seen.min && all[1].computed.max >= seen.max);
    assert_eq!(all[1].computed.seen, None);
}

#[test]
fn an_unknown_capacity_leaves_bounds_and_is_named() {
    let series = Series::read("hbm-small");
    let mut tiers = tiers(&series);
    tiers.l1 = Capacity::Unknown;
    let all = expect(&tiers, &phases(&series), Start::Empty, Ticks::Unknown, &|| false);
    for of in &all {
        assert_eq!(of.width, [Reason::UnknownCapacity(Tier::L1)]);
        assert_eq!((of.computed.expected, of.causes), (None, None));
        assert!(of.rows().iter().all(|row| row.holds()), "{of:?}");
        assert_eq!((of.computed.min, of.hbm.min), (of.prompt - of.possible, 0));
    }
    assert_eq!(all[1].possible, 8 * 1920);
}

#[test]
fn caches_that_were_not_empty_may_serve_what_was_not_sent() {
    let series = Series::read("hbm-large");
    let mut of_one = phases(&series);
    of_one.remove(0);
    let all = expect(
        &tiers(&series),
        &of_one,
        Start::Unknown { l1_chunks: None },
        Ticks::Unknown,
        &|| false,
    );
    assert!(all[0].width.contains(&Reason::UnknownStart));
    assert!(all[0].rows().iter().all(|row| row.holds()), "{:?}", all[0]);
    assert_eq!(all[0].fit, Fit::Differs);
    // From an empty start the same is outside, and leaves an unknown state behind.
    let all = expect(&tiers(&series), &of_one, Start::Empty, Ticks::Unknown, &|| false);
    assert!(!all[0].computed.holds());
    assert!(all[1].width.contains(&Reason::UnknownState));
}

#[test]
fn a_phase_that_cannot_be_predicted_leaves_an_unknown_state() {
    let series = Series::read("hbm-small");
    let mut all = phases(&series);
    all[0].not_predicted = Some("two requests were preempted".into());
    let all = expect(&tiers(&series), &all, Start::Empty, Ticks::Unknown, &|| false);
    assert_eq!(all[0].not_predicted.as_deref(), Some("two requests were preempted"));
    assert_eq!(all[1].width, [Reason::UnknownState]);
    assert_eq!((all[1].hbm.min, all[1].hbm.max), (0, all[1].possible));
}

#[test]
fn a_request_without_a_first_token_may_have_changed_the_caches() {
    let series = Series::read("hbm-large");
    let mut all = phases(&series);
    let failed = &mut all[0].requests[0];
    (failed.succeeded, failed.first_token_ns, failed.cached_tokens) = (false, None, None);
    all[0].seen = Seen::default();
    let all = expect(&tiers(&series), &all, Start::Empty, Ticks::Unknown, &|| false);
    assert_eq!(all[0].requests[0], None);
    assert_eq!(all[1].width, [Reason::Failed { requests: 1 }]);
    // Prompts of that phase are computed in the warm one if the servers never had them.
    assert_eq!(
        (all[1].computed.min, all[1].computed.max - all[1].computed.min),
        (632, 1920)
    );
}

#[test]
fn answers_are_found_in_the_prompts_that_follow() {
    let series = Series::read("chat");
    let mut requests = phases(&series).remove(0).requests;
    let known: Vec<Arc<[u32]>> = requests
        .iter()
        .map(|request| Arc::clone(&request.prompt.answer))
        .collect();
    requests
        .iter_mut()
        .for_each(|request| request.prompt.answer = Arc::default());
    with_answers(&mut requests);
    let found = requests.iter().map(|request| &request.prompt.answer).zip(&known);
    let found = found.filter(|(found, known)| !found.is_empty() && found == known);
    // Three sessions of four rounds; the last answer of each has no follower.
    assert_eq!(found.count(), 9);
    assert_eq!(
        requests
            .iter()
            .filter(|request| request.prompt.answer.is_empty())
            .count(),
        3
    );
}
