//! `/status` and `/config` of the LMCache server behind the engine, in the form of 0.5.6, as far as a benchmark reads them. DRAM is
//! its L1 and the disk its L2.

use serde_json::{Value, json};

use super::config::Config;
use super::metrics::EVICTION_POLICY;
use crate::ledger::simulate::PrefixCache;

/// What a server says of itself, of the engine that is registered with it, and of its tiers. `token_bytes` is the size of a token's
/// KV.
pub fn status(config: &Config, cache: &PrefixCache, token_bytes: u64) -> Value {
    let sizes = &config.cache;
    let block = sizes.block_tokens as u64;
    let layout = json!({
        "cache_size_per_token": token_bytes,
        // With vLLM's null block, as in its own cache_config_info.
        "num_blocks": sizes.hbm_tokens / block + 1,
        "kernel_groups": [{"kernel_group_idx": 0, "tokens_per_block": block}],
    });
    let mut status = json!({
        "is_healthy": true,
        "chunk_size": sizes.chunk_tokens,
        "hash_algorithm": "blake3",
        "cache_context_meta": {"0": {"model_name": config.model, "world_size": 1, "kv_cache_layout": layout}},
    });
    if sizes.has_cache_server() {
        status["storage_manager"] = storage_manager(config, cache, token_bytes);
    }
    if sizes.blend {
        status["active_cb_lookups"] = 0.into();
    }
    status
}

/// The tiers, each under its tag and, as long as there is one L1, also in the form of servers before 0.5.6.
fn storage_manager(config: &Config, cache: &PrefixCache, token_bytes: u64) -> Value {
    let sizes = &config.cache;
    let chunk_bytes = token_bytes.saturating_mul(sizes.chunk_tokens as u64);
    let (in_dram, on_disk) = cache.held_chunks();
    let total = |tokens: u64| tokens.saturating_mul(token_bytes);
    let l1 = json!({
        "memory_total_bytes": total(sizes.dram_tokens),
        "memory_used_bytes": in_dram.saturating_mul(chunk_bytes),
        "total_object_count": in_dram,
        "write_locked_count": 0,
        "read_locked_count": 0,
    });
    // Room is made when it is needed, so there is no share to make room for.
    let eviction = json!({"eviction_policy": EVICTION_POLICY, "trigger_watermark": 1.0, "eviction_ratio": 0.0});
    let stores = json!({"pending_keys_count": 0, "in_flight_task_count": 0});
    let (mut adapters, mut l2_eviction) = (Vec::new(), Vec::new());
    if sizes.disk_tokens > 0 {
        adapters.push(json!({"is_healthy": true, "type": "MockL2Adapter"}));
        let mut state = eviction.clone();
        state["total_bytes_used"] = on_disk.saturating_mul(chunk_bytes).into();
        state["total_capacity_bytes"] = total(sizes.disk_tokens).into();
        l2_eviction.push(state);
    }
    json!({
        "is_healthy": true,
        "l1_managers": {"_default": l1},
        "l1_manager": l1,
        "l1_eviction_controllers": {"_default": eviction},
        "l1_eviction_controller": eviction,
        "store_controllers": {"_default": stores},
        "store_controller": stores,
        "l2_adapters": adapters,
        "num_l2_adapters": adapters.len(),
        "l2_eviction_controller": {"adapters": l2_eviction},
    })
}

/// The settings of a server. What is found on disk moves up into DRAM and stays there, if there is any.
pub fn config(config: &Config, _cache: &PrefixCache, _token_bytes: u64) -> Value {
    let prefetch = if config.cache.dram_tokens > 0 {
        "retain"
    } else {
        "default"
    };
    json!({
        "mp": {"chunk_size": config.cache.chunk_tokens},
        "storage_manager": {"store_policy": "default", "prefetch_policy": prefetch},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 256 bytes a token, blocks of 16 tokens and chunks of 256.
    fn pages(hbm: u64, dram: u64, disk: u64) -> (Value, Value) {
        let mut settings = Config::default();
        (settings.cache.hbm_tokens, settings.cache.dram_tokens) = (hbm, dram);
        settings.cache.disk_tokens = disk;
        let mut cache = PrefixCache::new(settings.cache);
        cache.serve(&(0..600).collect::<Vec<u32>>());
        (status(&settings, &cache, 256), config(&settings, &cache, 256))
    }

    #[test]
    fn tiers_are_told_in_bytes_and_objects() {
        let (status, config) = pages(1000, 1024, 4096);
        assert_eq!(
            (&status["chunk_size"], &status["hash_algorithm"]),
            (&json!(256), &json!("blake3"))
        );
        let layout = &status["cache_context_meta"]["0"]["kv_cache_layout"];
        assert_eq!(layout["num_blocks"], 63);
        assert_eq!(layout["kernel_groups"][0]["tokens_per_block"], 16);
        let storage = &status["storage_manager"];
        let l1 = json!({"memory_total_bytes": 1024 * 256, "memory_used_bytes": 2 * 256 * 256, "total_object_count": 2,
                        "write_locked_count": 0, "read_locked_count": 0});
        assert_eq!(
            (&storage["l1_managers"]["_default"], &storage["l1_manager"]),
            (&l1, &l1)
        );
        assert_eq!(
            storage["l1_eviction_controllers"]["_default"]["eviction_policy"],
            "exact_lru"
        );
        assert_eq!(storage["store_controllers"]["_default"]["pending_keys_count"], 0);
        assert_eq!(storage["l2_adapters"].as_array().unwrap().len(), 1);
        let l2 = &storage["l2_eviction_controller"]["adapters"][0];
        assert_eq!(
            (&l2["total_bytes_used"], &l2["total_capacity_bytes"]),
            (&json!(131_072), &json!(4096 * 256))
        );
        let policies = json!({"store_policy": "default", "prefetch_policy": "retain"});
        assert_eq!(
            (&config["mp"]["chunk_size"], &config["storage_manager"]),
            (&json!(256), &policies)
        );
    }

    #[test]
    fn a_tier_that_is_not_there_is_not_told() {
        let (status, _) = pages(1000, 1024, 0);
        assert_eq!(status["storage_manager"]["l2_adapters"], json!([]));
        assert_eq!(
            status["storage_manager"]["l2_eviction_controller"]["adapters"],
            json!([])
        );
        let (status, _) = pages(1000, 0, 0);
        assert_eq!(status.get("storage_manager"), None);
        let (status, config) = pages(0, 0, 4096);
        assert_eq!(status["storage_manager"]["l1_manager"]["memory_total_bytes"], 0);
        assert_eq!(config["storage_manager"]["prefetch_policy"], "default");
    }
}
