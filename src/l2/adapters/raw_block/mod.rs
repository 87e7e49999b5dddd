//! The `raw_block` adapter: objects in slots of one size on a device without a file system, in LMCache's layout. Keys get
//! slots, jobs go to an engine, and the index is updated when they finish.

pub(crate) mod checkpoint;
pub mod config;
mod device;
pub(crate) mod geometry;
mod index;
mod job;
mod posix;
mod probe;
mod recovery;
mod ring;
mod shared;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::device::Device;
use self::geometry::Geometry;
use self::index::Reservation;
use self::job::Job;
use self::probe::Probe;
use self::recovery::Recovery;
use self::ring::RawBlockJobs;
use self::shared::{Checkpointer, Shared};
use crate::l2::adapter::{
    Adapter, Capabilities, Completion, Environment, IoEngine, IoPath, Item, Operation, Outcome, ProbeSlice, Residency,
    Submit, Task,
};
use crate::l2::adapters::pool::Pool;
use crate::l2::adapters::raw_block::config::{IoOptions, RawBlockConfig};
use crate::l2::adapters::ring_queue::{RingQueue, register};
use crate::l2::adapters::tasks::{self, Place, Tasks};
use crate::l2::keys::ObjectKey;
use crate::l2::warning::Warning;
use crate::sys::uring::{Ring, refusal};
use crate::sys::{files, limits};

/// More transfers gain nothing on any device, and each needs memory for a header.
const RING_DEPTH_MAX: usize = 1024;

/// What moves the bytes of a phase.
enum Engine {
    Posix(Pool<Job>),
    Ring(Box<RingQueue<RawBlockJobs>>),
}

pub struct RawBlockAdapter {
    capabilities: Capabilities,
    environment: Environment,
    io: IoOptions,
    shared: Arc<Shared>,
    /// Stopped before the last checkpoint is written.
    checkpointer: Option<Checkpointer>,
    engine: Option<Engine>,
    cancelled: Arc<AtomicBool>,
    tasks: Tasks,
    probe: Probe,
    warnings: Vec<Warning>,
}

impl RawBlockAdapter {
    pub fn open(config: &RawBlockConfig, environment: Environment) -> Result<RawBlockAdapter, String> {
        let align = environment.align_bytes as i64;
        if config.use_odirect && align < config.block_align {
            return Err(format!(
                "raw_block requires l1_align_bytes >= block_align when use_odirect=true or use_uring_cmd=true: give \
                 --l1-align-bytes {}",
                config.block_align
            ));
        }
        if config.io.uring.is_some_and(|options| options.use_uring_cmd) {
            return Err(
                "use_uring_cmd: this program does not speak NVMe passthrough; leave use_uring_cmd out and name the block \
                 device (/dev/nvme0n1 for /dev/ng0n1), or run LMCache's own adapter"
                    .to_owned(),
            );
        }
        let mut device = None;
        let geometry = Geometry::new(config, || {
            let opened = Device::open(config)?;
            let bytes = opened.bytes;
            device = Some(opened);
            Ok(bytes)
        })?;
        let device = device.expect("the geometry asked for its size");
        let mut warnings = Vec::new();
        let recovery = if config.load_checkpoint_on_init {
            recovery::recover(&device, &geometry, config.meta_verify_on_load, &mut warnings)?
        } else {
            Recovery::empty(&geometry)
        };
        let capabilities = Capabilities {
            class_name: "RawBlockL2Adapter",
            keeps_data: true,
            storage_path: Some(PathBuf::from(&config.device_path)),
        };
        let shared = Arc::new(Shared::new(geometry, device, recovery, warnings));
        let interval = Duration::from_secs(u64::try_from(config.meta_checkpoint_interval_s).unwrap_or(0).max(1));
        let quiet = Duration::from_millis(u64::try_from(config.meta_idle_quiet_ms).unwrap_or(0));
        let checkpointer = config
            .meta_enable_periodic
            .then(|| Checkpointer::start(&shared, interval, quiet))
            .transpose()?;
        Ok(RawBlockAdapter {
            capabilities,
            environment,
            io: config.io.clone(),
            shared,
            checkpointer,
            engine: None,
            cancelled: Arc::new(AtomicBool::new(false)),
            tasks: Tasks::default(),
            probe: Probe::default(),
            warnings: Vec::new(),
        })
    }

    /// The depth of the ring, or none for threads.
    fn ring_depth(&self) -> Option<usize> {
        let configured = self
            .io
            .uring
            .map(|options| usize::try_from(options.queue_depth).unwrap_or(RING_DEPTH_MAX));
        let depth = match self.environment.io_engine {
            IoEngine::Auto => configured?,
            IoEngine::Threads => return None,
            IoEngine::Uring => configured.unwrap_or(256),
        };
        let forced = self.environment.io_depth;
        Some(if forced > 0 { forced } else { depth }.min(RING_DEPTH_MAX))
    }

    fn open_ring(&mut self, depth: usize) -> Result<RingQueue<RawBlockJobs>, String> {
        let made = Ring::new(2 * depth).map_err(|error| {
            let reason = refusal::with_advice(&error);
            format!("io_engine io_uring: the kernel gives no io_uring ({reason}); or use \"io_engine\": \"posix\"")
        });
        let mut ring = made?;
        let arena = &self.environment.arena;
        // Without O_DIRECT the kernel copies, and registered buffers gain nothing.
        if self.shared.geometry.direct
            && let Some(warning) = register(&mut ring, arena, self.environment.object_bytes)
        {
            self.warnings.push(warning);
        }
        // Optional: without it the kernel looks the file up for each transfer.
        let _ = ring.register_file(&self.shared.device.file);
        let jobs = RawBlockJobs::new(&self.shared, depth, self.environment.fdatasync)
            .map_err(|error| format!("could not make {depth} slot headers: {error}; lower iouring_queue_depth"))?;
        Ok(RingQueue::new(ring, depth, jobs, &self.cancelled))
    }

    fn prepare_posix(&mut self, operation: Operation) -> Result<usize, String> {
        let forced = self.environment.io_depth;
        let configured = match operation {
            Operation::Store => self.io.num_store_workers,
            _ => self.io.num_load_workers,
        };
        let count = if forced > 0 { forced } else { configured };
        if !matches!(&self.engine, Some(Engine::Posix(pool)) if pool.count() == count) {
            let flush = self.environment.fdatasync;
            self.engine = Some(Engine::Posix(posix::start(
                count,
                &self.shared,
                &self.cancelled,
                flush,
            )?));
        }
        Ok(count)
    }

    /// Answers a lookup from the index.
    fn lookup(&mut self, mut task: Task) -> Completion {
        let mut name = String::new();
        let mut state = self.shared.state();
        for item in &mut task.items {
            name.clear();
            item.key.push_raw_name(&mut name);
            let found = state.index.lock(&name);
            item.outcome = if found { Outcome::Found } else { Outcome::Missing };
        }
        drop(state);
        let now = Instant::now();
        task.complete(now, now)
    }

    /// The slot of a key, or the outcome of a key that gets none.
    fn assign(&self, operation: Operation, item: &Item, name: &str) -> Result<u64, Outcome> {
        let bytes = item.slot.as_ref().map_or(0, |slot| slot.len() as u64);
        let geometry = &self.shared.geometry;
        let mut state = self.shared.state();
        let slot = if operation == Operation::Store {
            let most = geometry.object_bytes_max();
            if geometry.transfer_bytes(bytes) > most {
                return Err(Outcome::Failed(format!(
                    "the object has {bytes} bytes but a slot holds {most}; raise slot_bytes"
                )));
            }
            match state.index.reserve(name) {
                Reservation::Slot(slot) => slot,
                Reservation::AlreadyThere => return Err(Outcome::AlreadyThere),
                Reservation::BeingWritten => {
                    return Err(Outcome::Failed(
                        "another task is writing this key; load it later".to_owned(),
                    ));
                }
                Reservation::Full => {
                    let slots = geometry.max_slots;
                    return Err(Outcome::Failed(format!(
                        "No free slots available: all {slots} are used; name a larger device or store less"
                    )));
                }
            }
        } else {
            let entry = state.index.get(name).ok_or(Outcome::Missing)?;
            let held_bytes = entry.object_bytes;
            match held_bytes.cmp(&bytes) {
                std::cmp::Ordering::Less => return Err(Outcome::Short { held_bytes }),
                std::cmp::Ordering::Greater => {
                    return Err(Outcome::Failed(format!(
                        "the object has {held_bytes} bytes but {bytes} were asked for; change --data-size-kb"
                    )));
                }
                std::cmp::Ordering::Equal => entry.slot,
            }
        };
        state.transfer_begins();
        Ok(slot)
    }

    /// Updates the index with the result of a job.
    fn settle(&mut self, job: Job) -> Option<Completion> {
        let mut state = self.shared.state();
        state.transfer_ends();
        match (job.operation, &job.item.outcome) {
            (Operation::Store, Outcome::Stored) => {
                let bytes = job.item.slot.as_ref().map_or(0, |slot| slot.len() as u64);
                state.index.commit(job.name, job.slot, bytes);
                state.changed();
            }
            (Operation::Store, _) => state.index.give_up(&job.name, job.slot),
            _ => {}
        }
        drop(state);
        self.tasks.settle(job.place, [job.item])
    }

    fn next_job(&mut self, timeout: Duration) -> Option<Job> {
        match self.engine.as_mut()? {
            Engine::Posix(pool) => pool.next(timeout),
            Engine::Ring(ring) => ring.next(timeout),
        }
    }

    fn pump(&mut self) {
        if let Some(Engine::Ring(ring)) = &mut self.engine {
            ring.pump();
        }
    }
}

impl Adapter for RawBlockAdapter {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn prepare(&mut self, operation: Operation) -> Result<IoPath, String> {
        if operation == Operation::Lookup {
            return Ok(IoPath::index_in_memory());
        }
        let cache = if self.shared.geometry.direct {
            "O_DIRECT"
        } else {
            "page cache"
        };
        let Some(depth) = self.ring_depth() else {
            let depth = self.prepare_posix(operation)?;
            return Ok(IoPath::new(format!("posix threads, {cache}"), depth));
        };
        if !matches!(&self.engine, Some(Engine::Ring(ring)) if ring.depth() == depth) {
            self.engine = Some(Engine::Ring(Box::new(self.open_ring(depth)?)));
        }
        let registered = matches!(&self.engine, Some(Engine::Ring(ring)) if ring.has_registered_buffers());
        let buffers = if registered { ", registered buffers" } else { "" };
        Ok(IoPath::new(format!("io_uring, {cache}{buffers}"), depth))
    }

    fn submit(&mut self, task: Task) -> Submit {
        if task.operation == Operation::Lookup {
            return Submit::Done(self.lookup(task));
        }
        let (id, operation, created) = (task.id, task.operation, task.created);
        for (first, mut item) in self.tasks.begin(task).into_iter().enumerate() {
            let place = Place { task: id, first };
            let mut name = String::new();
            item.key.push_raw_name(&mut name);
            let slot = match self.assign(operation, &item, &name) {
                Ok(slot) => slot,
                Err(outcome) => {
                    item.outcome = outcome;
                    if let Some(completion) = self.tasks.settle(place, [item]) {
                        return Submit::Done(completion);
                    }
                    continue;
                }
            };
            let job = Job {
                place,
                item,
                operation,
                name,
                slot,
                slot_offset: self.shared.geometry.slot_offset(slot),
                created,
                begun: created,
            };
            match &mut self.engine {
                Some(Engine::Posix(pool)) => pool.push(job),
                Some(Engine::Ring(ring)) => ring.push(job),
                None => unreachable!("prepare() made an engine before the first submit"),
            }
        }
        self.pump();
        self.tasks.submitted(id);
        Submit::Queued
    }

    fn wait(&mut self, timeout: Duration) -> Option<Completion> {
        tasks::wait(self, timeout, RawBlockAdapter::next_job, RawBlockAdapter::settle)
    }

    fn unlock(&mut self, keys: &[ObjectKey]) {
        let mut name = String::new();
        let mut state = self.shared.state();
        for key in keys {
            name.clear();
            key.push_raw_name(&mut name);
            state.index.unlock(&name);
        }
    }

    fn cancel(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn make_cold(&mut self, keys: &mut dyn Iterator<Item = ObjectKey>) -> Result<Residency, String> {
        let (file, bytes) = (&self.shared.device.file, self.shared.device.bytes);
        let refused = |what: &str, error: std::io::Error| {
            let reason = limits::with_advice(&error);
            format!("--cold: could not {what} device_path: {reason}; without --cold nothing is dropped")
        };
        file.sync_data().map_err(|error| refused("sync", error))?;
        let resident = || files::resident_pages(file, bytes).map_err(|error| refused("look at the pages of", error));
        let resident_pages_before = resident()?;
        files::drop_pages(file).map_err(|error| refused("drop the pages of", error))?;
        Ok(Residency {
            objects: keys.count() as u64,
            resident_pages_before,
            resident_pages_after: resident()?,
        })
    }

    fn probe(&mut self, operation: Operation, mut items: Vec<Item>) -> (Vec<Item>, Result<ProbeSlice, String>) {
        let depth = self.ring_depth().unwrap_or(self.environment.io_depth.max(8));
        let shared = Arc::clone(&self.shared);
        let outcome = match &mut self.engine {
            Some(Engine::Ring(ring)) => self.probe.slice(&shared, ring.ring(), depth, operation, &mut items),
            _ => self
                .open_ring(depth)
                .and_then(|mut ring| self.probe.slice(&shared, ring.ring(), depth, operation, &mut items)),
        };
        (items, outcome)
    }

    fn take_warnings(&mut self) -> Vec<Warning> {
        let mut warnings = std::mem::take(&mut self.shared.state().warnings);
        warnings.append(&mut self.warnings);
        warnings
    }

    /// Stops the engine, then writes a checkpoint if something changed.
    fn close(mut self: Box<Self>) -> Result<(), String> {
        self.engine = None;
        self.checkpointer = None;
        self.shared.checkpoint(None)
    }
}

#[cfg(test)]
mod tests;
