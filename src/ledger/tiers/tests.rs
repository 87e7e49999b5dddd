//! Tests of what servers and the flag say.

use serde_json::{Value, json};

use super::*;
use crate::ledger::counters::{Moment, Page};
use crate::units::GIB;

const ENGINE_PAGE: &str = include_str!("../../../tests/golden/ledger/page-engine.txt");

fn engine(pages: &[&str]) -> EngineCounters {
    let pages: Vec<Page> = pages.iter().map(|text| Page { url: "e", text }).collect();
    Moment::read(&pages, None).0.engine.unwrap()
}

/// As LMCache 0.5.6 answers with an L1 of 24 MiB and a folder behind it.
fn status() -> Value {
    json!({
        "chunk_size": 256,
        "cache_context_meta": {"7": {"model_name": "/models/tiny", "world_size": 2, "kv_cache_layout": {
            "cache_size_per_token": 1024, "num_blocks": 66, "kernel_groups": [{"tokens_per_block": 128}]}}},
        "storage_manager": {
            "l1_capacity_bytes_by_backend": {"dram": 25_165_824, "devdax": 0},
            "l1_managers": {"_default": {"memory_total_bytes": 12_582_912}},
            "l1_eviction_controllers": {"_default": {"eviction_policy": "LRU", "trigger_watermark": 0.8, "eviction_ratio": 0.2}},
            "store_controllers": {"a": {"pending_keys_count": 2, "in_flight_task_count": 1}, "b": {"pending_keys_count": 0, "in_flight_task_count": 4}},
            "l2_adapters": [{"type": "fs"}],
            "l2_eviction_controller": {"adapters": []},
        },
    })
}

fn config() -> Value {
    json!({"mp": {"chunk_size": 512}, "storage_manager": {"prefetch_policy": "retain", "store_policy": "default",
        "l1_manager_config": {"memory_config": {"size_in_bytes": 1024}},
        "eviction_config": {"eviction_policy": "ARC", "trigger_watermark": 0.5, "eviction_ratio": 0.1}}})
}

fn known<T: Copy>(known: &Known<T>) -> (Option<T>, &'static str) {
    (known.value, known.source.key())
}

#[test]
fn servers_say_sizes_and_policies() {
    let (status, config, engine) = (status(), config(), engine(&[ENGINE_PAGE]));
    let models = ["tiny".to_owned(), "/models/tiny".to_owned()];
    let answers = Answers {
        engine: Some(&engine),
        status: Some(&status),
        config: Some(&config),
        models: &models,
        tokens_per_gb: None,
    };
    let tiers = KvTiers::of(&answers, &TierFlags::default());
    assert_eq!(known(&tiers.block_tokens), (Some(128), "engine"));
    assert_eq!(known(&tiers.hbm_tokens), (Some(65 * 128), "engine"));
    assert_eq!(known(&tiers.bytes_per_token), (Some(2048), "lmcache"));
    assert_eq!(known(&tiers.l1_bytes), (Some(25_165_824), "lmcache"));
    assert_eq!((tiers.l1_chunks(), tiers.hbm_bytes()), (Some(48), Some(8320 * 2048)));
    assert_eq!(
        (known(&tiers.chunk_tokens), tiers.watermark.value),
        ((Some(256), "lmcache"), Some(0.8))
    );
    assert_eq!(
        (tiers.l1_policy.value.as_deref(), tiers.l2.value),
        (Some("LRU"), Some(L2::NoLimit))
    );
    assert_eq!((tiers.prefetch, tiers.prefix_caching), (Prefetch::Retained, Some(true)));
    assert_eq!(
        (tiers.hbm_policy, tiers.is_hybrid, tiers.engines),
        (HbmPolicy::Vllm, false, 1)
    );
    assert!(tiers.unknown(true).is_empty() && tiers.notes.is_empty(), "{tiers:?}");
    assert_eq!(tiers.settings(2.0, &models).ranks, Some(2));
}

#[test]
fn config_says_what_status_does_not() {
    let (status, config) = (json!({}), config());
    let answers = Answers {
        status: Some(&status),
        config: Some(&config),
        ..Answers::default()
    };
    let tiers = KvTiers::of(&answers, &TierFlags::default());
    assert_eq!(
        (tiers.chunk_tokens.value, tiers.l1_bytes.value),
        (Some(512), Some(1024))
    );
    assert_eq!((tiers.watermark.value, tiers.ratio.value), (Some(0.5), Some(0.1)));
    assert_eq!(tiers.l1_policy.value.as_deref(), Some("ARC"));
    assert_eq!(tiers.unknown(true), ["hbm", "block", "bytes per token", "l2"]);
    assert_eq!(tiers.unknown(false), ["hbm", "block"]);
}

#[test]
fn each_key_of_the_flag_goes_before_the_servers_alone() {
    let (status, engine) = (status(), engine(&[ENGINE_PAGE]));
    let models = ["/models/tiny".to_owned()];
    let answers = Answers {
        engine: Some(&engine),
        status: Some(&status),
        models: &models,
        ..Answers::default()
    };
    let tiers = |text: &str| KvTiers::of(&answers, &TierFlags::parse(text).unwrap());
    let two = tiers("hbm=2MB,l2=none");
    assert_eq!(known(&two.hbm_tokens), (Some(1024), "flag"));
    assert_eq!(
        (two.l2.value, known(&two.l1_bytes)),
        (Some(L2::None), (Some(25_165_824), "lmcache"))
    );
    assert_eq!(tiers("hbm=10blocks,block=16").hbm_tokens.value, Some(160));
    assert_eq!(tiers("hbm=1000tokens").hbm_tokens.value, Some(896), "whole blocks");
    assert_eq!(known(&tiers("watermark=1,ratio=0.5").watermark), (Some(1.0), "flag"));
    // Without the size of a token a size in bytes is no number of tokens.
    let tiers = KvTiers::of(&Answers::default(), &TierFlags::parse("hbm=1GB").unwrap());
    assert_eq!((tiers.hbm_tokens.value, tiers.notes.len()), (None, 1));
    let answers = Answers {
        tokens_per_gb: Some(8192),
        ..Answers::default()
    };
    let tiers = KvTiers::of(&answers, &TierFlags::parse("hbm=2").unwrap());
    assert_eq!(
        (tiers.hbm_tokens.value, known(&tiers.bytes_per_token)),
        (Some(16_384), (Some(131_072), "flag"))
    );
}

#[test]
fn engines_are_added_up_if_each_says_its_size() {
    let exact = ENGINE_PAGE.replace("cache_config_info{", "cache_config_info{eviction_policy=\"exact_lru\",");
    let of = |pages: &[&str]| {
        let engine = engine(pages);
        let answers = Answers {
            engine: Some(&engine),
            ..Answers::default()
        };
        KvTiers::of(&answers, &TierFlags::default())
    };
    assert_eq!(of(&[&exact]).hbm_policy, HbmPolicy::ExactLru);
    let both = of(&[ENGINE_PAGE, &exact]);
    assert_eq!(
        (both.hbm_tokens.value, both.engines, both.hbm_policy),
        (Some(2 * 8320), 2, HbmPolicy::Vllm)
    );
    assert!(both.notes[0].contains("2 engines together"), "{:?}", both.notes);
    let silent: String = ENGINE_PAGE
        .lines()
        .filter(|line| !line.contains("cache_config"))
        .map(|line| line.to_owned() + "\n")
        .collect();
    assert_eq!(of(&[ENGINE_PAGE, &silent]).hbm_tokens.value, None);
}

#[test]
fn a_model_that_the_server_does_not_know_has_no_size() {
    let status = status();
    let models = ["other".to_owned()];
    let answers = Answers {
        status: Some(&status),
        models: &models,
        ..Answers::default()
    };
    let tiers = KvTiers::of(&answers, &TierFlags::default());
    assert_eq!((tiers.bytes_per_token.value, tiers.l1_chunks()), (None, None));
    assert!(
        tiers.notes[0].contains("knows /models/tiny and not other"),
        "{:?}",
        tiers.notes
    );
}

#[test]
fn older_and_other_forms_of_status_are_read() {
    let older = json!({"storage_manager": {"l1_manager": {"memory_total_bytes": 5},
        "l1_eviction_controller": {"eviction_policy": "exact_lru", "trigger_watermark": 2, "eviction_ratio": 0.2},
        "l2_adapters": [{}, {}], "l2_eviction_controller": {"adapters": [{"total_capacity_bytes": 7}, {"total_capacity_bytes": 8}]},
        "store_controller": {"pending_keys_count": 3, "in_flight_task_count": 0}}});
    let mut tiers = KvTiers::default();
    tiers.add_status(&older, &[]);
    assert_eq!((tiers.l1_bytes.value, tiers.l2.value), (Some(5), Some(L2::Bytes(15))));
    assert_eq!(
        (tiers.l1_policy.value.as_deref(), tiers.watermark.value),
        (Some("exact_lru"), None)
    );
    assert_eq!((stores_pending(&older), stores_pending(&status())), (Some(3), Some(7)));
    assert_eq!((stores_pending(&json!({})), stores_pending(&json!([]))), (None, None));
    let mut tiers = KvTiers::default();
    tiers.add_status(
        &json!({"storage_manager": {"memory_total_bytes": 9, "l2_adapters": []}}),
        &[],
    );
    assert_eq!((tiers.l1_bytes.value, tiers.l2.value), (Some(9), Some(L2::None)));
}

#[test]
fn the_flag_has_sizes_units_and_shares_by_key() {
    let all = TierFlags::parse("hbm=1000blocks, l1=1.5GB,l2=1TB,block=16,chunk=256,watermark=0.8,ratio=0.2").unwrap();
    let want = TierFlags {
        off: false,
        hbm: Some(HbmSize::Blocks(1000)),
        l1_bytes: Some(3 * GIB / 2),
        l2: Some(L2::Bytes(1024 * GIB)),
        block_tokens: Some(16),
        chunk_tokens: Some(256),
        watermark: Some(0.8),
        ratio: Some(0.2),
    };
    assert_eq!(all, want);
    assert!(TierFlags::parse("off").unwrap().off);
    assert_eq!(TierFlags::parse("l2=unlimited").unwrap().l2, Some(L2::NoLimit));
    assert_eq!(
        TierFlags::parse("hbm=512MiB").unwrap().hbm,
        Some(HbmSize::Bytes(GIB / 2))
    );
    for (text, named) in [
        ("", "\"\" is no KEY=VALUE"),
        ("hbm", "\"hbm\" is no KEY=VALUE"),
        ("off,hbm=1", "\"off\" is no KEY=VALUE"),
        ("hbm=20XB", "hbm=20XB is no size"),
        ("hbm=1.5blocks", "hbm=1.5blocks is no count"),
        ("hbm=0blocks", "hbm=0blocks is no count"),
        ("l1=none", "l1=none is no size"),
        ("l1=-1GB", "l1=-1GB is no size"),
        ("l1=2000TB", "l1=2000TB is no size"),
        ("l1=infGB", "l1=infGB is no size"),
        (
            "l2=",
            "l2= is no size; write a number with MB, GB or TB, none or unlimited",
        ),
        ("block=0", "block=0 is no number of tokens"),
        ("chunk=x", "chunk=x is no number of tokens"),
        ("watermark=80", "watermark=80 is no share"),
        ("ratio=nan", "ratio=nan is no share"),
        (
            "l3=1GB",
            "\"l3\" is no key; these are: hbm, l1, l2, block, chunk, watermark, ratio",
        ),
        ("l1=1,l1=2", "l1 is there twice"),
    ] {
        let why = TierFlags::parse(text).unwrap_err();
        assert!(why.starts_with(named), "{text}: {why}");
    }
}
