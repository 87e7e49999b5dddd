//! Small requests to servers outside the measured time: models, cache layout, counters. A run does not fail because of an
//! answer that it can do without.

pub mod clear;
pub mod discover;
pub mod http;
pub mod lookups;
pub mod prompt_sources;
pub mod server_counters;
pub mod version;

/// The address of an engine without the `/v1` of its API, where its other pages are.
pub fn root(base_url: &str) -> &str {
    base_url.strip_suffix("/v1").unwrap_or(base_url)
}
