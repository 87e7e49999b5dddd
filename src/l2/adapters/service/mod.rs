//! The common part of adapters that talk to a service: a pool of threads with a connection each, and tasks split into jobs.

pub mod buffered;
pub mod link;
pub mod session;
pub mod tally;
pub mod tls;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::session::{Job, Session, SessionPool};
use self::tally::Tally;
use crate::l2::adapter::{Adapter, Capabilities, Completion, IoPath, Operation, StepLabels, Submit, Task};
use crate::l2::adapters::tasks::SharedTask;
use crate::l2::keys::ObjectKey;
use crate::l2::warning::Warning;

/// With more connections from one process the scheduler is measured.
pub const CONNECTIONS_MAX: u64 = 1024;
/// Below this size a hand-over between threads costs more than even load gains, so a worker gets many keys at once.
const TILE_BELOW_BYTES: usize = 16 << 10;

/// What a protocol provides for its adapter.
pub struct Service {
    pub class_name: &'static str,
    /// For the report: `RESP, 8 connections`.
    pub io_path: String,
    pub sessions: Vec<Box<dyn Session>>,
    /// Keys that one connection works on at a time.
    pub batch: usize,
    pub object_bytes: usize,
    /// The steps of a store and of a load.
    pub steps: [StepLabels; 2],
    pub cancelled: Arc<AtomicBool>,
    pub tally: Arc<Tally>,
    pub warnings: Vec<Warning>,
}

pub struct ServiceAdapter {
    capabilities: Capabilities,
    io_path: IoPath,
    pool: Option<SessionPool>,
    connections: usize,
    batch: usize,
    object_bytes: usize,
    steps: [StepLabels; 2],
    /// When the submit of each unfinished task ended.
    submitted: HashMap<usize, Instant>,
    cancelled: Arc<AtomicBool>,
    tally: Arc<Tally>,
    warnings: Vec<Warning>,
}

/// How many connections to open: `--io-depth`, else the spec's field.
pub fn connections(io_depth: usize, configured: u64, field: &str) -> Result<usize, String> {
    if io_depth > 0 {
        return Ok(io_depth);
    }
    match usize::try_from(configured) {
        Ok(count) if configured <= CONNECTIONS_MAX => Ok(count),
        _ => Err(format!(
            "{field} is {configured} but at most {CONNECTIONS_MAX} connections are opened; lower it"
        )),
    }
}

impl ServiceAdapter {
    pub fn start(service: Service) -> Result<Box<dyn Adapter>, String> {
        let connections = service.sessions.len();
        Ok(Box::new(ServiceAdapter {
            capabilities: Capabilities {
                class_name: service.class_name,
                keeps_data: true,
                storage_path: None,
            },
            io_path: IoPath::new(service.io_path, connections * service.batch),
            pool: Some(session::start(service.sessions, service.batch, &service.cancelled)?),
            connections,
            batch: service.batch,
            object_bytes: service.object_bytes,
            steps: service.steps,
            submitted: HashMap::new(),
            cancelled: service.cancelled,
            tally: service.tally,
            warnings: service.warnings,
        }))
    }

    /// Keys per job: large objects one by one, for even load; small ones and lookups in as many shares as connections.
    fn job_keys(&self, operation: Operation, keys: usize) -> usize {
        let tile = keys.div_ceil(self.connections).max(1);
        if operation == Operation::Lookup || self.object_bytes < TILE_BELOW_BYTES {
            tile
        } else {
            self.batch.clamp(1, tile)
        }
    }
}

impl Adapter for ServiceAdapter {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn prepare(&mut self, _operation: Operation) -> Result<IoPath, String> {
        Ok(self.io_path.clone())
    }

    fn step_labels(&self, operation: Operation) -> StepLabels {
        match operation {
            Operation::Store => self.steps[0],
            Operation::Load | Operation::Lookup => self.steps[1],
        }
    }

    fn submit(&mut self, task: Task) -> Submit {
        let (id, count) = (task.id, task.items.len());
        let share = self.job_keys(task.operation, count);
        let pool = self.pool.as_ref().expect("open until close");
        let (task, items) = SharedTask::begin(task);
        let (task, mut items) = (Arc::new(task), items.into_iter());
        for first in (0..count).step_by(share) {
            pool.push(Job {
                task: Arc::clone(&task),
                first,
                items: items.by_ref().take(share).collect(),
            });
        }
        self.submitted.insert(id, Instant::now());
        Submit::Queued
    }

    fn wait(&mut self, timeout: Duration) -> Option<Completion> {
        let mut completion = self.pool.as_ref()?.next(timeout)?;
        completion.submitted = self.submitted.remove(&completion.id).unwrap_or(completion.created);
        Some(completion)
    }

    /// Lookups take no locks in a service.
    fn unlock(&mut self, _keys: &[ObjectKey]) {}

    fn cancel(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn take_warnings(&mut self) -> Vec<Warning> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.extend(self.tally.warning());
        warnings
    }

    /// A worker that waits for a reply sees the flag soon.
    fn close(mut self: Box<Self>) -> Result<(), String> {
        self.cancelled.store(true, Ordering::Relaxed);
        self.pool = None;
        Ok(())
    }
}
