//! The seam between the benchmark and a store: one trait, and the values that cross it. A task moves buffer slots in, its
//! completion moves them out, so nothing can touch bytes that a kernel or a peer is still working on.
//!
//! To add an adapter: write one file in `adapters/` that implements [`Adapter`], and add its row in `adapters/mod.rs`
//! (see docs/adapters.md).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::choices;
use crate::l2::keys::ObjectKey;
use crate::l2::warning::Warning;
use crate::result::model::Section;
use crate::sys::arena::{Arena, Slot};

choices! {
    /// What the benchmark can ask of an adapter.
    pub enum Operation ("operation") {
        Lookup = "lookup",
        Store = "store",
        Load = "load",
    }
}

impl Operation {
    /// As the report writes it.
    pub fn label(self) -> &'static str {
        match self {
            Operation::Store => "Store",
            Operation::Lookup => "Lookup",
            Operation::Load => "Load",
        }
    }
}

/// The result of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Work on it has not begun.
    Pending,
    /// Store: the bytes were written.
    Stored,
    /// Store: the key existed already. LMCache counts that as success; no byte moved.
    AlreadyThere,
    /// Lookup: the key exists.
    Found,
    /// Load: the whole object arrived.
    Loaded,
    /// Lookup and load: there is no such key.
    Missing,
    /// Load: the object ends early.
    Short { held_bytes: u64 },
    /// The sentence names the file or peer and the cause.
    Failed(String),
    /// The run ended before work on this key began.
    Cancelled,
}

impl Outcome {
    /// Whether LMCache would set this key's bit in its result bitmap.
    pub fn is_success(&self) -> bool {
        matches!(
            self,
            Outcome::Stored | Outcome::AlreadyThere | Outcome::Found | Outcome::Loaded
        )
    }

    /// Whether the object's bytes were transferred.
    pub fn moved(&self) -> bool {
        matches!(self, Outcome::Stored | Outcome::Loaded)
    }
}

/// The times of one key, in nanoseconds. Zero where an adapter has no such step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyTimes {
    /// From the submit of the task until work on this key began.
    pub queued_ns: u64,
    /// Finding and opening, or creating, the object.
    pub open_ns: u64,
    /// Moving the bytes.
    pub transfer_ns: u64,
    /// Making it visible under its final name (store), or closing it (load).
    pub publish_ns: u64,
    /// From the start of work on this key to its end.
    pub service_ns: u64,
}

/// One key of a task, with the slot its bytes come from or go to.
pub struct Item {
    pub key: ObjectKey,
    pub slot: Option<Slot>,
    pub outcome: Outcome,
    pub times: KeyTimes,
}

impl Item {
    pub fn new(key: ObjectKey, slot: Option<Slot>) -> Item {
        Item {
            key,
            slot,
            outcome: Outcome::Pending,
            times: KeyTimes::default(),
        }
    }
}

/// One submit of `--num-keys` keys.
pub struct Task {
    pub id: usize,
    pub operation: Operation,
    pub items: Vec<Item>,
    /// When the submit began.
    pub created: Instant,
}

impl Task {
    pub fn complete(self, submitted: Instant, completed: Instant) -> Completion {
        Completion {
            id: self.id,
            operation: self.operation,
            items: self.items,
            created: self.created,
            submitted,
            completed,
        }
    }
}

/// A finished task. In fio's terms slat is `submitted - created`, clat `completed - submitted`, lat their sum.
pub struct Completion {
    pub id: usize,
    pub operation: Operation,
    pub items: Vec<Item>,
    pub created: Instant,
    pub submitted: Instant,
    pub completed: Instant,
}

/// An adapter's answer to a submit.
pub enum Submit {
    Queued,
    Done(Completion),
    /// The adapter is full: wait for a completion, then submit this task again.
    Busy(Task),
}

/// What the report shows about an adapter, and what the runner can rely on.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// The name of LMCache's class, which its own messages show.
    pub class_name: &'static str,
    /// Whether loads return what was stored: false for a null device.
    pub keeps_data: bool,
    /// Where objects live, if that is a local file system or device.
    pub storage_path: Option<PathBuf>,
}

/// The I/O path of one operation, chosen when its phase begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoPath {
    /// For people and scripts: `io_uring O_DIRECT, registered buffers`.
    pub name: String,
    /// Objects in flight inside the adapter at most.
    pub depth: usize,
}

impl IoPath {
    pub fn new(name: impl Into<String>, depth: usize) -> IoPath {
        let name = name.into();
        IoPath { name, depth }
    }

    /// Of a lookup that reads a table on the caller's thread.
    pub fn index_in_memory() -> IoPath {
        IoPath::new("index in memory", 1)
    }
}

/// Names of the three timed steps of one key in the report; an empty name is a step that does not exist.
pub type StepLabels = [&'static str; 3];

/// Times of moving the bytes of one round to or from the raw device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeSlice {
    /// Store: to space that was written before. Load: from the objects themselves.
    pub written: Duration,
    /// Store: to space that was never written, as new objects need. Thin-provisioned and trimmed devices are slower there.
    pub fresh: Option<Duration>,
}

/// How much of the objects is in the page cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residency {
    pub objects: u64,
    pub resident_pages_before: u64,
    pub resident_pages_after: u64,
}

/// A store under test. All calls come from one thread.
pub trait Adapter {
    fn capabilities(&self) -> &Capabilities;

    /// Sets up the threads or rings of a phase, outside the measured time.
    fn prepare(&mut self, operation: Operation) -> Result<IoPath, String>;

    /// Names for `open_ns`, `transfer_ns` and `publish_ns` of [`KeyTimes`].
    fn step_labels(&self, operation: Operation) -> StepLabels {
        match operation {
            Operation::Store => ["Create", "Transfer", "Rename"],
            Operation::Load => ["Open", "Transfer", "Close"],
            Operation::Lookup => [""; 3],
        }
    }

    fn submit(&mut self, task: Task) -> Submit;

    /// The next completion, or `None` when `timeout` is over.
    fn wait(&mut self, timeout: Duration) -> Option<Completion>;

    /// Releases the locks that a lookup took.
    fn unlock(&mut self, keys: &[ObjectKey]);

    /// Keys that were not started finish as [`Outcome::Cancelled`]; those in flight finish normally.
    fn cancel(&mut self);

    /// Drops the keys from the page cache, so that their loads come from the device.
    fn make_cold(&mut self, _keys: &mut dyn Iterator<Item = ObjectKey>) -> Result<Residency, String> {
        Err("this adapter has no page cache that could be dropped".to_owned())
    }

    /// Moves the same bytes without names or lookups: what the device reaches now. Returns the slots with the times.
    fn probe(&mut self, _operation: Operation, items: Vec<Item>) -> (Vec<Item>, Result<ProbeSlice, String>) {
        (items, Err("this adapter has no raw device to probe".to_owned()))
    }

    /// Sections that the adapter adds to the report.
    fn sections(&self) -> Vec<Section> {
        Vec::new()
    }

    /// The helper process that does the adapter's work, if any: its CPU time and I/O belong to the run.
    fn helper_pid(&self) -> Option<u32> {
        None
    }

    /// Warnings since the last call.
    fn take_warnings(&mut self) -> Vec<Warning>;

    /// Ends the adapter's threads and connections and removes its temporary files.
    fn close(self: Box<Self>) -> Result<(), String>;
}

/// What every adapter is opened with besides its own config.
#[derive(Clone)]
pub struct Environment {
    pub arena: Arc<Arena>,
    pub object_bytes: usize,
    /// `--l1-align-bytes`; the buffers may have a larger alignment.
    pub align_bytes: usize,
    /// Objects that the whole run stores, warm-up included.
    pub run_objects: u64,
    pub io_engine: IoEngine,
    /// 0: the adapter decides.
    pub io_depth: usize,
    pub fdatasync: bool,
    /// Files to write before the measured time for stores to reuse; 0 when every store creates its own.
    pub recycle_files: usize,
    /// Whether this run stores; then it must be the only writer.
    pub stores: bool,
}

choices! {
    /// The I/O path of the fs and raw_block adapters.
    #[derive(Default)]
    pub enum IoEngine ("I/O engine") {
        /// The faster one for the phase at hand.
        #[default]
        Auto = "auto",
        Threads = "threads",
        Uring = "uring",
    }
}
