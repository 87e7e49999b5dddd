//! The adapter types. To add one: write its file or folder here with a `TYPE`, declare it, and add its row to [`TYPES`]
//! (docs/adapters.md walks through it).

pub(crate) mod aesgcm;
pub mod bridge;
mod bridged;
mod cold;
mod dax;
mod fault_inject;
pub mod field;
pub(crate) mod fs;
mod fs_native;
pub(crate) mod mock;
mod nixl_store_dynamic;
mod pool;
pub(crate) mod raw_block;
mod raw_probe;
pub mod registry;
pub(crate) mod resp;
mod ring_queue;
pub(crate) mod s3;
pub(crate) mod service;
mod step_timer;
mod tasks;
mod valkey;

use std::sync::Arc;

use self::aesgcm::config::AesGcmConfig;
use self::aesgcm::{AesGcmAdapter, Frames, OVERHEAD_BYTES};
use self::bridge::start::not_created;
use self::bridge::{BridgeAdapter, BridgeRequest};
use self::registry::{AdapterSpec, AdapterType};
use crate::error::Error;
use crate::l2::adapter::{Adapter, Environment};

/// Every adapter type that LMCache registers, in the order in which its message lists them.
static TYPES: &[AdapterType] = &[
    bridged::aerospike::TYPE,
    bridged::bigtable::TYPE,
    dax::config::TYPE,
    fault_inject::config::TYPE,
    fs::config::TYPE,
    fs_native::TYPE,
    bridged::hf3fs::TYPE,
    bridged::hfbucket::TYPE,
    mock::TYPE,
    bridged::mooncake_store::TYPE,
    bridged::native_plugin::TYPE,
    bridged::nixl_native::TYPE,
    bridged::nixl_store::TYPE,
    nixl_store_dynamic::TYPE,
    bridged::p2p::TYPE,
    bridged::plugin::TYPE,
    raw_block::config::TYPE,
    resp::config::TYPE,
    s3::config::TYPE,
    bridged::sagemaker_hyperpod::TYPE,
    valkey::config::TYPE,
];

/// Opens the adapter that a spec describes, natively or through LMCache, with encryption around it if asked for.
pub fn create(
    spec: &AdapterSpec,
    environment: Environment,
    bridge: Option<&BridgeRequest>,
    encryption: Option<(&AesGcmConfig, usize)>,
) -> Result<Box<dyn Adapter>, Error> {
    let Some((config, objects)) = encryption else {
        return create_bare(spec, environment, bridge);
    };
    let frames = Frames::allocate(
        objects,
        environment.object_bytes,
        environment.align_bytes,
        bridge.is_some(),
    )
    .map_err(Error::Environment)?;
    let environment = Environment {
        arena: Arc::clone(&frames.arena),
        object_bytes: environment.object_bytes + OVERHEAD_BYTES,
        ..environment
    };
    let inner = create_bare(spec, environment, bridge)?;
    let adapter = AesGcmAdapter::new(config, inner, frames).map_err(not_created)?;
    Ok(Box::new(adapter))
}

fn create_bare(
    spec: &AdapterSpec,
    environment: Environment,
    bridge: Option<&BridgeRequest>,
) -> Result<Box<dyn Adapter>, Error> {
    if let Some(request) = bridge {
        return Ok(Box::new(BridgeAdapter::open(spec, &environment, request)?));
    }
    spec.kind.open(environment).map_err(not_created)
}
