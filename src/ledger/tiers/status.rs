//! `/status` and `/config` of an LMCache server, of 0.5.0 to 0.5.7.

use serde_json::Value;

use super::layout;
use super::{Known, KvTiers, L2, Source, UNIT_TOKENS_MAX};
use crate::error::shortened;
use crate::http::error_body::one_line;
use crate::ledger::balance::Prefetch;

const NAME_CHARS_MAX: usize = 40;

/// Parts of the storage manager. From 0.5.5 on there is one for each L1, by its tag; the singular name is the older form, which
/// a server with one L1 still has beside it.
fn parts<'a>(storage: &'a Value, plural: &str, singular: &str) -> Vec<&'a Value> {
    match storage[plural].as_object() {
        Some(parts) => parts.values().collect(),
        None => storage.get(singular).into_iter().collect(),
    }
}

/// Keys and tasks that are still on the way to L2. `None` where the server says neither.
pub fn stores_pending(status: &Value) -> Option<u64> {
    let controllers = parts(&status["storage_manager"], "store_controllers", "store_controller").into_iter();
    let counts = controllers.flat_map(|part| ["pending_keys_count", "in_flight_task_count"].map(|key| &part[key]));
    counts.filter_map(Value::as_u64).reduce(u64::saturating_add)
}

/// Objects in L1. `None` where the server does not say.
pub fn l1_objects(status: &Value) -> Option<u64> {
    let managers = parts(&status["storage_manager"], "l1_managers", "l1_manager");
    let objects = managers.iter().map(|manager| manager["total_object_count"].as_u64());
    objects.reduce(|sum, one| Some(sum?.saturating_add(one?))).flatten()
}

impl KvTiers {
    pub(super) fn add_status(&mut self, status: &Value, names: &[String]) {
        let said = |value| Known::of(value, Source::Lmcache);
        self.chunk_tokens = said(unit(&status["chunk_size"]));
        self.add_layout(status, names);
        let storage = &status["storage_manager"];
        self.l1_bytes = said(l1_bytes(storage));
        let evictions = parts(storage, "l1_eviction_controllers", "l1_eviction_controller");
        if let Some(eviction) = evictions.first() {
            self.add_eviction(eviction);
        }
        if evictions.len() > 1 {
            let text = "LMCache has several L1; sizes are their sum, and the policy is that of the first.";
            self.notes.push(text.to_owned());
        }
        self.l2 = Known::of(l2(storage), Source::Lmcache);
    }

    fn add_layout(&mut self, status: &Value, names: &[String]) {
        let Some(models) = layout::models(status) else {
            return;
        };
        let Some(entry) = names.iter().find_map(|name| layout::of_model(models, name)) else {
            let known = layout::names(models);
            self.notes.push(format!(
                "The LMCache server knows {known} and not {}, so the size of a token is not known from there.",
                names.join(", ")
            ));
            return;
        };
        let said = |value| Known::of(value, Source::Lmcache);
        let ranks = layout::ranks(entry);
        self.ranks = said(Some(ranks));
        self.bytes_per_token = said(layout::rank_bytes(entry).and_then(|bytes| bytes.checked_mul(ranks)));
        let groups = entry["kv_cache_layout"]["kernel_groups"].as_array();
        let block = groups.and_then(|groups| unit(&groups.first()?["tokens_per_block"]));
        self.block_tokens = said(block);
    }

    /// Policy, watermark and ratio, where nothing said them before.
    fn add_eviction(&mut self, eviction: &Value) {
        let share = |key: &str| eviction[key].as_f64().filter(|share| (0.0..=1.0).contains(share));
        let policy = name(&eviction["eviction_policy"]);
        let said = |known: &mut Known<f64>, share| {
            *known = std::mem::take(known).or(Known::of(share, Source::Lmcache));
        };
        said(&mut self.watermark, share("trigger_watermark"));
        said(&mut self.ratio, share("eviction_ratio"));
        self.l1_policy = std::mem::take(&mut self.l1_policy).or(Known::of(policy, Source::Lmcache));
    }

    /// What only `/config` has, and the rest where `/status` lacks it.
    pub(super) fn add_config(&mut self, config: &Value) {
        let storage = &config["storage_manager"];
        self.prefetch = match storage["prefetch_policy"].as_str() {
            Some("default") => Prefetch::Dropped,
            Some("retain") => Prefetch::Retained,
            _ => Prefetch::Unknown,
        };
        let policy = name(&storage["store_policy"]);
        self.store_policy = Known::of(policy, Source::Lmcache);
        let said = |value| Known::of(value, Source::Lmcache);
        let chunk = said(unit(&config["mp"]["chunk_size"]));
        self.chunk_tokens = std::mem::take(&mut self.chunk_tokens).or(chunk);
        let bytes = said(positive(
            &storage["l1_manager_config"]["memory_config"]["size_in_bytes"],
        ));
        self.l1_bytes = std::mem::take(&mut self.l1_bytes).or(bytes);
        self.add_eviction(&storage["eviction_config"]);
    }
}

fn positive(value: &Value) -> Option<u64> {
    value.as_u64().filter(|&number| number > 0)
}

/// Tokens of a block or a chunk.
fn unit(value: &Value) -> Option<u64> {
    positive(value).filter(|tokens| *tokens <= UNIT_TOKENS_MAX)
}

/// The name of a policy, which messages repeat.
fn name(value: &Value) -> Option<String> {
    let name = value.as_str()?;
    Some(shortened(&one_line(name), NAME_CHARS_MAX).into_owned())
}

/// The configured size is there from 0.5.6 on; `memory_total_bytes` is what an L1 has grown to, where it is made bit by bit.
fn l1_bytes(storage: &Value) -> Option<u64> {
    let sum = |values: &mut dyn Iterator<Item = &Value>| {
        let sizes = values.map(positive);
        sizes.reduce(|sum, one| sum?.checked_add(one?)).flatten()
    };
    let configured = storage["l1_capacity_bytes_by_backend"].as_object();
    // A medium without a share of L1 has 0 bytes.
    let configured = configured.and_then(|media| sum(&mut media.values().filter(|bytes| **bytes != 0)));
    let managers = parts(storage, "l1_managers", "l1_manager");
    let total = || sum(&mut managers.iter().map(|manager| &manager["memory_total_bytes"]));
    configured
        .or_else(total)
        .or_else(|| positive(&storage["memory_total_bytes"]))
}

/// Only an adapter that evicts says its capacity. One without a limit is enough for none.
fn l2(storage: &Value) -> Option<L2> {
    let adapters = storage["l2_adapters"].as_array()?;
    if adapters.is_empty() {
        return Some(L2::None);
    }
    let limited = storage["l2_eviction_controller"]["adapters"].as_array();
    let sizes: Vec<u64> = limited
        .into_iter()
        .flatten()
        .filter_map(|one| positive(&one["total_capacity_bytes"]))
        .collect();
    Some(match sizes.len() == adapters.len() {
        true => L2::Bytes(sizes.iter().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes))),
        false => L2::NoLimit,
    })
}
