//! Fields of the `nixl_store` type.

use serde_json::Value;

use super::{AdapterType, Config, Fields, bridged, field};
use crate::python::{quote, value};

const BACKENDS: [&str; 7] = ["GDS", "GDS_MT", "POSIX", "HF3FS", "OBJ", "AZURE_BLOB", "IBM_SCALE"];
const FILE_BACKENDS: [&str; 5] = ["GDS", "GDS_MT", "POSIX", "HF3FS", "IBM_SCALE"];

pub const TYPE: AdapterType = AdapterType::new("nixl_store", &["backend", "backend_params", "pool_size"], parse);

fn parse(fields: &Fields) -> Result<Config, String> {
    let backend = fields.get("backend").unwrap_or(&Value::Null);
    if !backend.as_str().is_some_and(|name| BACKENDS.contains(&name)) {
        let known: Vec<String> = BACKENDS.iter().map(|name| quote::repr(name)).collect();
        return Err(format!(
            "backend must be one of ({}), got {}",
            known.join(", "),
            value::repr(backend)
        ));
    }
    let wrong = || "backend_params must be a dict of string key-value pairs".to_owned();
    let parameters = field::dict(fields, "backend_params").map_err(|_| wrong())?;
    field::positive_int(fields, "pool_size", None)?;
    if backend.as_str().is_some_and(|name| FILE_BACKENDS.contains(&name)) {
        for name in ["file_path", "use_direct_io"] {
            if !parameters.is_some_and(|parameters| parameters.contains_key(name)) {
                return Err(format!(
                    "backend_params must include '{name}' for file-based backend {}",
                    value::repr(backend)
                ));
            }
        }
    }
    Ok(bridged())
}
