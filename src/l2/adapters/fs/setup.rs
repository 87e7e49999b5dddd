//! The adapter types that keep one file per object (`fs`, `fs_native`, `nixl_store_dynamic`), told apart by what differs: names,
//! temporary names, threads, and what a store does to an object that is there.

use std::path::PathBuf;

use crate::l2::spec::{FsConfig, FsNativeConfig, NixlStoreDynamicConfig};

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
    /// The unchanged name in a directory inside `base_path`, of which only the last component is made.
    Inside(String),
    /// The unchanged name in a directory below `base_path` that is made with its parents and may even lead out of it.
    Below(String),
}

#[derive(Clone, Debug)]
pub struct Setup {
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

impl From<&FsConfig> for Setup {
    fn from(config: &FsConfig) -> Setup {
        Setup {
            class_name: "FSL2Adapter",
            base_path: config.base_path.clone(),
            names: Names::Data,
            temporary: config
                .relative_tmp_dir
                .clone()
                .map_or(Temporary::Beside, Temporary::Inside),
            read_ahead_size: config.read_ahead_size,
            use_odirect: config.use_odirect,
            threads: None,
            capacity_bytes: None,
        }
    }
}

impl From<&FsNativeConfig> for Setup {
    fn from(config: &FsNativeConfig) -> Setup {
        let temporary = match config.relative_tmp_dir.as_str() {
            "" => Temporary::Beside,
            directory => Temporary::Below(directory.to_owned()),
        };
        Setup {
            class_name: "NativeConnectorL2Adapter",
            base_path: config.base_path.clone(),
            names: Names::Data,
            temporary,
            read_ahead_size: config.read_ahead_size,
            use_odirect: config.use_odirect,
            threads: Some(config.num_workers),
            capacity_bytes: None,
        }
    }
}

impl From<&NixlStoreDynamicConfig> for Setup {
    fn from(config: &NixlStoreDynamicConfig) -> Setup {
        Setup {
            class_name: "DynamicNixlStoreL2Adapter",
            base_path: config.file_path.clone(),
            names: Names::Nixl {
                sharded: config.shard_dirs,
            },
            temporary: Temporary::Beside,
            read_ahead_size: None,
            use_odirect: config.use_direct_io,
            threads: None,
            capacity_bytes: Some(config.capacity_bytes),
        }
    }
}
