//! Fields of the `raw_block` type, checked in LMCache's order. What needs the device is checked when the adapter is made.

use std::sync::Arc;

use serde_json::Value;

use super::RawBlockAdapter;
use crate::l2::adapter::{Adapter, Environment};
use crate::l2::adapters::field::{self, Fields};
use crate::l2::adapters::registry::{AdapterConfig, AdapterType, IdleField, LOOKUP_WORKERS};
use crate::python::value::{int, is_true, str_text};

const PASSTHROUGH: &str = "it is about NVMe passthrough (use_uring_cmd)";

/// An old name of `io_engine`, which has an effect where that is not given.
const fn old_name(name: &'static str) -> IdleField {
    IdleField {
        name,
        why: "it is an old name and io_engine says the same",
        beside: Some("io_engine"),
    }
}

pub const TYPE: AdapterType = AdapterType {
    idle: &[
        IdleField::new(
            "enable_zero_copy",
            "aligned buffers always go to the device without a copy",
        ),
        IdleField::new("fdp_data_placement_policy", PASSTHROUGH),
        IdleField::new("fdp_placement_ids", PASSTHROUGH),
        IdleField::new("fdp_slot_reuse_policy", PASSTHROUGH),
        IdleField::new("max_data_transfer_size", PASSTHROUGH),
        LOOKUP_WORKERS,
        old_name("use_iouring"),
        old_name("use_uring"),
    ],
    ..AdapterType::new(
        "raw_block",
        &[
            "device_path",
            "per_tp_device_paths",
            "slot_bytes",
            "block_align",
            "header_bytes",
            "meta_total_bytes",
            "capacity_bytes",
            "io_engine",
            "use_iouring",
            "use_uring",
            "iouring_queue_depth",
            "use_uring_cmd",
            "max_data_transfer_size",
            "fdp_enabled",
            "fdp_placement_ids",
            "fdp_data_placement_policy",
            "fdp_slot_reuse_policy",
            "meta_checkpoint_placement_id",
            "num_store_workers",
            "num_lookup_workers",
            "num_load_workers",
            "use_odirect",
            "meta_magic",
            "meta_version",
            "meta_checkpoint_interval_sec",
            "meta_idle_quiet_ms",
            "meta_enable_periodic",
            "load_checkpoint_on_init",
            "meta_verify_on_load",
            "enable_zero_copy",
        ],
        |fields| Ok(Arc::new(parse(fields)?)),
    )
};

#[derive(Clone, Debug, PartialEq)]
pub struct RawBlockConfig {
    pub device_path: String,
    pub slot_bytes: i64,
    pub block_align: i64,
    pub header_bytes: i64,
    pub meta_total_bytes: i64,
    /// Not positive: as large as the device.
    pub capacity_bytes: i64,
    pub io: IoOptions,
    pub use_odirect: bool,
    pub meta_magic: String,
    pub meta_version: i64,
    pub meta_checkpoint_interval_s: i64,
    pub meta_idle_quiet_ms: i64,
    pub meta_enable_periodic: bool,
    pub load_checkpoint_on_init: bool,
    pub meta_verify_on_load: bool,
}

impl AdapterConfig for RawBlockConfig {
    fn open(&self, environment: Environment) -> Result<Box<dyn Adapter>, String> {
        Ok(Box::new(RawBlockAdapter::open(self, environment)?))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct IoOptions {
    /// None: the posix engine.
    pub uring: Option<UringOptions>,
    pub num_store_workers: usize,
    pub num_load_workers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UringOptions {
    pub queue_depth: i64,
    /// NVMe passthrough.
    pub use_uring_cmd: bool,
}

/// `int(d.get(name, default))`.
fn int_or(fields: &Fields, name: &str, default: i64) -> Result<i64, String> {
    fields.get(name).map_or(Ok(default), int)
}

fn parse(fields: &Fields) -> Result<RawBlockConfig, String> {
    let device_path = field::non_empty_string(fields, "device_path")?;
    if fields.contains_key("per_tp_device_paths") {
        return Err("per_tp_device_paths is not supported in MP raw_block mode".to_owned());
    }
    if !field::truth(fields, "persist_enabled", true) {
        return Err("raw_block requires persist_enabled=true".to_owned());
    }
    let slot_bytes = field::positive_int(fields, "slot_bytes", None)?;
    let slot_bytes = i64::try_from(slot_bytes).map_err(|_| format!("slot_bytes {slot_bytes} is beyond any device"))?;
    let block_align = int_or(fields, "block_align", 4096)?;
    let header_bytes = int_or(fields, "header_bytes", 4096)?;
    let meta_total_bytes = int_or(fields, "meta_total_bytes", 256 << 20)?;
    let capacity_bytes = int_or(fields, "capacity_bytes", 0)?;
    let uses_uring = io_engine(fields)?;
    let queue_depth = int_or(fields, "iouring_queue_depth", 256)?;
    let use_uring_cmd = field::truth(fields, "use_uring_cmd", false);
    int_or(fields, "max_data_transfer_size", 0)?;
    if field::given(fields, "fdp_placement_ids").is_some_and(|ids| !ids.is_array()) {
        return Err("fdp_placement_ids must be a list".to_owned());
    }
    check_geometry(slot_bytes, block_align, header_bytes, meta_total_bytes)?;
    if capacity_bytes > 0 && capacity_bytes <= meta_total_bytes {
        return Err("capacity_bytes must leave space for at least one slot".to_owned());
    }
    if queue_depth <= 0 {
        return Err("iouring_queue_depth must be > 0".to_owned());
    }
    if use_uring_cmd && !uses_uring {
        return Err("use_uring_cmd requires io_uring io_engine".to_owned());
    }
    check_passthrough_only(fields, uses_uring && use_uring_cmd)?;
    let workers = |name: &str, default| match int_or(fields, name, default)? {
        ..=0 => Err(format!("{name} must be > 0")),
        count => field::workers(count.unsigned_abs(), name),
    };
    let num_store_workers = workers("num_store_workers", 2)?;
    workers("num_lookup_workers", 1)?;
    let num_load_workers = workers("num_load_workers", 4)?;
    let config = RawBlockConfig {
        device_path,
        slot_bytes,
        block_align,
        header_bytes,
        meta_total_bytes,
        capacity_bytes,
        io: IoOptions {
            uring: uses_uring.then_some(UringOptions {
                queue_depth,
                use_uring_cmd,
            }),
            num_store_workers,
            num_load_workers,
        },
        use_odirect: field::truth(fields, "use_odirect", true),
        meta_magic: fields.get("meta_magic").map_or_else(|| "LMCIDX01".to_owned(), str_text),
        meta_version: int_or(fields, "meta_version", 1)?,
        meta_checkpoint_interval_s: int_or(fields, "meta_checkpoint_interval_sec", 60)?,
        meta_idle_quiet_ms: int_or(fields, "meta_idle_quiet_ms", 100)?,
        meta_enable_periodic: field::truth(fields, "meta_enable_periodic", true),
        load_checkpoint_on_init: field::truth(fields, "load_checkpoint_on_init", true),
        meta_verify_on_load: field::truth(fields, "meta_verify_on_load", true),
    };
    check_fdp(fields)?;
    Ok(config)
}

/// Whether it is io_uring.
fn io_engine(fields: &Fields) -> Result<bool, String> {
    let silent = |value: &&Value| !value.is_null() && value.as_str() != Some("");
    match fields.get("io_engine").filter(silent) {
        None => Ok(["use_iouring", "use_uring"]
            .iter()
            .any(|name| fields.get(*name).is_some_and(is_true))),
        Some(engine) => match str_text(engine).to_lowercase().as_str() {
            "io_uring" => Ok(true),
            "posix" => Ok(false),
            _ => Err("io_engine must be one of: io_uring, posix".to_owned()),
        },
    }
}

fn check_geometry(slot: i64, align: i64, header: i64, meta: i64) -> Result<(), String> {
    if align <= 0 || align & (align - 1) != 0 {
        return Err(format!("block_align must be a power of 2, got {align}"));
    }
    for (name, bytes) in [
        ("slot_bytes", slot),
        ("header_bytes", header),
        ("meta_total_bytes", meta),
    ] {
        if bytes % align != 0 {
            return Err(format!("{name} must be a multiple of block_align"));
        }
    }
    if slot <= header {
        return Err("slot_bytes must be >= header_bytes + 1".to_owned());
    }
    Ok(())
}

fn check_passthrough_only(fields: &Fields, passthrough: bool) -> Result<(), String> {
    let needs = "requires io_engine='io_uring' and use_uring_cmd=true";
    if field::truth(fields, "fdp_enabled", false) && !passthrough {
        return Err(format!("fdp_enabled {needs}"));
    }
    if field::given(fields, "meta_checkpoint_placement_id").is_some() && !passthrough {
        return Err(format!("meta_checkpoint_placement_id {needs}"));
    }
    Ok(())
}

/// Flexible data placement, which only passthrough has.
fn check_fdp(fields: &Fields) -> Result<(), String> {
    let enabled = field::truth(fields, "fdp_enabled", false);
    let ids = fields
        .get("fdp_placement_ids")
        .and_then(Value::as_array)
        .filter(|_| enabled);
    let ids = ids.map(|ids| placement_ids(ids)).transpose()?;
    for (name, policies) in [
        (
            "fdp_data_placement_policy",
            &["cache_salt_prefix", "cache_salt_rank", "none"][..],
        ),
        ("fdp_slot_reuse_policy", &["none", "pid_affinity"]),
    ] {
        let Some(policy) = field::given(fields, name)
            .map(str_text)
            .filter(|policy| !policy.is_empty())
        else {
            continue;
        };
        let policy = policy.to_lowercase();
        if !policies.contains(&policy.as_str()) {
            return Err(format!("{name} must be one of: {}", policies.join(", ")));
        }
        if policy != "none" && !enabled {
            return Err(format!("{name} requires fdp_enabled=true"));
        }
    }
    let Some(id) = field::given(fields, "meta_checkpoint_placement_id") else {
        return Ok(());
    };
    let id = placement_id(id, "meta_checkpoint_placement_id", true)?;
    if ids.is_some_and(|ids| ids.contains(&id)) {
        return Err("meta_checkpoint_placement_id must not overlap with fdp_placement_ids".to_owned());
    }
    Ok(())
}

fn placement_ids(given: &[Value]) -> Result<Vec<i64>, String> {
    let mut ids = Vec::with_capacity(given.len());
    for value in given {
        if value.as_i64() == Some(0) {
            return Err("fdp_placement_ids must not contain 0".to_owned());
        }
        let id = placement_id(value, "fdp_placement_ids", false)?;
        if ids.contains(&id) {
            return Err("fdp_placement_ids must not contain duplicates".to_owned());
        }
        ids.push(id);
    }
    if ids.is_empty() {
        return Err("fdp_placement_ids must not be empty".to_owned());
    }
    Ok(ids)
}

fn placement_id(value: &Value, name: &str, may_be_none: bool) -> Result<i64, String> {
    let or_none = if may_be_none { " or None" } else { "" };
    match value.as_i64() {
        None => Err(format!("{name} must contain integers{or_none}")),
        Some(0) => Err(format!("{name} must not contain placement identifier 0")),
        Some(..0) => Err(format!("{name} must contain positive integers or None")),
        Some(id @ 1..=0xFFFF) => Ok(id),
        Some(_) => Err(format!(
            "{name} must contain placement identifiers in range 1..=65535{or_none}"
        )),
    }
}

#[cfg(test)]
mod tests;
