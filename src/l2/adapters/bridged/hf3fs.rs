//! Fields of the `hf3fs` type. That the paths exist below the mount point is checked by LMCache, which opens them.

use super::{AdapterType, Config, Fields, bridged, field};
use crate::python::value;

pub const TYPE: AdapterType = AdapterType::new(
    "hf3fs",
    &[
        "mount_point",
        "base_paths",
        "num_workers",
        "ior_entries",
        "io_depth",
        "numa_id",
        "iov_size",
        "enable_key_buffer",
        "per_op_workers",
    ],
    parse,
);

fn parse(fields: &Fields) -> Result<Config, String> {
    field::non_empty_string(fields, "mount_point")?;
    field::non_empty_string(fields, "base_paths")?;
    field::positive_int(fields, "num_workers", Some(4))?;
    field::int_in(fields, "ior_entries", 256, 128..=1024, "[128, 1024]")?;
    field::int_in(fields, "io_depth", 0, -128..=128, "[-128, 128]")?;
    if fields.get("numa_id").is_some_and(|id| value::as_int(id).is_none()) {
        return Err("numa_id must be an integer".to_owned());
    }
    field::int_in(fields, "iov_size", 200 << 20, 100 << 20..=2 << 30, "[100MB, 2GB]")?;
    field::boolean(fields, "enable_key_buffer", true)?;
    let lanes = field::per_op_workers(fields)?;
    field::strict_positive_int(fields, "num_workers", Some(4))?;
    field::check_per_op_workers(&lanes)?;
    Ok(bridged())
}
