//! The names of other releases and engines, on pages made from the recorded ones, and servers without counters.

use super::super::{Balance, Basis, Item, Ledger, Outcome, Range, Settings, Split, Usage};
use crate::ledger::counters::{Moment, Naming, Page};
use crate::ledger::testing::{Phase, phase, phases, without};

/// The names of vLLM before prompt tokens were counted by source.
fn by_cache(page: &str) -> String {
    without(page, "vllm:prompt_tokens_by_source")
        .lines()
        .fold(String::new(), |text, line| {
            match line.starts_with("vllm:prompt_tokens_cached") {
                true => text,
                false => text + line + "\n",
            }
        })
}

/// The names of the first releases of V1, which had no counters of a connector.
fn gpu_cache(page: &str) -> String {
    without(&by_cache(page), "vllm:external_prefix_cache").replace("vllm:prefix_cache", "vllm:gpu_prefix_cache")
}

/// Divides the values of the samples whose lines begin like this.
fn in_blocks(page: &str, name: &str, block: u64) -> String {
    let line = |line: &str| match line.rsplit_once(' ').filter(|_| line.starts_with(name)) {
        Some((sample, value)) => format!("{sample} {}\n", value.parse::<f64>().unwrap() as u64 / block),
        None => format!("{line}\n"),
    };
    page.lines().map(line).collect()
}

fn sources(ledger: &Ledger) -> [Option<u64>; 4] {
    [Item::Prompt, Item::Computed, Item::Hbm, Item::Lmcache].map(|item| ledger.count(item))
}

fn recorded(phase: &Phase) -> [Option<u64>; 4] {
    ["prompt_tokens", "computed", "hbm", "lmcache"].map(|key| phase.ledger[key].as_u64())
}

#[test]
fn hits_of_caches_give_the_same_rows() {
    for phase in phases() {
        let ledger = phase.with_engine(by_cache).read();
        assert_eq!(ledger.basis, Basis::Engine(Naming::VllmByCache), "{}", phase.name);
        assert_eq!(sources(&ledger), recorded(&phase), "{}", phase.name);
        assert_eq!(ledger.balance, Balance::Derived, "{}", phase.name);
        let recounted = if phase.name == "abort" { 3023 } else { 0 };
        assert_eq!(ledger.recounted, recounted, "{}", phase.name);
    }
}

#[test]
fn the_first_names_of_v1_give_the_same_rows_with_what_answers_say() {
    for phase in phases() {
        let old = phase.with_engine(gpu_cache);
        let ledger = old.read();
        assert_eq!(ledger.basis, Basis::Engine(Naming::VllmGpuCache), "{}", phase.name);
        assert_eq!(sources(&ledger), recorded(&phase), "{}", phase.name);
        // The oldest of them counted blocks; here none is only partly in a prompt.
        let blocks = |page: &str| in_blocks(page, "vllm:gpu_prefix_cache", 128);
        if phase.name != "abort" {
            assert_eq!(
                sources(&old.with_engine(blocks).read()),
                recorded(&phase),
                "{}",
                phase.name
            );
        }
    }
}

#[test]
fn hits_that_exceed_the_prompts_were_counted_again() {
    let phase = phase("warm").with_engine(|page| {
        let page = page.replace(
            "vllm:prefix_cache_hits_total{engine=\"0\",model_name=\"tiny\"} 11520",
            "vllm:prefix_cache_hits_total 99999",
        );
        by_cache(&page.replace(
            "vllm:prefix_cache_queries_total{engine=\"0\",model_name=\"tiny\"} 24304",
            "vllm:prefix_cache_queries_total 112152",
        ))
    });
    let ledger = phase.read();
    assert_eq!(ledger.recounted, 100_000 - 12_152, "{ledger:?}");
    assert_eq!(ledger.balance, Balance::Off(12_152 - 99_999));
    assert_eq!(ledger.range(Item::Computed), None);
}

#[test]
fn the_first_names_of_v1_without_what_answers_say_have_no_computed_tokens() {
    let mut old = phase("warm").with_engine(gpu_cache);
    (old.usage.with_cached, old.usage.cached_tokens) = (0, 0);
    let ledger = old.read();
    assert_eq!((ledger.balance, ledger.range(Item::Computed)), (Balance::Unknown, None));
    assert_eq!(ledger.count(Item::Hbm), Some(11_520));
    let missing = "vllm:external_prefix_cache_hits_total, or usage.prompt_tokens_details.cached_tokens of our answers of all prompts";
    assert_eq!(ledger.missing, [missing]);
}

#[test]
fn lookups_of_a_release_that_counts_them_in_every_step_are_no_lost_requests() {
    let again = phase("warm").with_engine(|page| {
        page.replace(
            "vllm:prefix_cache_queries_total{engine=\"0\",model_name=\"tiny\"} 24304",
            "vllm:prefix_cache_queries_total{engine=\"0\",model_name=\"tiny\"} 112152",
        )
    });
    assert_eq!(again.read().no_first_token, None);
    let mut failed = again;
    failed.usage.failed = 1;
    assert_eq!(failed.read().no_first_token, Some(112_152 - 24_304));
}

/// The counter is there, and stays at 0.
#[test]
fn an_engine_that_keeps_no_prefixes_looks_nothing_up() {
    let off = |page: &str| {
        let zero = |line: &str| match line.starts_with("vllm:prefix_cache_") {
            true => format!("{} 0\n", line.rsplit_once(' ').unwrap().0),
            false => format!("{line}\n"),
        };
        page.lines().map(zero).collect()
    };
    let ledger = phase("l2_warm").with_engine(off).read();
    assert_eq!((ledger.no_first_token, &ledger.shared), (None, &None));
    assert!(ledger.checks.iter().all(|check| check.key != "queries"));
    assert_eq!(ledger.balance, Balance::Exact);
}

#[test]
fn servers_before_0_5_5_tell_the_tiers_by_loads_from_l2() {
    for phase in phases() {
        let early = phase.with_lmcache(|page| {
            let page = without(&without(page, "lmcache_mp_lookups"), "lmcache_mp_lookup_hit_l");
            without(&page, "lmcache_mp_lookup_early_exit")
        });
        let ledger = early.read();
        let name = &phase.name;
        if name == "mixed3" {
            // A chunk that L1 held behind a gap was found on L2 and not loaded from there.
            assert_eq!(ledger.count(Item::FoundL2), Some(9_472 - 256));
            continue;
        }
        for (item, key) in [(Item::FoundL1, "found_l1"), (Item::FoundL2, "found_l2")] {
            assert_eq!(ledger.count(item), phase.ledger[key].as_u64(), "{name}: {key}");
        }
        let l2 = ledger
            .range(Item::LmcacheL2)
            .map(|range| [Some(range.min), Some(range.max)]);
        assert_eq!(
            l2,
            Some(["lmcache_l2_min", "lmcache_l2_max"].map(|key| phase.ledger[key].as_u64())),
            "{name}"
        );
        assert_eq!(ledger.range(Item::Lookups), None);
    }
}

fn moment(engine: &str) -> Moment {
    let (moment, problems) = Moment::read(&[Page { url: "e", text: engine }], None);
    assert!(problems.is_empty(), "{problems:?}");
    moment
}

#[test]
fn sglang_counts_cached_tokens_by_tier() {
    let page = |prompt: u64, device: u64, host: u64, file: u64| {
        moment(&format!(
            "sglang:prompt_tokens_total{{model_name=\"m\"}} {prompt}\n\
             sglang:cached_tokens_total{{model_name=\"m\",cache_source=\"device\"}} {device}\n\
             sglang:cached_tokens_total{{model_name=\"m\",cache_source=\"host\"}} {host}\n\
             sglang:cached_tokens_total{{model_name=\"m\",cache_source=\"storage_file\"}} {file}\n"
        ))
    };
    let usage = Usage {
        requests: 2,
        with_prompt: 2,
        prompt_tokens: 1000,
        with_cached: 1,
        cached_tokens: 700,
        ..Usage::default()
    };
    let ledger = Ledger::between(
        &page(5, 1, 0, 0),
        &page(1005, 401, 200, 100),
        &usage,
        &Settings::default(),
    );
    let rows = [Item::Computed, Item::Hbm, Item::EngineHost, Item::EngineStorage].map(|item| ledger.count(item));
    assert_eq!(rows, [Some(300), Some(400), Some(200), Some(100)]);
    assert_eq!((ledger.balance, ledger.others), (Balance::Derived, Some(0)));
    let old = |prompt: u64, cached: u64| {
        moment(&format!(
            "sglang:prompt_tokens_total {prompt}\nsglang:cached_tokens_total {cached}\n"
        ))
    };
    let ledger = Ledger::between(&old(0, 0), &old(1000, 700), &usage, &Settings::default());
    assert_eq!(
        (ledger.count(Item::Computed), ledger.count(Item::Cached)),
        (Some(300), Some(700))
    );
    // Without the hierarchical cache the label says nothing of a tier.
    let total = |cached: u64| {
        moment(&format!(
            "sglang:prompt_tokens_total {}\nsglang:cached_tokens_total{{cache_source=\"total\"}} {cached}\n",
            300 + cached
        ))
    };
    let ledger = Ledger::between(&total(0), &total(700), &usage, &Settings::default());
    let rows = [Item::Computed, Item::Cached, Item::EngineStorage].map(|item| ledger.count(item));
    assert_eq!(rows, [Some(0), Some(700), None]);
    // No counter is there before the first request.
    let ledger = Ledger::between(&moment("up 1\n"), &old(1000, 700), &usage, &Settings::default());
    assert_eq!(
        (ledger.count(Item::Computed), ledger.balance),
        (Some(300), Balance::Derived)
    );
    let ledger = Ledger::between(
        &moment("up 1\n"),
        &moment("sglang:prompt_tokens_total 1000\n"),
        &usage,
        &Settings::default(),
    );
    assert_eq!(ledger.count(Item::Computed), Some(1000), "nothing was cached");
}

#[test]
fn tiers_of_the_engine_itself_are_rows() {
    let page = |host: u64, disk: u64, other: u64| {
        let name = "vllm:prompt_tokens_cached_by_source_total";
        moment(&format!(
            "vllm:prompt_tokens_total 1000\n\
             vllm:prompt_tokens_by_source_total{{source=\"local_compute\"}} 100\n\
             vllm:prompt_tokens_by_source_total{{source=\"local_cache_hit\"}} 300\n\
             vllm:prompt_tokens_by_source_total{{source=\"external_kv_transfer\"}} 600\n\
             {name}{{source=\"device\"}} 300\n{name}{{source=\"host\"}} {host}\n{name}{{source=\"disk\"}} {disk}\n\
             {name}{{source=\"external_unspecified\"}} {other}\n"
        ))
    };
    let zero = moment(
        "vllm:prompt_tokens_total 0\nvllm:prompt_tokens_by_source_total{source=\"local_compute\"} 0\n\
         vllm:prompt_tokens_cached_by_source_total{source=\"device\"} 0\n",
    );
    let read = |after: &Moment| Ledger::between(&zero, after, &Usage::default(), &Settings::default());
    let ledger = read(&page(400, 150, 50));
    let rows = [Item::EngineHost, Item::EngineDisk, Item::External].map(|item| ledger.count(item));
    assert_eq!(rows, [Some(400), Some(150), Some(50)]);
    assert_eq!(ledger.balance, Balance::Exact);
    // A request in prefill has been counted by tier only.
    let ledger = read(&page(400, 250, 50));
    assert_eq!(ledger.range(Item::EngineDisk), Some(Range { min: 150, max: 250 }));
    assert_eq!(ledger.range(Item::External), Some(Range { min: 0, max: 50 }));
}

#[test]
fn without_counters_of_the_engine_its_answers_are_the_ledger() {
    let phase = phase("l2_warm");
    let lmcache = |at: usize| {
        let page = Page {
            url: "c",
            text: &phase.lmcache[at],
        };
        Moment::read(
            &[Page {
                url: "e",
                text: "up 1\n",
            }],
            Some(page),
        )
        .0
    };
    let ledger = Ledger::between(&lmcache(0), &lmcache(1), &phase.usage, &phase.settings);
    assert_eq!(ledger.basis, Basis::Usage);
    let rows = [Item::Prompt, Item::Computed, Item::Cached].map(|item| ledger.count(item));
    assert_eq!(rows, [Some(24_274), Some(9_938), Some(14_336)]);
    assert_eq!(
        (ledger.count(Item::FoundL2), ledger.range(Item::LmcacheL2)),
        (Some(8_704), None)
    );
    assert_eq!(ledger.others, None);
    let silent = Usage {
        with_cached: 0,
        cached_tokens: 0,
        ..phase.usage
    };
    let ledger = Ledger::between(&Moment::default(), &Moment::default(), &silent, &phase.settings);
    assert_eq!((ledger.rows.len(), ledger.balance), (1, Balance::Unknown));
}

#[test]
fn lmcache_inside_the_engine_tells_no_tiers() {
    let phase = phase("l1_reverse");
    let inside = |at: usize, looked_up: u64, found: u64| {
        let page = format!(
            "{}lmcache:num_lookup_tokens_total{{r=\"0\"}} {looked_up}\nlmcache:num_lookup_hits_total {found}\n",
            phase.engine[at]
        );
        moment(&page)
    };
    let ledger = Ledger::between(
        &inside(0, 5, 0),
        &inside(1, 14_341, 14_336),
        &phase.usage,
        &phase.settings,
    );
    assert_eq!(sources(&ledger), recorded(&phase));
    let work = [Item::LookedUp, Item::Found, Item::FoundNotLoaded].map(|item| ledger.count(item));
    assert_eq!(work, [Some(14_336), Some(14_336), Some(7_680)]);
    assert!(matches!(ledger.split, Split::Unknown(_)), "{:?}", ledger.split);
}

#[test]
fn without_an_lmcache_page_its_tokens_are_those_of_some_cache() {
    let phase = phase("l1_reverse");
    let ledger = Ledger::between(
        &moment(&phase.engine[0]),
        &moment(&phase.engine[1]),
        &phase.usage,
        &phase.settings,
    );
    assert_eq!(
        (ledger.count(Item::External), ledger.range(Item::Lmcache)),
        (Some(6_656), None)
    );
    assert_eq!((ledger.balance, ledger.split.clone()), (Balance::Exact, Split::Nothing));
    assert!(
        ledger.checks.iter().all(|check| check.outcome == Outcome::Agrees),
        "{:?}",
        ledger.checks
    );
}
