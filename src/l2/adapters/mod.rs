//! One file (or folder) per adapter type, and the one place that knows them all.

mod assembly;
mod fs;
mod mock;
mod pool;

use crate::l2::adapter::{Adapter, Environment};
use crate::l2::spec::{AdapterKind, AdapterSpec};

/// The types this build can run.
pub const AVAILABLE: [&str; 2] = ["fs", "mock"];

/// Makes the adapter that a spec describes, or says why that is impossible.
pub fn create(spec: &AdapterSpec, environment: Environment) -> Result<Box<dyn Adapter>, String> {
    match &spec.kind {
        AdapterKind::Fs(config) => Ok(Box::new(fs::FsAdapter::open(config, environment)?)),
        AdapterKind::Mock(config) => Ok(Box::new(mock::MockAdapter::new(config, &environment)?)),
        AdapterKind::Bridged => Err(format!(
            "adapter type '{}' is one of LMCache's, but this build runs only {}; use LMCache's own bench for it",
            spec.type_name,
            AVAILABLE.join(" and ")
        )),
    }
}
