//! Restarts, other clients, other engines at the same LMCache server, and pages that lack counters.

use super::super::{Balance, Basis, Item, Ledger, Outcome, Range, Split, Usage};
use crate::ledger::counters::{Moment, Page, VoidKind};
use crate::ledger::testing::{Phase, phase, phases, without};

/// The page with another value for the one sample that begins like this.
fn with_value(page: &str, sample: &str, value: &str) -> String {
    let mut found = 0;
    let mut line = |line: &str| match line.rsplit_once(' ').filter(|_| line.starts_with(sample)) {
        Some((name, _)) => {
            found += 1;
            format!("{name} {value}\n")
        }
        None => format!("{line}\n"),
    };
    let page = page.lines().map(&mut line).collect();
    assert_eq!(found, 1, "{sample}");
    page
}

/// The phase with another page after it.
fn after(phase: &Phase, engine: impl Fn(&str) -> String, lmcache: impl Fn(&str) -> String) -> Ledger {
    let mut phase = phase.clone();
    (phase.engine[1], phase.lmcache[1]) = (engine(&phase.engine[1]), lmcache(&phase.lmcache[1]));
    phase.read()
}

#[test]
fn a_restart_of_the_engine_leaves_no_row_of_its_tokens() {
    let ledger = after(
        &phase("warm"),
        |page| with_value(page, "vllm:prompt_tokens_total", "3000"),
        str::to_owned,
    );
    assert_eq!((ledger.basis, ledger.balance), (Basis::Void, Balance::Unknown));
    assert_eq!((ledger.range(Item::Prompt), ledger.range(Item::Lmcache)), (None, None));
    assert_eq!(ledger.count(Item::FoundL1), Some(10_752), "that is LMCache's");
    // The engine's requests are not known, so our answers stand for them.
    assert_eq!(ledger.count(Item::LookupsAgain), Some(0));
    assert!(ledger.rows[&Item::LookupsAgain].from.ends_with("our answers"));
    let void = &ledger.engine_voids[0];
    let want = "vllm:prompt_tokens_total went back from 12152 to 3000, as after a restart";
    assert!(void.text().starts_with(want), "{}", void.text());
}

#[test]
fn a_restart_that_counted_past_the_old_values_is_seen_by_the_times_of_start() {
    let page = |at: usize, start: u64| {
        let text = format!(
            "{}vllm:prompt_tokens_created{{engine=\"0\"}} {start}\n",
            phase("warm").engine[at]
        );
        Moment::read(&[Page { url: "e", text: &text }], None).0
    };
    let usage = phase("warm").usage;
    let read = |starts: [u64; 2]| {
        Ledger::between(
            &page(0, starts[0]),
            &page(1, starts[1]),
            &usage,
            &phase("warm").settings,
        )
    };
    assert_eq!(read([7, 8]).engine_voids[0].kind, VoidKind::Restarted);
    assert_eq!(read([7, 7]).balance, Balance::Exact);
}

#[test]
fn a_restart_of_the_cache_server_leaves_the_engines_rows() {
    let gone = |page: &str| without(page, "lmcache_mp_lookup");
    let ledger = after(&phase("l2_warm2"), str::to_owned, gone);
    assert_eq!(
        (ledger.balance, ledger.count(Item::External)),
        (Balance::Exact, Some(21_504))
    );
    assert!(ledger.range(Item::LmcacheL1).is_none() && ledger.range(Item::FoundL1).is_none());
    assert_eq!(ledger.cache_voids[0].kind, VoidKind::WentBack);
}

#[test]
fn what_no_server_can_count_is_no_row() {
    let huge = |page: &str| with_value(page, "vllm:prompt_tokens_total", "9.3e18");
    let ledger = after(&phase("warm"), huge, str::to_owned);
    assert_eq!(ledger.engine_voids[0].kind, VoidKind::Impossible);
    assert_eq!(ledger.range(Item::Prompt), None);
}

#[test]
fn a_page_that_came_once_is_no_ledger() {
    let [before, after] = phase("warm").moments();
    let (usage, settings) = (phase("warm").usage, phase("warm").settings);
    let ledger = Ledger::between(
        &before,
        &Moment {
            engine: None,
            ..after.clone()
        },
        &usage,
        &settings,
    );
    assert_eq!((ledger.basis, ledger.missing.len()), (Basis::Void, 1));
    let ledger = Ledger::between(&before, &Moment { cache: None, ..after }, &usage, &settings);
    assert_eq!((ledger.balance, ledger.missing.len()), (Balance::Exact, 1));
    assert_eq!(ledger.count(Item::External), Some(0));
}

#[test]
fn families_that_are_not_there_are_named() {
    let phase = phase("l1_warm");
    let ledger = phase
        .with_engine(|page| without(page, "vllm:prompt_tokens_total"))
        .read();
    assert_eq!(ledger.missing, ["vllm:prompt_tokens_total"]);
    assert_eq!(
        (ledger.count(Item::Prompt), ledger.balance),
        (Some(16_183), Balance::Exact),
        "our answers say it"
    );
    assert!(ledger.rows[&Item::Prompt].from.starts_with("usage."));
    let source = "vllm:prompt_tokens_by_source_total{engine=\"0\",model_name=\"tiny\",source=\"local_compute\"}";
    let ledger = phase.with_engine(|page| without(page, source)).read();
    assert_eq!(
        ledger.missing,
        ["vllm:prompt_tokens_by_source_total{source=\"local_compute\"}"]
    );
    assert_eq!((ledger.range(Item::Computed), ledger.balance), (None, Balance::Unknown));
    assert_eq!(ledger.count(Item::LmcacheL1), Some(14_336));
}

#[test]
fn a_line_that_cannot_be_read_is_neither_0_nor_a_restart() {
    let spoiled = |at: usize| {
        let phase = phase("l1_reverse");
        let text = format!("{}lmcache_mp_lookup_hit_l1_tokens_total{{x}} 1\n", phase.lmcache[at]);
        Moment::read(
            &[Page {
                url: "e",
                text: &phase.engine[at],
            }],
            Some(Page { url: "c", text: &text }),
        )
    };
    let [before, after] = phase("l1_reverse").moments();
    let (usage, settings) = (phase("l1_reverse").usage, phase("l1_reverse").settings);
    for (moments, problems) in [
        ([spoiled(0).0, after], spoiled(0).1),
        ([before, spoiled(1).0], spoiled(1).1),
    ] {
        let line = "is no sample of lmcache_mp_lookup_hit_l1_tokens_total";
        assert!(
            problems.len() == 1 && problems[0].starts_with("c: line ") && problems[0].ends_with(line),
            "{problems:?}"
        );
        let ledger = Ledger::between(&moments[0], &moments[1], &usage, &settings);
        assert_eq!(ledger.cache_voids, []);
        assert_eq!(ledger.missing, ["lmcache_mp_lookup_hit_l1_tokens_total"]);
        assert_eq!(
            (ledger.range(Item::FoundL1), ledger.range(Item::LmcacheL1)),
            (None, None)
        );
        assert!(matches!(ledger.split, Split::Unknown(_)));
        assert_eq!(ledger.count(Item::Lmcache), Some(6_656));
    }
}

#[test]
fn tokens_of_other_clients_are_those_that_no_answer_has() {
    let mut phase = phase("l1_warm");
    phase.usage.prompt_tokens -= 2000;
    let ledger = phase.read();
    assert_eq!((ledger.others, ledger.unexplained()), (Some(2000), Some(0)));
    let check = ledger.checks.iter().find(|check| check.key == "usage_prompt").unwrap();
    assert_eq!(check.outcome, Outcome::Differs(2000));
    assert!(
        !ledger.checks.iter().any(|check| check.key == "usage_cached"),
        "theirs are in it"
    );
    let unknown = Usage {
        with_prompt: 7,
        ..phase.usage
    };
    assert_eq!(
        Phase {
            usage: unknown,
            ..phase
        }
        .read()
        .others,
        None
    );
}

#[test]
fn tokens_without_a_source_leave_the_ledger_off() {
    let page = |page: &str| {
        with_value(
            page,
            "vllm:prompt_tokens_by_source_total{engine=\"0\",model_name=\"tiny\",source=\"local_compute\"}",
            "12684",
        )
    };
    let ledger = after(&phase("warm"), page, str::to_owned);
    assert_eq!((ledger.balance, ledger.unexplained()), (Balance::Off(100), Some(100)));
}

#[test]
fn dropped_events_leave_the_split_open() {
    let dropped = |page: &str| with_value(page, "lmcache_mp_event_bus_dropped_events_total", "3");
    let ledger = after(&phase("l2_warm"), str::to_owned, dropped);
    assert_eq!((ledger.dropped_events, &ledger.split), (3, &Split::Interval));
    assert_eq!(ledger.range(Item::LmcacheL2), Some(Range { min: 0, max: 14_336 }));
    assert_eq!(ledger.count(Item::FoundL2), Some(8_704));
}

#[test]
fn another_engine_at_the_same_lmcache_is_seen_by_its_model_or_by_too_many_lookups() {
    let model = |page: &str| {
        format!(
            "{page}lmcache_mp_lookup_requested_tokens_total{{model_name=\"other\"}} 5120\nlmcache_mp_lookup_hit_l1_tokens_total{{model_name=\"other\"}} 512\n"
        )
    };
    let ledger = after(&phase("l2_warm"), str::to_owned, model);
    let shared = ledger.shared.clone().unwrap();
    assert_eq!(
        (shared.looked_up, shared.is_separate, shared.models.len()),
        (5120, true, 1)
    );
    assert_eq!(
        (ledger.count(Item::LookedUp), ledger.count(Item::LmcacheL1)),
        (Some(21_504), Some(5_632))
    );
    // Nobody says which model is ours.
    let mut unnamed = phase("l2_warm");
    unnamed.settings.models.clear();
    let ledger = after(&unnamed, str::to_owned, model);
    let shared = ledger.shared.clone().unwrap();
    assert_eq!((shared.is_separate, shared.models.len()), (false, 2));
    assert_eq!(ledger.range(Item::LmcacheL1), Some(Range { min: 5_632, max: 6_144 }));
    assert_eq!(ledger.range(Item::LookupsAgain), None);
    // The same model: more is looked up than this engine has looked up itself.
    let more = |page: &str| with_value(page, "lmcache_mp_lookup_requested_tokens_total", "53008");
    let ledger = after(&phase("l2_warm"), str::to_owned, more);
    let shared = ledger.shared.clone().unwrap();
    assert_eq!((shared.looked_up, shared.is_separate), (31_504 - 24_274, false));
}

#[test]
fn one_model_in_both_families_of_lookups_is_one_model() {
    let blend = "lmcache_blend_lookup_requested_tokens_total";
    let model = |page: &str, label: &str| {
        format!("{page}{blend}{label} 512\nlmcache_blend_lookup_hit_tokens_total{label} 256\n")
    };
    let mut unnamed = phase("l2_warm");
    unnamed.settings.models.clear();
    let tiny = "{model_name=\"/models/tiny\"}";
    let ledger = after(&unnamed, str::to_owned, |page| model(page, tiny));
    assert_eq!(ledger.shared, None, "{:?}", ledger.missing);
    // Samples without a name are of the model that is known, and another one is not.
    let ledger = after(&phase("l2_warm"), str::to_owned, |page| {
        let other = "lmcache_mp_lookup_requested_tokens_total{model_name=\"other\"} 256\n";
        model(page, "") + other
    });
    assert_eq!(ledger.count(Item::FoundBlended), Some(256));
    assert_eq!(ledger.shared.unwrap().models, ["other"]);
}

#[test]
fn blended_tokens_are_a_part_of_what_lmcache_gave() {
    let blend = |page: &str| {
        format!(
            "{}lmcache_blend_lookup_requested_tokens_total 21504\nlmcache_blend_lookup_hit_tokens_total 14336\n",
            without(page, "lmcache_mp_lookup")
        )
    };
    let mut cold = phase("l2_warm");
    cold.lmcache[0] = without(&cold.lmcache[0], "lmcache_mp_lookup");
    let ledger = after(&cold, str::to_owned, blend);
    let rows = [
        Item::LookedUp,
        Item::Blended,
        Item::LmcacheL1,
        Item::LmcacheL2,
        Item::FoundNotLoaded,
    ];
    assert_eq!(
        rows.map(|item| ledger.count(item)),
        [Some(21_504), Some(14_336), Some(0), Some(0), Some(0)]
    );
}

#[test]
fn an_unknown_prefetch_policy_leaves_evictions_between_bounds() {
    let mut phase = phase("l2_warm");
    phase.settings.prefetch = Default::default();
    let ledger = phase.read();
    assert_eq!(ledger.range(Item::ChunksEvicted), Some(Range { min: 24, max: 58 }));
}

#[test]
fn two_engines_behind_one_balancer_are_added_up() {
    let (one, other) = (phase("l1_reverse"), phase("edge_warm"));
    let read = |pages: [&str; 2]| {
        let pages = ["http://a/metrics", "http://b/metrics"].into_iter().zip(pages);
        let pages: Vec<Page> = pages.map(|(url, text)| Page { url, text }).collect();
        Moment::read(&pages, None)
    };
    let [before, after] = [0, 1].map(|at| read([&one.engine[at], &other.engine[at]]).0);
    assert_eq!(after.engine.as_ref().unwrap().engines(), 2);
    let ledger = Ledger::between(&before, &after, &Usage::default(), &one.settings);
    let sum = |key: &str| Some(one.ledger[key].as_u64().unwrap() + other.ledger[key].as_u64().unwrap());
    for (item, key) in [
        (Item::Prompt, "prompt_tokens"),
        (Item::Computed, "computed"),
        (Item::Hbm, "hbm"),
        (Item::External, "lmcache"),
    ] {
        assert_eq!(ledger.count(item), sum(key), "{key}");
    }
    assert_eq!(ledger.balance, Balance::Exact);
    // A restart of one is seen although the sum of both grew.
    let less = with_value(&other.engine[1], "vllm:prompt_tokens_total", "5");
    let ledger = Ledger::between(
        &before,
        &read([&one.engine[1], &less]).0,
        &Usage::default(),
        &one.settings,
    );
    assert_eq!(ledger.engine_voids.len(), 1);
    let (moment, problems) = read([&one.engine[0], "sglang:prompt_tokens_total 1\n"]);
    assert!(moment.engine.is_none());
    let want = "http://b/metrics: it counts otherwise (SGLang) than http://a/metrics (vLLM, prompt tokens by source), so they cannot be added up";
    assert_eq!(problems, [want]);
}

#[test]
fn moments_agree_when_the_counters_do_whatever_else_the_pages_show() {
    let phase = phase("l2_warm");
    let [_, after] = phase.moments();
    let busy = phase.with_lmcache(|page| with_value(page, "lmcache_mp_l1_eviction_loop_ticks_total", "9999"));
    assert_eq!(busy.moments()[1], after);
    let more = phase.with_lmcache(|page| with_value(page, "lmcache_mp_l1_write_chunks_total", "9999"));
    assert_ne!(more.moments()[1], after);
    assert!(phases().iter().all(|phase| phase.moments()[0] != phase.moments()[1]));
}
