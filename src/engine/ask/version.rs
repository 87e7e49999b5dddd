//! The engine's version, for the result file: `GET /version` beside the API, as vLLM has it.

use super::http::{Asker, BRIEF};
use super::root;
use crate::http::api_key::ApiKey;

/// Of the text in the result.
const VERSION_CHARS_MAX: usize = 100;

/// `base_url` is the one of requests, with `/v1`. Engines without such a page have no version here.
pub fn engine_version(base_url: &str, key: &ApiKey) -> Option<String> {
    let root = root(base_url);
    let answer = Asker::of_engine(key, BRIEF).get_json(&format!("{root}/version")).ok()?;
    let text = answer["version"].as_str()?.chars().filter(|c| !c.is_control());
    Some(text.take(VERSION_CHARS_MAX).collect())
}
