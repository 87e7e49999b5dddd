//! Who copies the KV between tensors and cache, as one trait. A transport knows nothing of passes or verdicts, and never
//! sends what would make a server publish bytes that nobody wrote.

use std::rc::Rc;
use std::time::Duration;

use super::config::{Driver, RunConfig};
use super::device::Gpu;
use super::memory::{Blocks, Layout};
use super::rpc::{Client, Key, RpcError};
use super::tensors::Tensors;
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
    pub tensors: Tensors,
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
    /// What the device was busy with it, where one takes part.
    pub gpu: Option<Duration>,
}

impl Transfer {
    /// Adds another part of the same transfer.
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

/// One way to move KV.
pub trait Transport {
    /// For reports. Engine-driven transports know it once a worker is registered.
    fn label(&self) -> &'static str;

    /// Memory of the kind that this transport needs. The error says why there is none.
    fn allocate(&self, layout: Layout, rank: u32) -> Result<Tensors, String>;

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

/// The transport that the run asks for, on the device if there is one.
pub fn create(config: &RunConfig, run_id: &str, gpu: Option<Rc<Gpu>>) -> Box<dyn Transport> {
    match config.driver {
        Driver::Engine => Box::new(engine_driven::EngineDriven::new(&config.shape, gpu)),
        Driver::Lmcache => Box::new(lmcache_driven::LmcacheDriven::new(&config.shape, run_id, gpu)),
    }
}

/// The sentence of a registration that failed. `advice` is for a server that got the request and did not do it; where that is
/// not so it would lead astray.
fn not_registered(operation: &str, rank: u32, error: &RpcError, advice: &str) -> Error {
    let advice = match error {
        RpcError::Refused { .. } | RpcError::Malformed { .. } | RpcError::TimedOut { answers: true, .. } => {
            format!("; {advice}")
        }
        _ => String::new(),
    };
    Error::Environment(format!("{operation} failed for rank {rank}: {error}{advice}"))
}
