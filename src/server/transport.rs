//! Who copies the KV between tensors and cache, as one trait. A transport knows nothing of passes or verdicts, and never
//! sends what would make a server publish bytes that nobody wrote.

use std::time::Duration;

use super::config::{Driver, RunConfig};
use super::memory::{Blocks, KvTensors, Layout};
use super::rpc::{Client, Key, RpcError};
use crate::error::Error;

pub mod engine_driven;
pub mod lmcache_driven;

/// One rank: its memory and who it is at the server.
pub struct Worker {
    pub rank: u32,
    pub instance_id: u64,
    /// The rank as keys count it.
    pub worker_id: u32,
    /// Of ranks that hold the same only the first stores.
    pub stores: bool,
    pub tensors: KvTensors,
}

/// What all registrations have in common.
#[derive(Clone, Debug)]
pub struct Registration {
    pub model_name: String,
    pub world_size: u32,
    pub chunk_tokens: usize,
}

/// How one transfer ended and where its time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    pub accepted: bool,
    /// Moved, by whomever.
    pub bytes: u64,
    /// Until the server had answered.
    pub wait: Duration,
    /// In which this program moved bytes.
    pub copy: Duration,
}

/// One way to move KV.
pub trait Transport {
    /// For reports. Engine-driven transports know it once a worker is registered.
    fn label(&self) -> &'static str;

    /// Memory of the kind that this transport needs.
    fn allocate(&self, layout: Layout, rank: u32) -> std::io::Result<KvTensors>;

    /// Makes the worker known to the server.
    fn register(&mut self, client: &mut Client, worker: &mut Worker, registration: &Registration) -> Result<(), Error>;

    /// Moves the key's range, which these blocks hold, to the server.
    fn store(
        &mut self,
        client: &mut Client,
        worker: &mut Worker,
        key: &Key,
        blocks: Blocks,
    ) -> Result<Transfer, RpcError>;

    /// Moves the key's range, which a lookup has locked, into these blocks.
    fn retrieve(
        &mut self,
        client: &mut Client,
        worker: &mut Worker,
        key: &Key,
        blocks: Blocks,
    ) -> Result<Transfer, RpcError>;

    /// Takes the worker away from the server, unless that would do harm.
    fn unregister(&mut self, client: &mut Client, worker: &Worker) -> Result<(), RpcError>;

    /// Whether the server publishes a store some time after its reply.
    fn commits_late(&self) -> bool;
}

/// The transport that the run asks for.
pub fn create(config: &RunConfig, run_id: &str) -> Box<dyn Transport> {
    match config.driver {
        Driver::Engine => Box::new(engine_driven::EngineDriven::new(&config.shape)),
        Driver::Lmcache => Box::new(lmcache_driven::LmcacheDriven::new(&config.shape, run_id)),
    }
}
