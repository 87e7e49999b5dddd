//! Fields of the `dax` type: one device, or a list of them.

use std::sync::Arc;
use std::thread::available_parallelism;

use serde_json::Value;

use super::DaxAdapter;
use crate::l2::adapter::{Adapter, Environment};
use crate::l2::adapters::field::{self, Fields};
use crate::l2::adapters::registry::{AdapterConfig, AdapterType, IdleField, LOOKUP_WORKERS};
use crate::python::value;

pub const TYPE: AdapterType = AdapterType {
    idle: &[
        IdleField::new("hotplug_enabled", "devices come and go only over LMCache's HTTP API"),
        LOOKUP_WORKERS,
    ],
    ..AdapterType::new(
        "dax",
        &[
            "slot_bytes",
            "device_path",
            "max_dax_size_gb",
            "devices",
            "hotplug_enabled",
            "num_store_workers",
            "num_lookup_workers",
            "num_load_workers",
        ],
        |fields| Ok(Arc::new(parse(fields)?)),
    )
};

#[derive(Clone, Debug, PartialEq)]
pub struct DaxConfig {
    pub slot_bytes: u64,
    pub devices: Vec<DaxDevice>,
    pub num_store_workers: usize,
    pub num_load_workers: usize,
}

impl AdapterConfig for DaxConfig {
    fn open(&self, environment: Environment) -> Result<Box<dyn Adapter>, String> {
        Ok(Box::new(DaxAdapter::open(self, environment)?))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct DaxDevice {
    pub path: String,
    pub mapped_bytes: u64,
}

fn parse(fields: &Fields) -> Result<DaxConfig, String> {
    let slot_bytes = field::positive_int(fields, "slot_bytes", None)?;
    let devices = match fields.get("devices") {
        None => {
            let device = device(fields, "")?;
            if device.mapped_bytes < slot_bytes {
                return Err("configured DAX arena does not fit even one slot".to_owned());
            }
            vec![device]
        }
        Some(Value::Array(listed)) => listed
            .iter()
            .enumerate()
            .map(|(index, listed)| listed_device(index, listed, slot_bytes))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err("devices must be a list".to_owned()),
    };
    let cores = available_parallelism().map_or(1, |cores| cores.get() as u64).min(4);
    let workers = |name: &str, default| field::workers(field::positive_int(fields, name, Some(default))?, name);
    let num_store_workers = workers("num_store_workers", 1)?;
    workers("num_lookup_workers", 1)?;
    let num_load_workers = workers("num_load_workers", cores)?;
    if devices.is_empty() && !field::truth(fields, "hotplug_enabled", false) {
        return Err("devices may be empty only when hotplug_enabled is true".to_owned());
    }
    Ok(DaxConfig {
        slot_bytes,
        devices,
        num_store_workers,
        num_load_workers,
    })
}

/// The two fields of a device. `prefix` comes before their names in messages.
fn device(fields: &Fields, prefix: &str) -> Result<DaxDevice, String> {
    let path = fields.get("device_path").and_then(Value::as_str).map(str::trim);
    let Some(path) = path.filter(|path| !path.is_empty()) else {
        return Err(format!("{prefix}device_path must be a non-empty string"));
    };
    let gib = fields.get("max_dax_size_gb").and_then(value::number);
    let Some(gib) = gib.filter(|gib| *gib > 0.0) else {
        return Err(format!("{prefix}max_dax_size_gb must be a positive number"));
    };
    Ok(DaxDevice {
        path: path.to_owned(),
        mapped_bytes: field::gib_bytes(gib),
    })
}

fn listed_device(index: usize, listed: &Value, slot_bytes: u64) -> Result<DaxDevice, String> {
    let fields = listed
        .as_object()
        .ok_or_else(|| format!("devices[{index}] must be a dict"))?;
    let device = device(fields, &format!("devices[{index}]."))?;
    if device.mapped_bytes < slot_bytes {
        return Err(format!("devices[{index}] configured DAX arena does not fit one slot"));
    }
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2::spec::tests::{config, message, message_about};

    const ONE: &str = r#""type": "dax", "slot_bytes": 4096, "device_path": " /dev/dax0.0 ", "max_dax_size_gb": 0.5"#;

    #[test]
    fn fields_are_checked_with_lmcaches_messages() {
        let cases = [
            (r#""slot_bytes": 0"#, "slot_bytes must be a positive integer"),
            (r#""device_path": "  ""#, "device_path must be a non-empty string"),
            (r#""max_dax_size_gb": 0"#, "max_dax_size_gb must be a positive number"),
            (
                r#""slot_bytes": 1073741824"#,
                "configured DAX arena does not fit even one slot",
            ),
            (r#""devices": {}"#, "devices must be a list"),
            (r#""devices": [1]"#, "devices[0] must be a dict"),
            (
                r#""devices": [{"device_path": "a", "max_dax_size_gb": 1}, {}]"#,
                "devices[1].device_path must be a non-empty string",
            ),
            (
                r#""devices": [{"device_path": "a"}]"#,
                "devices[0].max_dax_size_gb must be a positive number",
            ),
            (
                r#""devices": [{"device_path": "a", "max_dax_size_gb": 0.000001}]"#,
                "devices[0] configured DAX arena does not fit one slot",
            ),
            (
                r#""devices": []"#,
                "devices may be empty only when hotplug_enabled is true",
            ),
            (
                r#""num_load_workers": 0"#,
                "num_load_workers must be a positive integer",
            ),
            (
                r#""num_lookup_workers": 0"#,
                "num_lookup_workers must be a positive integer",
            ),
        ];
        for (field, expected) in cases {
            assert_eq!(message_about(ONE, field), expected, "{field}");
        }
        assert!(message(r#"{"type": "dax"}"#).ends_with("slot_bytes must be a positive integer"));
    }

    #[test]
    fn one_device_and_a_list_mean_the_same() {
        let expected = DaxConfig {
            slot_bytes: 4096,
            devices: vec![DaxDevice {
                path: "/dev/dax0.0".to_owned(),
                mapped_bytes: 512 << 20,
            }],
            num_store_workers: 1,
            num_load_workers: 3,
        };
        let list =
            r#""type": "dax", "slot_bytes": 4096, "devices": [{"device_path": "/dev/dax0.0", "max_dax_size_gb": 0.5}]"#;
        for start in [ONE, list] {
            let (parsed, _) = config::<DaxConfig>(&format!(r#"{{{start}, "num_load_workers": 3}}"#));
            assert_eq!(parsed, expected);
        }
    }
}
