//! The sections of recorded phases.

use std::time::Instant;

use serde_json::{Value as Json, json};

use super::*;
use crate::ledger::balance::Ledger;
use crate::ledger::counters::Moment;
use crate::ledger::testing::phase;
use crate::ledger::tiers::{Answers, TierFlags};
use crate::report::Renderer;
use crate::report::json::ReferenceJson;
use crate::report::terminal::Terminal;
use crate::result::RunResult;

fn tiers() -> KvTiers {
    let status = json!({
        "chunk_size": 256,
        "cache_context_meta": {"0": {"model_name": "tiny", "world_size": 1, "kv_cache_layout": {"cache_size_per_token": 2048}}},
        "storage_manager": {"l1_managers": {"a": {"memory_total_bytes": 25_165_824}}, "l2_adapters": [{}],
            "l1_eviction_controllers": {"a": {"eviction_policy": "LRU", "trigger_watermark": 0.8, "eviction_ratio": 0.2}}},
    });
    let models = ["tiny".to_owned()];
    let answers = Answers {
        status: Some(&status),
        models: &models,
        ..Answers::default()
    };
    KvTiers::of(&answers, &TierFlags::parse("hbm=65blocks,block=128").unwrap())
}

fn result(ledgers: &[Ledger], tiers: Option<&KvTiers>) -> RunResult {
    let names = ["warmup", "measured"];
    let phases: Vec<PhaseLedger> = ledgers
        .iter()
        .zip(names)
        .map(|(ledger, phase)| PhaseLedger {
            phase,
            ledger,
            settled: phase == "measured",
        })
        .collect();
    let mut result = RunResult::new("engine", "T", Instant::now());
    result.sections = sections(&phases, tiers);
    result
}

#[test]
fn the_terminal_shows_a_column_for_each_phase_and_no_counter_names() {
    let ledgers = [phase("l2_warm2").read(), phase("mixed3").read()];
    let text = String::from_utf8(Terminal.render(&result(&ledgers, Some(&tiers())))).unwrap();
    let want = "\
--------------------- Token Ledger ---------------------
                        warmup   measured       %     GB
Prompt tokens            24274      20588   100.0   0.04
Computed                  2770       1644     8.0   0.00
HBM                          0       7936    38.5   0.02
LMCache                  21504      11008    53.5   0.02
  of it L1                8704        N/A     N/A    N/A
  of it L1, at least       N/A       1536     7.5   0.00
  of it L1, at most        N/A       9216    44.8   0.02
  of it L2               12800        N/A     N/A    N/A
  of it L2, at least       N/A       1792     8.7   0.00
  of it L2, at most        N/A       9472    46.0   0.02
Unexplained                  0          0     0.0   0.00
-------------------- Ledger Checks ---------------------
                                 warmup         measured
Sources and prompts               exact            exact
L1 and L2                         exact         interval
Of other clients                      0                0
Without an answer                     0                0
Counters stood still                 no              yes
Cross-checks that agree          8 of 8           8 of 8
------------- LMCache, by Its Own Counters -------------
";
    assert!(text.contains(want), "{text}");
    let tiers = "\
----------------------- KV Tiers -----------------------
                                  value          said by
HBM (GB)                          0.016             flag
HBM (tokens)                       8320             flag
L1 (GB)                           0.023          lmcache
L1 keeps (GB)                     0.019          lmcache
L2 (GB)                        no limit          lmcache
";
    assert!(text.contains(tiers), "{text}");
    assert!(!text.contains("vllm:"), "{text}");
}

fn metrics(ledgers: &[Ledger], tiers: Option<&KvTiers>) -> Json {
    let json = ReferenceJson.render(&result(ledgers, tiers));
    serde_json::from_slice::<Json>(&json).unwrap()["metrics"].take()
}

#[test]
fn json_has_keys_for_scripts() {
    let ledgers = [phase("l2_warm").read(), phase("mixed3").read()];
    let json = metrics(&ledgers, Some(&tiers()));
    let ledger = &json["token_ledger"];
    assert_eq!(ledger["lmcache_l2"]["warmup"], 8704);
    assert_eq!(
        (&ledger["lmcache_l2"]["measured"], &ledger["lmcache_l2_max"]["measured"]),
        (&Json::Null, &json!(9472))
    );
    assert_eq!(
        json["ledger_checks"]["split"],
        json!({"warmup": "exact", "measured": "interval"})
    );
    assert_eq!(json["ledger_compared"]["usage_cached"]["measured"], 0);
    assert_eq!(json["ledger_counters"]["prompt"], "vllm:prompt_tokens_total");
    assert_eq!(json["lmcache_work"]["found_not_loaded"]["measured"], 7680);
    assert_eq!(
        json["kv_tiers"]["usable_hbm_tokens"],
        json!({"value": 8320, "source": "flag"})
    );
    assert_eq!(json["kv_tiers"]["hbm_gb"]["source"], "flag");
}

#[test]
fn a_check_that_differs_is_shown_and_without_sizes_there_is_no_column_of_gb() {
    let json = metrics(&[phase("abort").read()], None);
    assert_eq!(json["ledger_checks"]["queries"]["warmup"], 3023);
    assert_eq!(json["ledger_checks"]["no_first_token"]["warmup"], 3023);
    assert!(json["ledger_checks"].get("usage_prompt").is_none());
    assert_eq!(json["token_ledger"]["prompt"], json!({"warmup": 0, "percent": null}));
    assert!(json.get("kv_tiers").is_none());
}

#[test]
fn without_a_page_that_came_twice_there_is_no_section() {
    let recorded = phase("abort");
    let [before, after] = recorded.moments();
    let once = Moment {
        engine: None,
        cache: None,
    };
    let ledger = Ledger::between(&before, &once, &recorded.usage, &recorded.settings);
    assert_eq!(metrics(&[ledger], None), json!({}));
    assert_eq!(metrics(&[], None), json!({}));
    let engine_only = Moment { cache: None, ..after };
    let ledger = Ledger::between(&before, &engine_only, &recorded.usage, &recorded.settings);
    assert!(metrics(&[ledger], None).get("lmcache_work").is_none());
}
