//! Fields of the `sagemaker-hyperpod` type.

use serde_json::Value;

use super::{AdapterType, Config, Fields, bridged, field};
use crate::python::value;

/// Counts with their defaults, in the order in which LMCache checks them.
const COUNTS: [(&str, u64); 7] = [
    ("max_concurrent_requests", 100),
    ("max_connections", 256),
    ("max_connections_per_host", 128),
    ("timeout_ms", 5000),
    ("lease_wait_timeout_ms", 1000),
    ("lease_ttl_ms", 30_000),
    ("put_stream_chunk_bytes", 65_536),
];

pub const TYPE: AdapterType = AdapterType::new(
    "sagemaker-hyperpod",
    &[
        "url",
        "bucket",
        "shared_memory_name",
        "max_concurrent_requests",
        "max_connections",
        "max_connections_per_host",
        "timeout_ms",
        "lease_wait_timeout_ms",
        "lease_ttl_ms",
        "put_stream_chunk_bytes",
        "max_lease_size_mb",
        "use_https",
    ],
    parse,
);

fn parse(fields: &Fields) -> Result<Config, String> {
    if field::given(fields, "eviction").is_some() {
        return Err("sagemaker-hyperpod does not support LMCache-owned eviction".to_owned());
    }
    let url = field::non_empty_string(fields, "url")?;
    field::boolean(fields, "use_https", false)?;
    check_url(url.trim().trim_end_matches('/'))?;
    field::non_empty_string_or(fields, "bucket", "lmcache")?;
    field::non_empty_string_or(fields, "shared_memory_name", "shared_memory")?;
    for (name, default) in COUNTS {
        field::strict_positive_int(fields, name, Some(default))?;
    }
    let positive = |size: &Value| !size.is_boolean() && value::number(size).is_some_and(|size| size > 0.0);
    if !field::given(fields, "max_lease_size_mb").is_none_or(positive) {
        return Err("max_lease_size_mb must be positive when set".to_owned());
    }
    Ok(bridged())
}

fn check_url(url: &str) -> Result<(), String> {
    let Some(rest) = url.strip_prefix("sagemaker-hyperpod://") else {
        return Err("url must use the sagemaker-hyperpod:// scheme".to_owned());
    };
    // What ends the host part of a URL.
    if rest.is_empty() || rest.starts_with(['/', '?', '#']) {
        return Err("url must include a host".to_owned());
    }
    Ok(())
}
