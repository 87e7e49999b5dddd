//! One file (or folder) per adapter type, and the one place that knows them all.

pub(crate) mod aesgcm;
mod assembly;
pub mod bridge;
mod cold;
mod dax;
mod fault_inject;
mod fs;
mod mock;
mod pool;
mod raw;
pub(crate) mod raw_block;
pub(crate) mod resp;
pub(crate) mod s3;
pub(crate) mod service;
mod valkey;

use std::sync::Arc;

use self::aesgcm::{AesGcmAdapter, Frames, OVERHEAD_BYTES};
use self::bridge::{BridgeAdapter, BridgeRequest};
use crate::error::Error;
use crate::l2::adapter::{Adapter, Environment};
use crate::l2::spec::{AdapterKind, AdapterSpec, AesGcmConfig};

/// Makes the adapter that a spec describes, natively or through LMCache, with encryption around it if asked for.
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
    native(&spec.kind, environment).map_err(not_created)
}

fn not_created(sentence: String) -> Error {
    Error::Environment(format!("[Init] Failed to create adapter: {sentence}"))
}

/// The adapters that this program has itself.
fn native(kind: &AdapterKind, environment: Environment) -> Result<Box<dyn Adapter>, String> {
    match kind {
        AdapterKind::Fs(config) => Ok(Box::new(fs::FsAdapter::open(&config.into(), environment)?)),
        AdapterKind::Mock(config) => Ok(Box::new(mock::MockAdapter::new(config, &environment)?)),
        AdapterKind::Resp(config) => Ok(Box::new(resp::open(config, &environment)?)),
        AdapterKind::Valkey(config) => Ok(Box::new(valkey::open(config, &environment)?)),
        AdapterKind::S3(config) => Ok(Box::new(s3::open(config, &environment)?)),
        AdapterKind::FsNative(config) => Ok(Box::new(fs::FsAdapter::open(&config.into(), environment)?)),
        AdapterKind::NixlStoreDynamic(config) => {
            let config = config.as_ref().map_err(String::clone)?;
            Ok(Box::new(fs::FsAdapter::open(&config.into(), environment)?))
        }
        AdapterKind::RawBlock(config) => Ok(Box::new(raw_block::RawBlockAdapter::open(config, environment)?)),
        AdapterKind::Dax(config) => Ok(Box::new(dax::DaxAdapter::open(config, environment)?)),
        AdapterKind::FaultInject(config) => {
            let inner = native(&config.inner.kind, environment)?;
            Ok(Box::new(fault_inject::FaultInjectAdapter::new(config, inner)))
        }
        AdapterKind::Bridged => Err("only LMCache's own adapter can run this type; give --via lmcache".to_owned()),
    }
}
