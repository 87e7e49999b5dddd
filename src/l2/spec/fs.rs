//! Fields of the `fs` type. Whether `relative_tmp_dir` stays inside `base_path` is checked when the adapter is made, as in
//! LMCache.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{AdapterKind, SpecType, field};

pub const TYPE: SpecType = SpecType {
    name: "fs",
    fields: Some(&["base_path", "relative_tmp_dir", "read_ahead_size", "use_odirect"]),
    parse,
};

#[derive(Clone, Debug, PartialEq)]
pub struct FsConfig {
    pub base_path: PathBuf,
    /// As given.
    pub relative_tmp_dir: Option<String>,
    pub read_ahead_size: Option<u64>,
    pub use_odirect: bool,
}

fn parse(fields: &Map<String, Value>) -> Result<AdapterKind, String> {
    Ok(AdapterKind::Fs(FsConfig {
        base_path: PathBuf::from(field::non_empty_string(fields, "base_path")?),
        relative_tmp_dir: field::optional_string(fields, "relative_tmp_dir")?,
        read_ahead_size: field::optional_positive_int(fields, "read_ahead_size")?,
        use_odirect: field::boolean(fields, "use_odirect", false)?,
    }))
}
