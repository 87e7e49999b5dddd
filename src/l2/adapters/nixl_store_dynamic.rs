//! The `nixl_store_dynamic` type. This program runs its POSIX backend, which keeps one file per object; the others need NIXL
//! itself.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::field::{self, Fields};
use super::fs::config::{FsConfig, Names, Temporary};
use super::registry::{AdapterConfig, AdapterType, Config, bridged};
use crate::l2::adapter::{Adapter, Environment};
use crate::python::value;

const BACKENDS: [&str; 5] = ["GDS", "GDS_MT", "POSIX", "HF3FS", "IBM_SCALE"];

pub const TYPE: AdapterType = AdapterType::new("nixl_store_dynamic", &["backend", "backend_params"], parse);

/// `Err` is LMCache's message about parameters that it checks only when it creates the adapter.
impl AdapterConfig for Result<FsConfig, String> {
    fn open(&self, environment: Environment) -> Result<Box<dyn Adapter>, String> {
        self.as_ref().map_err(String::clone)?.open(environment)
    }
}

fn parse(fields: &Fields) -> Result<Config, String> {
    let backend = fields.get("backend").unwrap_or(&Value::Null);
    if !backend.as_str().is_some_and(|backend| BACKENDS.contains(&backend)) {
        let known = BACKENDS.map(|name| format!("'{name}'")).join(", ");
        return Err(format!(
            "backend must be one of ({known}), got {}",
            value::repr(backend)
        ));
    }
    let params = match fields.get("backend_params") {
        None => &Fields::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err("backend_params must be a dict of string key-value pairs".to_owned()),
    };
    if backend.as_str() != Some("POSIX") {
        return Ok(bridged());
    }
    // LMCache looks at these when it creates the adapter.
    Ok(Arc::new(posix(params)))
}

/// The rest of the checks, which fail when the adapter is created.
fn posix(params: &Fields) -> Result<FsConfig, String> {
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
    Ok(FsConfig {
        class_name: "DynamicNixlStoreL2Adapter",
        base_path: PathBuf::from(field::non_empty_string(params, "file_path")?),
        names: Names::Nixl {
            sharded: is_true("shard_dirs"),
        },
        temporary: Temporary::Beside,
        read_ahead_size: None,
        use_odirect: is_true("use_direct_io"),
        threads: None,
        capacity_bytes: Some(field::gib_bytes(capacity_gib)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2::spec::tests::{config, message, parse_one};

    fn made(params: &str) -> Result<FsConfig, String> {
        let spec = format!(r#"{{"type": "nixl_store_dynamic", "backend": "POSIX", "backend_params": {{{params}}}}}"#);
        config::<Result<FsConfig, String>>(&spec).0
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
        let gds = parse_one(r#"{"type": "nixl_store_dynamic", "backend": "GDS"}"#);
        assert!(!gds.first.kind.is_native());
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
        let expected = FsConfig {
            class_name: "DynamicNixlStoreL2Adapter",
            base_path: PathBuf::from("/x"),
            names: Names::Nixl { sharded: true },
            temporary: Temporary::Beside,
            read_ahead_size: None,
            use_odirect: true,
            threads: None,
            capacity_bytes: Some(512 << 20),
        };
        assert_eq!(made(params), Ok(expected));
    }
}
