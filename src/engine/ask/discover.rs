//! What a run can find out by itself: the model that the engine serves, and the tokens per GB from a running LMCache server.
//! Must never guess: what a server does not say is an error.

use serde_json::{Map, Value};

use super::http::{Asker, PATIENT};
use crate::engine::api_key::ApiKey;

/// The reference's GB.
const GIB: u64 = 1 << 30;

/// The first model that the engine lists. `base_url` is the one of requests.
pub fn model(base_url: &str, key: &ApiKey) -> Result<String, String> {
    let url = format!("{base_url}/models");
    let answer = Asker::with_key(key, PATIENT).get_json(&url).map_err(|cause| {
        format!("Failed to fetch models from {url}: {cause}; check --engine-url, and that the engine runs")
    })?;
    let id = answer["data"][0]["id"].as_str().filter(|id| !id.is_empty());
    id.map(str::to_string)
        .ok_or_else(|| format!("No models returned by {url}; pass --model explicitly"))
}

/// Tokens that a GB of KV cache holds for `model`, by its layout in the LMCache server.
pub fn tokens_per_gb(lmcache_url: &str, model: &str) -> Result<i64, String> {
    let url = status_url(lmcache_url);
    let status = Asker::plain(PATIENT).get_json(&url).map_err(|cause| {
        format!(
            "Cannot connect to LMCache server at {url}: {cause}; check --lmcache-url, or give --tokens-per-gb-kvcache"
        )
    })?;
    from_status(&status, model)
}

fn status_url(lmcache_url: &str) -> String {
    let trimmed = lmcache_url.trim_end_matches('/');
    let scheme = if trimmed.contains("://") { "" } else { "http://" };
    format!("{scheme}{trimmed}/status")
}

fn from_status(status: &Value, model: &str) -> Result<i64, String> {
    let entries = ["cache_context_meta", "cb_gpu_context_meta"]
        .into_iter()
        .filter_map(|key| status[key].as_object())
        .find(|entries| !entries.is_empty());
    let entries = entries.ok_or(
        "No model info returned by LMCache server; is the server running with a model loaded? Give \
         --tokens-per-gb-kvcache otherwise",
    )?;
    let entry = entries.values().find(|entry| entry["model_name"] == model);
    let entry = entry.ok_or_else(|| {
        let available = names(entries);
        format!("Model {model:?} not found in the LMCache server. Available: {available}; give one of these as --model")
    })?;
    let layout = &entry["kv_cache_layout"];
    if !layout.is_object() {
        return Err(format!("No kv_cache_layout for model {model:?} in the LMCache server"));
    }
    let bytes = layout["cache_size_per_token"].as_u64().filter(|&bytes| bytes > 0);
    let bytes = bytes.ok_or_else(|| {
        format!("cache_size_per_token not available for model {model:?}; give --tokens-per-gb-kvcache instead")
    })?;
    // The size is that of one rank.
    let ranks = entry["world_size"].as_u64().unwrap_or(1).max(1);
    let tokens = GIB / bytes.saturating_mul(ranks);
    Ok(i64::try_from(tokens).expect("at most 2^30"))
}

fn names(entries: &Map<String, Value>) -> String {
    let mut names: Vec<&str> = entries
        .values()
        .map(|entry| entry["model_name"].as_str().unwrap_or("?"))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(model: &str, layout: Value) -> Value {
        json!({"model_name": model, "world_size": 1, "kv_cache_layout": layout})
    }

    fn status(entries: Value) -> Value {
        json!({"cache_context_meta": entries})
    }

    #[test]
    fn tokens_come_from_the_bytes_of_all_ranks() {
        let one = status(json!({"0": entry("m", json!({"cache_size_per_token": 131_072}))}));
        assert_eq!(from_status(&one, "m"), Ok(8192));
        let mut two = one.clone();
        two["cache_context_meta"]["0"]["world_size"] = json!(3);
        assert_eq!(from_status(&two, "m"), Ok(2730));
        let blended = json!({"cache_context_meta": {}, "cb_gpu_context_meta": one["cache_context_meta"]});
        assert_eq!(from_status(&blended, "m"), Ok(8192));
        let huge = status(json!({"0": entry("m", json!({"cache_size_per_token": u64::MAX}))}));
        assert_eq!(from_status(&huge, "m"), Ok(0));
    }

    #[test]
    fn what_the_server_does_not_say_is_named() {
        let refusal = |status: &Value| from_status(status, "m").expect_err("a refusal");
        assert!(refusal(&json!({"ok": true})).contains("No model info returned by LMCache server"));
        let others = status(json!({"0": entry("z", json!({})), "1": {"world_size": 1}, "2": entry("a", json!({}))}));
        assert!(
            refusal(&others).contains("Model \"m\" not found"),
            "{}",
            refusal(&others)
        );
        assert!(refusal(&others).contains("Available: ?, a, z;"), "{}", refusal(&others));
        assert!(refusal(&status(json!({"0": entry("m", Value::Null)}))).contains("No kv_cache_layout"));
        for unusable in [
            json!({}),
            json!({"cache_size_per_token": 0}),
            json!({"cache_size_per_token": "x"}),
        ] {
            assert!(refusal(&status(json!({"0": entry("m", unusable)}))).contains("cache_size_per_token"));
        }
    }

    #[test]
    fn addresses_of_servers_may_be_short() {
        assert_eq!(status_url("h:8080/"), "http://h:8080/status");
        assert_eq!(status_url("https://h//"), "https://h/status");
    }
}
