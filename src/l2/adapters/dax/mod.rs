//! The `dax` adapter: objects copied into slots of mapped memory devices or files. As in LMCache nothing survives the
//! process: the index is in memory, and the device holds bytes only.

pub mod config;
mod device;
mod probe;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::config::DaxConfig;
use self::device::Devices;
use self::probe::Probe;
use crate::l2::adapter::{
    Adapter, Capabilities, Completion, Environment, IoPath, Item, KeyTimes, Operation, Outcome, ProbeSlice, Submit,
    Task,
};
use crate::l2::adapters::pool::Pool;
use crate::l2::adapters::tasks::{self, Place, Tasks};
use crate::l2::keys::ObjectKey;
use crate::l2::warning::Warning;
use crate::sys::file_map::Piece;
use crate::units::duration_ns;

/// The fewest objects copied in one job, as in LMCache: a copy takes hardly longer than its hand-over.
const KEYS_PER_JOB_MIN: usize = 8;

/// The source or target of one key's bytes.
enum Target {
    Store(Piece),
    Load(Arc<Piece>),
    /// The key's outcome is known already.
    None,
}

/// Consecutive keys of one task.
struct Job {
    place: Place,
    created: Instant,
    work: Vec<(Item, Target)>,
}

struct Stored {
    /// None while it is being written.
    piece: Option<Arc<Piece>>,
    object_bytes: usize,
    locks: u64,
}

pub struct DaxAdapter {
    capabilities: Capabilities,
    environment: Environment,
    config: DaxConfig,
    devices: Devices,
    index: HashMap<ObjectKey, Stored>,
    pool: Option<Pool<Job>>,
    cancelled: Arc<AtomicBool>,
    tasks: Tasks,
    /// Whether the pages of this run's slots are present: checked once, before the first store.
    populated: Option<bool>,
    probe: Probe,
}

impl DaxAdapter {
    pub fn open(config: &DaxConfig, environment: Environment) -> Result<DaxAdapter, String> {
        let capabilities = Capabilities {
            class_name: "DaxL2Adapter",
            keeps_data: true,
            // A mapping has no device with I/O counters.
            storage_path: None,
        };
        Ok(DaxAdapter {
            capabilities,
            environment,
            config: config.clone(),
            devices: Devices::open(&config.devices, config.slot_bytes)?,
            index: HashMap::new(),
            pool: None,
            cancelled: Arc::new(AtomicBool::new(false)),
            tasks: Tasks::default(),
            populated: None,
            probe: Probe::default(),
        })
    }

    fn workers(&self, operation: Operation) -> usize {
        let configured = match operation {
            Operation::Store => self.config.num_store_workers,
            _ => self.config.num_load_workers,
        };
        match self.environment.io_depth {
            0 => configured,
            forced => forced,
        }
    }

    fn start_pool(&self, count: usize) -> Result<Pool<Job>, String> {
        let worker = || {
            let cancelled = Arc::clone(&self.cancelled);
            move |job: &mut Job| {
                for (item, target) in &mut job.work {
                    if cancelled.load(Ordering::Relaxed) && !matches!(target, Target::None) {
                        item.outcome = Outcome::Cancelled;
                    } else {
                        copy(item, target, job.created);
                    }
                }
            }
        };
        Pool::start(count, "dax", worker, Some)
    }

    /// The target of a key, or its outcome where no bytes move.
    fn target(&mut self, operation: Operation, item: &mut Item) -> Target {
        let bytes = item.slot.as_ref().map_or(0, |slot| slot.len());
        let decided = match operation {
            Operation::Store if self.index.contains_key(&item.key) => Err(Outcome::AlreadyThere),
            Operation::Store if bytes as u64 > self.config.slot_bytes => Err(Outcome::Failed(format!(
                "the object has {bytes} bytes but a slot holds {}; raise slot_bytes",
                self.config.slot_bytes
            ))),
            Operation::Store => match self.devices.take() {
                Some(piece) => {
                    let stored = Stored {
                        piece: None,
                        object_bytes: bytes,
                        locks: 0,
                    };
                    self.index.insert(item.key.clone(), stored);
                    Ok(Target::Store(piece))
                }
                None => Err(Outcome::Failed(
                    "no free slot is left; raise max_dax_size_gb, or store less".to_owned(),
                )),
            },
            _ => self.source(&item.key, bytes).map(Target::Load),
        };
        decided.unwrap_or_else(|outcome| {
            item.outcome = outcome;
            Target::None
        })
    }

    fn source(&self, key: &ObjectKey, wanted: usize) -> Result<Arc<Piece>, Outcome> {
        let stored = self.index.get(key).ok_or(Outcome::Missing)?;
        let piece = stored.piece.as_ref().ok_or(Outcome::Missing)?;
        if stored.object_bytes < wanted {
            let held_bytes = stored.object_bytes as u64;
            return Err(Outcome::Short { held_bytes });
        }
        if stored.object_bytes > wanted {
            let held = stored.object_bytes;
            return Err(Outcome::Failed(format!(
                "the object has {held} bytes but {wanted} were asked for; change --data-size-kb"
            )));
        }
        Ok(Arc::clone(piece))
    }

    fn lookup(&mut self, mut task: Task) -> Completion {
        for item in &mut task.items {
            item.outcome = match self.index.get_mut(&item.key) {
                Some(stored) if stored.piece.is_some() => {
                    stored.locks += 1;
                    Outcome::Found
                }
                _ => Outcome::Missing,
            };
        }
        let now = Instant::now();
        task.complete(now, now)
    }

    fn settle(&mut self, job: Job) -> Option<Completion> {
        let mut items = Vec::with_capacity(job.work.len());
        for (item, target) in job.work {
            if let Target::Store(piece) = target {
                match (&item.outcome, self.index.get_mut(&item.key)) {
                    (Outcome::Stored, Some(stored)) => stored.piece = Some(Arc::new(piece)),
                    _ => {
                        self.index.remove(&item.key);
                    }
                }
            }
            items.push(item);
        }
        self.tasks.settle(job.place, items)
    }
}

fn copy(item: &mut Item, target: &mut Target, created: Instant) {
    let begun = Instant::now();
    let outcome = match (target, item.slot.as_mut()) {
        (Target::None, _) => return,
        (_, None) => Outcome::Failed("no buffer came with this key".to_owned()),
        (Target::Store(piece), Some(slot)) => {
            piece.write_nontemporal(slot.bytes());
            Outcome::Stored
        }
        (Target::Load(piece), Some(slot)) => {
            piece.read(slot.bytes_mut());
            Outcome::Loaded
        }
    };
    let spent = duration_ns(begun.elapsed());
    item.outcome = outcome;
    item.times = KeyTimes {
        queued_ns: duration_ns(begun.duration_since(created)),
        transfer_ns: spent,
        service_ns: spent,
        ..KeyTimes::default()
    };
}

impl Adapter for DaxAdapter {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn prepare(&mut self, operation: Operation) -> Result<IoPath, String> {
        if operation == Operation::Lookup {
            return Ok(IoPath::index_in_memory());
        }
        let depth = self.workers(operation);
        if self.pool.as_ref().is_none_or(|pool| pool.count() != depth) {
            self.pool = Some(self.start_pool(depth)?);
        }
        if operation == Operation::Store && self.populated.is_none() {
            self.populated = Some(self.devices.populate(self.environment.run_objects));
        }
        let pages = match self.populated {
            Some(true) => "mmap, pages made present before",
            _ => "mmap",
        };
        Ok(IoPath::new(format!("threads, {pages}"), depth))
    }

    fn submit(&mut self, task: Task) -> Submit {
        if task.operation == Operation::Lookup {
            return Submit::Done(self.lookup(task));
        }
        let (id, operation, created) = (task.id, task.operation, task.created);
        let mut first = 0;
        let workers = self.pool.as_ref().map_or(1, Pool::count);
        // One share of the task per worker, not less: every job that ends wakes the benchmark's thread.
        let keys_per_job = task.items.len().div_ceil(workers).max(KEYS_PER_JOB_MIN);
        let mut items = self.tasks.begin(task).into_iter();
        loop {
            let mut work = Vec::with_capacity(keys_per_job);
            for mut item in items.by_ref().take(keys_per_job) {
                let target = self.target(operation, &mut item);
                work.push((item, target));
            }
            if work.is_empty() {
                break;
            }
            let place = Place { task: id, first };
            first += work.len();
            let pool = self.pool.as_ref().expect("prepare() made it before the first submit");
            pool.push(Job { place, created, work });
        }
        self.tasks.submitted(id);
        Submit::Queued
    }

    fn wait(&mut self, timeout: Duration) -> Option<Completion> {
        let next = |adapter: &mut DaxAdapter, timeout| adapter.pool.as_ref()?.next(timeout);
        tasks::wait(self, timeout, next, DaxAdapter::settle)
    }

    fn unlock(&mut self, keys: &[ObjectKey]) {
        for key in keys {
            if let Some(stored) = self.index.get_mut(key) {
                stored.locks = stored.locks.saturating_sub(1);
            }
        }
    }

    fn cancel(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn probe(&mut self, operation: Operation, mut items: Vec<Item>) -> (Vec<Item>, Result<ProbeSlice, String>) {
        let workers = self.workers(operation);
        let outcome = match operation {
            Operation::Store => self
                .probe
                .store(&mut self.devices, self.environment.run_objects, workers, &mut items),
            Operation::Load => {
                let wanted = |item: &Item| item.slot.as_ref().map_or(0, |slot| slot.len());
                let sources = items
                    .iter()
                    .map(|item| self.source(&item.key, wanted(item)).ok())
                    .collect();
                probe::load(sources, workers, &mut items)
            }
            Operation::Lookup => Err("a lookup moves no bytes".to_owned()),
        };
        (items, outcome)
    }

    fn take_warnings(&mut self) -> Vec<Warning> {
        Vec::new()
    }

    fn close(mut self: Box<Self>) -> Result<(), String> {
        self.pool = None;
        Ok(())
    }
}
