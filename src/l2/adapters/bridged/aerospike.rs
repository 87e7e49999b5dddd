//! Fields of the `aerospike` type.

use super::{AdapterType, Config, Fields, bridged, field};

pub const TYPE: AdapterType = AdapterType::new(
    "aerospike",
    &[
        "hosts",
        "namespace",
        "set_name",
        "set",
        "num_workers",
        "read_timeout_ms",
        "write_timeout_ms",
        "default_ttl_seconds",
        "target_segment_bytes",
        "max_record_bytes",
        "username",
        "password",
        "max_capacity_gb",
    ],
    parse,
);

fn parse(fields: &Fields) -> Result<Config, String> {
    field::non_empty_string(fields, "hosts")?;
    field::non_empty_string_or(fields, "namespace", "lmcache")?;
    // `set` is the older name, read only where the newer one is absent.
    let set = if fields.contains_key("set_name") {
        "set_name"
    } else {
        "set"
    };
    field::non_empty_string_or(fields, set, "kv_chunks")
        .map_err(|_| "set_name must be a non-empty string".to_owned())?;
    field::positive_int(fields, "num_workers", Some(8))?;
    field::positive_int(fields, "read_timeout_ms", Some(1000))?;
    field::positive_int(fields, "write_timeout_ms", Some(2000))?;
    field::non_negative_int(fields, "default_ttl_seconds", 86_400)?;
    field::non_negative_int(fields, "target_segment_bytes", 0)?;
    field::non_negative_int(fields, "max_record_bytes", 0)?;
    field::non_negative_number(fields, "max_capacity_gb", 0.0)?;
    Ok(bridged())
}
