//! The transfer modes as one trait: the server copies the KV (`lmcache_driven`), or this program does (`engine_driven`).

use std::sync::Arc;
use std::time::Duration;

use super::config::{Driver, RunConfig};
use super::device::Gpu;
use super::memory::Layout;
use super::rpc::{Client, Key, RpcError};
use super::tensors::Tensors;
use crate::error::Error;

pub mod engine_driven;
pub mod lmcache_driven;

/// One rank: its memory and its ids at the server.
pub struct Worker {
    pub rank: u32,
    pub instance_id: u64,
    /// The rank in keys: 0 for all ranks with MLA.
    pub worker_id: u32,
    /// Whether this rank stores: with MLA only the first one does.
    pub stores: bool,
    pub tensors: Tensors,
}

/// What the registrations of all ranks have in common.
#[derive(Clone, Debug)]
pub struct Registration {
    pub model_name: String,
    pub world_size: u32,
    pub chunk_tokens: usize,
}

/// The result of one transfer and its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    pub accepted: bool,
    /// Bytes copied, by this program or by the server.
    pub bytes: u64,
    /// Time spent waiting for the server.
    pub wait: Duration,
    /// Time in which this program copied bytes.
    pub copy: Duration,
    /// Time on the device, if one takes part.
    pub gpu: Option<Duration>,
}

impl Transfer {
    /// Adds another part of the transfer.
    pub fn add(&mut self, part: &Transfer) {
        self.accepted &= part.accepted;
        self.bytes += part.bytes;
        self.wait += part.wait;
        self.copy += part.copy;
        self.gpu = match (self.gpu, part.gpu) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
    }
}

/// The outcome of a request that stores or retrieves.
pub type TransferResult = Result<Transfer, RpcError>;

/// A transfer mode.
pub trait Transport: Send {
    /// A label for reports. With engine-driven transfers it is complete after the first registration.
    fn label(&self) -> &'static str;

    /// Allocates memory of the kind that this mode needs for the worker of this instance id. The error is the cause.
    fn allocate(&self, layout: Layout, instance_id: u64) -> Result<Tensors, String>;

    /// Registers the worker at the server.
    fn register(&mut self, client: &mut Client, worker: &mut Worker, registration: &Registration) -> Result<(), Error>;

    /// Stores the key's range from these blocks.
    fn store(&mut self, client: &mut Client, worker: &mut Worker, key: &Key, blocks: &[u64]) -> TransferResult;

    /// Retrieves the key's range, which a lookup has locked, into these blocks.
    fn retrieve(&mut self, client: &mut Client, worker: &mut Worker, key: &Key, blocks: &[u64]) -> TransferResult;

    /// Unregisters the worker, or fails if that would make the server publish slots that were not filled.
    fn unregister(&mut self, client: &mut Client, worker: &Worker) -> Result<(), RpcError>;

    /// Whether the server publishes a store some time after its reply.
    fn commits_late(&self) -> bool;
}

/// The transport of a run. With `gpu` the tensors are in device memory.
pub fn create(config: &RunConfig, run_id: &str, gpu: Option<Arc<Gpu>>) -> Box<dyn Transport> {
    match config.driver {
        Driver::Engine => Box::new(engine_driven::EngineDriven::new(&config.shape, gpu)),
        Driver::Lmcache => Box::new(lmcache_driven::LmcacheDriven::new(&config.shape, run_id, gpu)),
    }
}

/// The error of a failed registration. `advice` is added only if the server received the request and failed it.
fn not_registered(operation: &str, rank: u32, error: &RpcError, advice: &str) -> Error {
    let advice = match error {
        RpcError::Refused { .. } | RpcError::Malformed { .. } | RpcError::TimedOut { answers: true, .. } => {
            format!("; {advice}")
        }
        _ => String::new(),
    };
    Error::Environment(format!("{operation} failed for rank {rank}: {error}{advice}"))
}
