//! Fields of the `nixl_store_dynamic` type. This program runs its POSIX backend; the others need NIXL itself.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{AdapterKind, SpecType, field};
use crate::python::value;

const BACKENDS: [&str; 5] = ["GDS", "GDS_MT", "POSIX", "HF3FS", "IBM_SCALE"];

pub const TYPE: SpecType = SpecType {
    name: "nixl_store_dynamic",
    fields: Some(&["backend", "backend_params"]),
    parse,
};

#[derive(Clone, Debug, PartialEq)]
pub struct NixlStoreDynamicConfig {
    pub file_path: PathBuf,
    pub use_direct_io: bool,
    pub shard_dirs: bool,
    pub capacity_bytes: u64,
}

fn parse(fields: &Map<String, Value>) -> Result<AdapterKind, String> {
    let backend = fields.get("backend").unwrap_or(&Value::Null);
    if !backend.as_str().is_some_and(|backend| BACKENDS.contains(&backend)) {
        let known = BACKENDS.map(|name| format!("'{name}'")).join(", ");
        return Err(format!(
            "backend must be one of ({known}), got {}",
            value::repr(backend)
        ));
    }
    let params = match fields.get("backend_params") {
        None => &Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err("backend_params must be a dict of string key-value pairs".to_owned()),
    };
    if backend.as_str() != Some("POSIX") {
        return Ok(AdapterKind::Bridged);
    }
    // LMCache looks at these when it makes the adapter.
    Ok(AdapterKind::NixlStoreDynamic(posix(params)))
}

/// The rest of the checks, whose failure is one of creation.
fn posix(params: &Map<String, Value>) -> Result<NixlStoreDynamicConfig, String> {
    let capacity_gib = params.get("max_capacity_gb").map_or(Ok(0.0), value::float)?;
    if capacity_gib.is_nan() || capacity_gib <= 0.0 {
        return Err("backend_params must include a positive 'max_capacity_gb'".to_owned());
    }
    for name in ["file_path", "use_direct_io"] {
        if !params.contains_key(name) {
            return Err(format!("backend_params must include '{name}' for backend 'POSIX'"));
        }
    }
    let is_true = |name: &str| match params.get(name) {
        Some(Value::Bool(on)) => *on,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    };
    Ok(NixlStoreDynamicConfig {
        file_path: PathBuf::from(field::non_empty_string(params, "file_path")?),
        use_direct_io: is_true("use_direct_io"),
        shard_dirs: is_true("shard_dirs"),
        capacity_bytes: field::gib_bytes(capacity_gib),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, message};
    use super::*;

    fn made(params: &str) -> Result<NixlStoreDynamicConfig, String> {
        let spec = format!(r#"{{"type": "nixl_store_dynamic", "backend": "POSIX", "backend_params": {{{params}}}}}"#);
        match config(&spec).0 {
            AdapterKind::NixlStoreDynamic(made) => made,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_backend_is_checked_when_parsed() {
        let text = message(r#"{"type": "nixl_store_dynamic", "backend": "OBJ"}"#);
        assert!(
            text.ends_with("backend must be one of ('GDS', 'GDS_MT', 'POSIX', 'HF3FS', 'IBM_SCALE'), got 'OBJ'"),
            "{text}"
        );
        let text = message(r#"{"type": "nixl_store_dynamic", "backend": "GDS", "backend_params": []}"#);
        assert!(text.ends_with("backend_params must be a dict of string key-value pairs"));
        let gds = config(r#"{"type": "nixl_store_dynamic", "backend": "GDS"}"#).0;
        assert_eq!(gds, AdapterKind::Bridged);
    }

    #[test]
    fn the_parameters_are_checked_when_the_adapter_is_made() {
        let cases = [
            ("", "backend_params must include a positive 'max_capacity_gb'"),
            (
                r#""max_capacity_gb": "1""#,
                "backend_params must include 'file_path' for backend 'POSIX'",
            ),
            (
                r#""max_capacity_gb": 1, "file_path": "/x""#,
                "backend_params must include 'use_direct_io' for backend 'POSIX'",
            ),
        ];
        for (params, expected) in cases {
            assert_eq!(made(params).unwrap_err(), expected);
        }
        let params = r#""max_capacity_gb": "0.5", "file_path": "/x", "use_direct_io": "True", "shard_dirs": true"#;
        let expected = NixlStoreDynamicConfig {
            file_path: PathBuf::from("/x"),
            use_direct_io: true,
            shard_dirs: true,
            capacity_bytes: 512 << 20,
        };
        assert_eq!(made(params), Ok(expected));
    }
}
