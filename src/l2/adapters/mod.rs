//! One file (or folder) per adapter type, and the one place that knows them all.

mod assembly;
mod dax;
mod fault_inject;
mod fs;
mod mock;
mod pool;
mod raw;
mod raw_block;

use crate::l2::adapter::{Adapter, Environment};
use crate::l2::spec::{AdapterKind, AdapterSpec};

/// The types this build can run.
pub const AVAILABLE: [&str; 7] = [
    "dax",
    "fault_inject",
    "fs",
    "fs_native",
    "mock",
    "nixl_store_dynamic",
    "raw_block",
];

/// Makes the adapter that a spec describes, or says why that is impossible.
pub fn create(spec: &AdapterSpec, environment: Environment) -> Result<Box<dyn Adapter>, String> {
    match &spec.kind {
        AdapterKind::Fs(config) => Ok(Box::new(fs::FsAdapter::open(&config.into(), environment)?)),
        AdapterKind::FsNative(config) => Ok(Box::new(fs::FsAdapter::open(&config.into(), environment)?)),
        AdapterKind::NixlStoreDynamic(config) => {
            let config = config.as_ref().map_err(String::clone)?;
            Ok(Box::new(fs::FsAdapter::open(&config.into(), environment)?))
        }
        AdapterKind::Mock(config) => Ok(Box::new(mock::MockAdapter::new(config, &environment)?)),
        AdapterKind::RawBlock(config) => Ok(Box::new(raw_block::RawBlockAdapter::open(config, environment)?)),
        AdapterKind::Dax(config) => Ok(Box::new(dax::DaxAdapter::open(config, environment)?)),
        AdapterKind::FaultInject(config) => {
            let inner = create(&config.inner, environment)?;
            Ok(Box::new(fault_inject::FaultInjectAdapter::new(config, inner)))
        }
        AdapterKind::Bridged => Err(format!(
            "adapter type '{}' is one of LMCache's, but this build runs only {}; use LMCache's own bench for it",
            spec.type_name,
            AVAILABLE.join(", ")
        )),
    }
}
