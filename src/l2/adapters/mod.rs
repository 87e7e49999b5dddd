//! One file (or folder) per adapter type, and the one place that knows them all.

mod fs;
mod mock;
mod resp;
mod s3;
mod service;
mod valkey;

use crate::l2::adapter::{Adapter, Environment};
use crate::l2::spec::{AdapterKind, AdapterSpec};

/// The types this build can run.
pub const AVAILABLE: [&str; 5] = ["fs", "mock", "resp", "s3", "valkey"];

/// Makes the adapter that a spec describes, or says why that is impossible.
pub fn create(spec: &AdapterSpec, environment: Environment) -> Result<Box<dyn Adapter>, String> {
    match &spec.kind {
        AdapterKind::Fs(config) => Ok(Box::new(fs::FsAdapter::open(config, environment)?)),
        AdapterKind::Mock(config) => Ok(Box::new(mock::MockAdapter::new(config, &environment)?)),
        AdapterKind::Resp(config) => Ok(Box::new(resp::open(config, &environment)?)),
        AdapterKind::Valkey(config) => Ok(Box::new(valkey::open(config, &environment)?)),
        AdapterKind::S3(config) => Ok(Box::new(s3::open(config, &environment)?)),
        AdapterKind::Bridged => Err(format!(
            "adapter type '{}' is one of LMCache's, but this build runs only {}; use LMCache's own bench for it",
            spec.type_name,
            AVAILABLE.join(", ")
        )),
    }
}
