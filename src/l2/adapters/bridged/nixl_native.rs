//! Fields of the `nixl_native` type.

use serde_json::Value;

use super::{AdapterType, Config, Fields, bridged, field};

pub const TYPE: AdapterType = AdapterType::new(
    "nixl_native",
    &["backend", "backend_params", "num_workers", "max_capacity_gb"],
    parse,
);

fn parse(fields: &Fields) -> Result<Config, String> {
    let backend = fields.get("backend").and_then(Value::as_str);
    if !backend.is_some_and(is_plugin_name) {
        return Err("backend must be an uppercase NIXL plugin identifier (for example 'POSIX' or 'OBJ')".to_owned());
    }
    if fields.contains_key("storage_type") {
        return Err(
            "storage_type is not configurable; the NIXL backend's FILE_SEG or OBJ_SEG capability selects the storage \
             strategy"
                .to_owned(),
        );
    }
    let texts = |parameters: &Value| {
        parameters
            .as_object()
            .is_some_and(|texts| texts.values().all(Value::is_string))
    };
    if !fields.get("backend_params").is_none_or(texts) {
        return Err("backend_params must be a dict of string key-value pairs".to_owned());
    }
    field::strict_positive_int(fields, "num_workers", Some(4))?;
    field::strict_non_negative_number(fields, "max_capacity_gb", 0.0)?;
    Ok(bridged())
}

/// A capital letter, then capitals, digits and underscores.
fn is_plugin_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    name.bytes().next().is_some_and(|first| first.is_ascii_uppercase()) && name.bytes().all(inner)
}
