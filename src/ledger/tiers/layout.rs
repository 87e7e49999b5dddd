//! Which of the models in an LMCache server's `/status` is ours, and how large its tokens are.

use serde_json::{Map, Value};

use crate::error::shortened;
use crate::http::error_body::one_line;

const NAMES_CHARS_MAX: usize = 200;

/// The models whose layout the server knows, by instance; `None` where there are none. The module for blending keeps its own.
pub fn models(status: &Value) -> Option<&Map<String, Value>> {
    let entries = ["cache_context_meta", "cb_gpu_context_meta"]
        .into_iter()
        .filter_map(|key| status[key].as_object());
    entries.into_iter().find(|entries| !entries.is_empty())
}

/// The entry of a model. LMCache knows it by the name or path that it was loaded from.
pub fn of_model<'a>(models: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    models.values().find(|entry| entry["model_name"] == name)
}

/// The names of all models, for messages: on one line and shortened, since they are a server's text.
pub fn names(models: &Map<String, Value>) -> String {
    let mut names: Vec<&str> = models
        .values()
        .map(|entry| entry["model_name"].as_str().unwrap_or("?"))
        .collect();
    names.sort_unstable();
    names.dedup();
    shortened(&one_line(&names.join(", ")), NAMES_CHARS_MAX).into_owned()
}

/// Bytes of a token on one rank.
pub fn rank_bytes(entry: &Value) -> Option<u64> {
    let bytes = entry["kv_cache_layout"]["cache_size_per_token"].as_u64();
    bytes.filter(|&bytes| bytes > 0)
}

pub fn ranks(entry: &Value) -> u64 {
    entry["world_size"].as_u64().unwrap_or(1).max(1)
}
