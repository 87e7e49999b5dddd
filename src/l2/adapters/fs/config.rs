//! The config of the adapter types that keep one file per object (`fs`, `fs_native`, `nixl_store_dynamic`), and the fields of
//! `fs` itself. Whether `relative_tmp_dir` stays inside `base_path` is checked when the adapter is opened, as in LMCache.

use std::path::PathBuf;
use std::sync::Arc;

use super::FsAdapter;
use crate::l2::adapter::{Adapter, Environment};
use crate::l2::adapters::field::{self, Fields};
use crate::l2::adapters::registry::{AdapterConfig, AdapterType};

/// How a key becomes the path of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Form F, flat in `base_path`.
    Data,
    /// Form N, flat or below two directories named after the first bytes of the hash.
    Nixl { sharded: bool },
}

/// Where a store writes before the rename.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Temporary {
    /// Beside the object: `.tmp` for `.data` (form F), or a name of its own for every store (form N).
    Beside,
    /// The unchanged name in a directory inside `base_path`, of which only the last component is created.
    Inside(String),
    /// The unchanged name in a directory below `base_path` that is created with its parents and may even lead out of it.
    Below(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct FsConfig {
    /// The name of LMCache's class.
    pub class_name: &'static str,
    pub base_path: PathBuf,
    pub names: Names,
    pub temporary: Temporary,
    pub read_ahead_size: Option<u64>,
    pub use_odirect: bool,
    /// Threads that the type's own config asks for.
    pub threads: Option<usize>,
    /// What one run may store.
    pub capacity_bytes: Option<u64>,
}

impl AdapterConfig for FsConfig {
    fn open(&self, environment: Environment) -> Result<Box<dyn Adapter>, String> {
        Ok(Box::new(FsAdapter::open(self, environment)?))
    }
}

pub const TYPE: AdapterType = AdapterType::new(
    "fs",
    &["base_path", "relative_tmp_dir", "read_ahead_size", "use_odirect"],
    |fields| Ok(Arc::new(parse(fields)?)),
);

fn parse(fields: &Fields) -> Result<FsConfig, String> {
    let base_path = PathBuf::from(field::non_empty_string(fields, "base_path")?);
    let relative_tmp_dir = field::optional_string(fields, "relative_tmp_dir")?;
    Ok(FsConfig {
        class_name: "FSL2Adapter",
        base_path,
        names: Names::Data,
        temporary: relative_tmp_dir.map_or(Temporary::Beside, Temporary::Inside),
        read_ahead_size: field::optional_positive_int(fields, "read_ahead_size")?,
        use_odirect: field::boolean(fields, "use_odirect", false)?,
        threads: None,
        capacity_bytes: None,
    })
}
