//! Fields of the `mock` type: LMCache's two, `"inf"` as a bandwidth, and a fixed latency for each operation.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{AdapterKind, SpecType, field};

pub const TYPE: SpecType = SpecType {
    name: "mock",
    fields: Some(&[
        "max_size_gb",
        "mock_bandwidth_gb",
        "store_latency_us",
        "lookup_latency_us",
        "load_latency_us",
    ]),
    parse,
};

#[derive(Clone, Debug, PartialEq)]
pub struct MockConfig {
    pub capacity_bytes: u64,
    /// `None` is a device that takes no time, and nothing is copied.
    pub bandwidth_bytes_per_s: Option<u64>,
    pub store_latency: Duration,
    pub lookup_latency: Duration,
    pub load_latency: Duration,
}

fn parse(fields: &Map<String, Value>) -> Result<AdapterKind, String> {
    let capacity_bytes = field::gib_bytes(field::positive_number(fields, "max_size_gb")?);
    let bandwidth_bytes_per_s = match fields.get("mock_bandwidth_gb") {
        Some(Value::String(text)) if text == "inf" => None,
        // A rate that rounds to none would never finish.
        _ => Some(field::gib_bytes(field::positive_number(fields, "mock_bandwidth_gb")?).max(1)),
    };
    Ok(AdapterKind::Mock(MockConfig {
        capacity_bytes,
        bandwidth_bytes_per_s,
        store_latency: microseconds(fields, "store_latency_us")?,
        lookup_latency: microseconds(fields, "lookup_latency_us")?,
        load_latency: microseconds(fields, "load_latency_us")?,
    }))
}

fn microseconds(fields: &Map<String, Value>, name: &str) -> Result<Duration, String> {
    let micros = field::non_negative_number(fields, name, 0.0)?;
    Duration::try_from_secs_f64(micros / 1e6).map_err(|_| format!("{name} must be a non-negative number"))
}
