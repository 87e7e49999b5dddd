//! All phases that were recorded on vLLM 0.32.0 and LMCache 0.5.6.

use super::super::{Balance, Basis, Item, Outcome, Split};
use crate::ledger::counters::Naming;
use crate::ledger::testing::{Phase, phases};

/// Rows of one number, and their names in the recorded ledgers.
const EXACT: [(Item, &str); 14] = [
    (Item::Prompt, "prompt_tokens"),
    (Item::Computed, "computed"),
    (Item::Hbm, "hbm"),
    (Item::Lmcache, "lmcache"),
    (Item::LookedUp, "looked_up"),
    (Item::FoundL1, "found_l1"),
    (Item::FoundL2, "found_l2"),
    (Item::FoundNotLoaded, "found_not_loaded"),
    (Item::Lookups, "lookups"),
    (Item::ChunksLoaded, "chunks_loaded"),
    (Item::ChunksStored, "chunks_stored"),
    (Item::ChunksRefused, "store_failed_chunks"),
    (Item::LoadsRefused, "load_failed_chunks"),
    (Item::Preemptions, "preemptions"),
];
const TIERS: [(Item, &str, &str); 2] = [
    (Item::LmcacheL1, "lmcache_l1_min", "lmcache_l1_max"),
    (Item::LmcacheL2, "lmcache_l2_min", "lmcache_l2_max"),
];

/// The recorded ledgers take loads from L2 off the evictions also where the prefetch policy keeps what is loaded; then nothing
/// is evicted for them.
fn evicted(phase: &Phase) -> i64 {
    match phase.name.as_str() {
        "earlier_runs" => 0,
        "retain_again" => 25,
        _ => phase.ledger["chunks_evicted"].as_i64().unwrap(),
    }
}

#[test]
fn every_number_of_the_recorded_phases_comes_out() {
    let phases = phases();
    assert_eq!(phases.len(), 24);
    for phase in &phases {
        let (name, want) = (&phase.name, &phase.ledger);
        let ledger = phase.read();
        assert_eq!(ledger.basis, Basis::Engine(Naming::VllmBySource), "{name}");
        for (item, key) in EXACT {
            assert_eq!(ledger.count(item), want[key].as_u64(), "{name}: {key}");
        }
        for (item, min, max) in TIERS {
            let range = ledger.range(item).unwrap();
            assert_eq!(
                (Some(range.min), Some(range.max)),
                (want[min].as_u64(), want[max].as_u64()),
                "{name}: {min}"
            );
        }
        assert_eq!(
            ledger.count(Item::ChunksEvicted),
            u64::try_from(evicted(phase)).ok(),
            "{name}"
        );
        assert_eq!((ledger.unexplained(), ledger.others), (Some(0), Some(0)), "{name}");
        assert_eq!(ledger.balance, Balance::Exact, "{name}");
        assert_eq!(
            phase.usage.prompt_tokens,
            want["asked_by_us"].as_u64().unwrap(),
            "{name}"
        );
        assert_eq!(
            phase.usage.cached_tokens,
            want["cached_tokens_by_answers"].as_u64().unwrap(),
            "{name}"
        );
        let split = if name == "mixed3" {
            Split::Interval
        } else {
            Split::Exact
        };
        assert_eq!(ledger.split, split, "{name}");
        assert!(ledger.missing.is_empty(), "{name}: {:?}", ledger.missing);
        assert_eq!((ledger.shared, ledger.dropped_events), (None, 0), "{name}");
    }
}

#[test]
fn other_counters_agree_but_for_the_request_that_was_cut_off() {
    for phase in phases() {
        let ledger = phase.read();
        assert!(ledger.checks.len() >= 8, "{}: {:?}", phase.name, ledger.checks);
        for check in &ledger.checks {
            // Its prompt was looked up and not counted.
            let aborted = phase.name == "abort" && check.key == "queries";
            let want = if aborted {
                Outcome::Differs(3023)
            } else {
                Outcome::Agrees
            };
            assert_eq!(check.outcome, want, "{}: {}", phase.name, check.what);
        }
    }
}

#[test]
fn what_a_preempted_or_aborted_request_did_is_beside_the_sum() {
    for phase in phases() {
        let ledger = phase.read();
        let (again, reloaded, no_first_token) = match phase.name.as_str() {
            "preempt" => (1, 3, 0),
            "abort" => (0, 0, 3023),
            _ => (0, 0, 0),
        };
        assert_eq!(ledger.count(Item::LookupsAgain), Some(again), "{}", phase.name);
        assert_eq!(ledger.count(Item::ChunksReloaded), Some(reloaded), "{}", phase.name);
        assert_eq!(ledger.no_first_token, Some(no_first_token), "{}", phase.name);
        assert_eq!(ledger.range(Item::NotLookedUp), None, "{}", phase.name);
    }
}
