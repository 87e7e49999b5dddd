//! The `fs` adapter: one file per object in one directory, under LMCache's names. Tasks are split into jobs, which go to
//! threads or to a ring.

pub mod config;
mod layout;
mod object;
mod probe;
mod recycled;
mod ring;
mod threads;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

pub use self::config::FsConfig;
use self::layout::Layout;
use self::probe::Probe;
use self::ring::FsJobs;
use self::threads::Job;
use crate::l2::adapter::{
    Adapter, Capabilities, Completion, Environment, IoEngine, IoPath, Item, Operation, ProbeSlice, Residency, Submit,
    Task,
};
use crate::l2::adapters::cold;
use crate::l2::adapters::pool::Pool;
use crate::l2::adapters::ring_queue::{RingQueue, register};
use crate::l2::adapters::tasks::{self, Place, Tasks};
use crate::l2::keys::ObjectKey;
use crate::l2::warning::Warning;
use crate::sys::uring::{Ring, refusal};
use crate::sys::{files, limits};
use crate::units::MIB;

/// Transfers in the ring at a time; more gains nothing on one device queue and raises every latency.
const RING_DEPTH: usize = 8;
/// Threads for copies, which need a core each.
const CORES_MAX: usize = 8;
/// O_DIRECT stores need this many bytes in flight. Small objects spend much of their time in create and rename and need as many
/// threads as are allowed (docs/results).
const DIRECT_STORE_BYTES_IN_FLIGHT: usize = 12 * MIB as usize;
const THREADS_MAX: usize = 12;

/// What runs an operation, and how many keys at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Threads(usize),
    Ring(usize),
}

pub struct FsAdapter {
    capabilities: Capabilities,
    environment: Environment,
    layout: Arc<Layout>,
    /// Held while the adapter lives, so that no other run of this tool stores here.
    _lock: Option<File>,
    cancelled: Arc<AtomicBool>,
    threads: Option<Pool<Job>>,
    ring: Option<RingQueue<FsJobs>>,
    engine: Engine,
    /// Threads that the adapter's own config asks for.
    own_threads: Option<usize>,
    tasks: Tasks,
    probe: Option<Probe>,
    warnings: Vec<Warning>,
}

impl FsAdapter {
    pub fn open(config: &FsConfig, environment: Environment) -> Result<FsAdapter, String> {
        let mut warnings = Vec::new();
        let layout = Layout::open(config, environment.object_bytes, environment.fdatasync, &mut warnings)?;
        let lock = if environment.stores {
            Some(lock_for_storing(&layout)?)
        } else {
            None
        };
        let capabilities = Capabilities {
            class_name: config.class_name,
            keeps_data: true,
            storage_path: Some(layout.base().to_owned()),
        };
        Ok(FsAdapter {
            capabilities,
            environment,
            layout: Arc::new(layout),
            _lock: lock,
            cancelled: Arc::new(AtomicBool::new(false)),
            threads: None,
            ring: None,
            engine: Engine::Threads(1),
            own_threads: config.threads,
            tasks: Tasks::default(),
            probe: None,
            warnings,
        })
    }

    fn choose_engine(&self, operation: Operation) -> Engine {
        let forced = self.environment.io_depth;
        let or = |automatic: usize| if forced > 0 { forced } else { automatic };
        let cores = || available_parallelism().map_or(1, usize::from).min(CORES_MAX);
        let cores = self.own_threads.unwrap_or_else(cores);
        if operation == Operation::Lookup {
            return Engine::Threads(or(cores));
        }
        let direct = self.layout.direct;
        match self.environment.io_engine {
            IoEngine::Uring => Engine::Ring(or(RING_DEPTH)),
            _ if self.own_threads.is_some() => Engine::Threads(or(cores)),
            IoEngine::Auto if direct && operation == Operation::Load => Engine::Ring(or(RING_DEPTH)),
            _ if direct && operation == Operation::Store => {
                let overlap = DIRECT_STORE_BYTES_IN_FLIGHT / self.environment.object_bytes.max(1);
                Engine::Threads(or(overlap.clamp(2, THREADS_MAX)))
            }
            _ if direct => Engine::Threads(or(THREADS_MAX)),
            _ => Engine::Threads(or(cores)),
        }
    }

    /// A ring with the arena registered if the kernel allows that.
    fn open_ring(&mut self, depth: usize) -> io::Result<RingQueue<FsJobs>> {
        let mut ring = Ring::new(depth)?;
        let arena = &self.environment.arena;
        if self.layout.direct
            && let Some(warning) = register(&mut ring, arena, self.environment.object_bytes)
        {
            // Rings of several depths may be refused for the same reason.
            self.warnings
                .retain(|warning| !matches!(warning, Warning::RegisteredBuffersRefused { .. }));
            self.warnings.push(warning);
        }
        let jobs = FsJobs::new(&self.layout, depth);
        Ok(RingQueue::new(ring, depth, jobs, &self.cancelled))
    }

    fn prepare_ring(&mut self, depth: usize) -> Result<bool, String> {
        if self.ring.as_ref().is_some_and(|ring| ring.depth() == depth) {
            return Ok(true);
        }
        match self.open_ring(depth) {
            Ok(ring) => {
                self.ring = Some(ring);
                Ok(true)
            }
            Err(error) if self.environment.io_engine == IoEngine::Uring => Err(format!(
                "--io-engine uring: the kernel gives no io_uring ({}); or use --io-engine threads",
                refusal::with_advice(&error)
            )),
            Err(error) => {
                self.warnings.push(Warning::UringUnavailable {
                    reason: error.to_string(),
                    advice: refusal::advice(&error),
                });
                Ok(false)
            }
        }
    }

    fn path_name(&self, operation: Operation) -> String {
        let cache = if self.layout.direct { "O_DIRECT" } else { "page cache" };
        let registered = self.ring.as_ref().is_some_and(RingQueue::has_registered_buffers);
        let recycled = operation == Operation::Store && self.environment.recycle_files > 0;
        let files = if recycled { ", recycled files" } else { "" };
        match self.engine {
            _ if operation == Operation::Lookup => "threads, stat".to_owned(),
            Engine::Threads(_) => format!("threads, {cache}{files}"),
            Engine::Ring(_) if registered => format!("io_uring, {cache}, registered buffers{files}"),
            Engine::Ring(_) => format!("io_uring, {cache}{files}"),
        }
    }

    fn push(&mut self, job: Job) {
        match (self.engine, &mut self.ring, &self.threads) {
            (Engine::Ring(_), Some(ring), _) => ring.push(job),
            (_, _, Some(threads)) => threads.push(job),
            _ => unreachable!("prepare() made one of the two before the first submit"),
        }
    }

    fn next_job(&mut self, timeout: Duration) -> Option<Job> {
        match (self.engine, &mut self.ring, &self.threads) {
            (Engine::Ring(_), Some(ring), _) => ring.next(timeout),
            (_, _, Some(threads)) => threads.next(timeout),
            _ => None,
        }
    }
}

fn lock_for_storing(layout: &Layout) -> Result<File, String> {
    let base = layout.base();
    let directory = File::open(base).map_err(|error| {
        format!(
            "could not open base_path {}: {error}; {}",
            base.display(),
            limits::advice(&error).unwrap_or("check its permissions")
        )
    })?;
    match files::lock_exclusive(&directory) {
        Ok(()) => Ok(directory),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(format!(
            "another lmcache-bench is storing into base_path {} and every run uses the same keys; wait for it or name \
             another directory",
            base.display()
        )),
        // Some network file systems have no locks; LMCache takes none either.
        Err(_) => Ok(directory),
    }
}

impl Adapter for FsAdapter {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn prepare(&mut self, operation: Operation) -> Result<IoPath, String> {
        self.engine = self.choose_engine(operation);
        if let Engine::Ring(depth) = self.engine
            && !self.prepare_ring(depth)?
        {
            self.engine = Engine::Threads(depth);
        }
        let depth = match self.engine {
            Engine::Ring(depth) => {
                self.threads = None;
                depth
            }
            Engine::Threads(depth) => {
                if self.threads.as_ref().is_none_or(|threads| threads.count() != depth) {
                    self.threads = Some(threads::start(depth, &self.layout, &self.cancelled)?);
                }
                depth
            }
        };
        if operation == Operation::Store {
            let Environment {
                object_bytes,
                recycle_files,
                ..
            } = self.environment;
            self.layout.write_recycled(object_bytes, recycle_files)?;
        }
        Ok(IoPath::new(self.path_name(operation), depth))
    }

    fn submit(&mut self, task: Task) -> Submit {
        let (id, operation, created) = (task.id, task.operation, task.created);
        let items = self.tasks.begin(task);
        let job = |first, items| Job {
            place: Place { task: id, first },
            items,
            operation,
            created,
        };
        if operation == Operation::Lookup {
            self.push(job(0, items));
        } else {
            for (first, item) in items.into_iter().enumerate() {
                self.push(job(first, vec![item]));
            }
        }
        if let (Engine::Ring(_), Some(ring)) = (self.engine, &mut self.ring) {
            ring.pump();
        }
        self.tasks.submitted(id);
        Submit::Queued
    }

    fn wait(&mut self, timeout: Duration) -> Option<Completion> {
        let settle = |adapter: &mut FsAdapter, job: Job| adapter.tasks.settle(job.place, job.items);
        tasks::wait(self, timeout, FsAdapter::next_job, settle)
    }

    /// Lookups of this adapter take no locks.
    fn unlock(&mut self, _keys: &[ObjectKey]) {}

    fn cancel(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn make_cold(&mut self, keys: &mut dyn Iterator<Item = ObjectKey>) -> Result<Residency, String> {
        cold::drop_pages(self.layout.base(), keys, |key, path| self.layout.final_path(key, path))
    }

    fn probe(&mut self, operation: Operation, mut items: Vec<Item>) -> (Vec<Item>, Result<ProbeSlice, String>) {
        // The same depth as the phase, so that the two are comparable.
        let (Engine::Ring(depth) | Engine::Threads(depth)) = self.engine;
        if self.ring.as_ref().is_none_or(|ring| ring.depth() != depth) {
            match self.open_ring(depth) {
                Ok(ring) => self.ring = Some(ring),
                Err(error) => {
                    return (
                        items,
                        Err(format!("the probe needs io_uring: {}", refusal::with_advice(&error))),
                    );
                }
            }
        }
        let ring = self.ring.as_mut().expect("made above");
        let outcome = match operation {
            Operation::Store => Probe::store(&mut self.probe, &self.layout, ring.ring(), depth, &mut items),
            Operation::Load => probe::load(&self.layout, ring.ring(), depth, &mut items),
            Operation::Lookup => Err("a lookup moves no bytes".to_owned()),
        };
        (items, outcome)
    }

    fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    fn close(mut self: Box<Self>) -> Result<(), String> {
        self.threads = None;
        self.ring = None;
        match self.probe.take() {
            Some(probe) => probe.remove(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
