//! The seam between the benchmark and a store: one trait, and the values that cross it. A task moves buffer slots in, its
//! completion moves them out, so nothing can touch bytes that a kernel or a peer is still working on.
//!
//! To add an adapter: write one file in `adapters/` that implements [`Adapter`], and name it in `adapters/mod.rs`
//! (docs/adapters.md walks through it).

use crate::choices;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::l2::keys::ObjectKey;
use crate::report::model::Section;
use crate::report::warning::Warning;
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

/// What became of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not reached yet.
    Pending,
    /// Store: the bytes were written.
    Stored,
    /// Store: the key was there already; LMCache counts that as success, and no byte moved.
    AlreadyThere,
    /// Lookup: the key exists.
    Found,
    /// Load: the whole object arrived.
    Loaded,
    /// Lookup and load: there is no such key.
    Missing,
    /// Load: the object ends early.
    Short { held_bytes: u64 },
    /// A sentence that names the file or peer and the cause.
    Failed(String),
    /// The run ended before this key's turn.
    Cancelled,
}

impl Outcome {
    /// Whether LMCache would set this key's bit.
    pub fn is_success(&self) -> bool {
        matches!(
            self,
            Outcome::Stored | Outcome::AlreadyThere | Outcome::Found | Outcome::Loaded
        )
    }

    /// Whether the object's bytes really moved.
    pub fn moved(&self) -> bool {
        matches!(self, Outcome::Stored | Outcome::Loaded)
    }
}

/// Where the time of one key went, in nanoseconds. Zero where an adapter has no such step.
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
    /// From the begin of the work on this key to its end.
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

/// One submit: `--num-keys` keys under one number.
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

/// A task that is over. fio's words: slat is `submitted - created`, clat `completed - submitted`, lat their sum.
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
    /// No room now: wait for a completion, then submit this again.
    Busy(Task),
}

/// What the report says about an adapter, and what the runner may expect of it.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// The name of LMCache's class, which its own messages show.
    pub class_name: &'static str,
    /// Whether loads bring back what stores brought: false for a null device.
    pub keeps_data: bool,
    /// Where objects live, if that is a local file system or device.
    pub storage_path: Option<PathBuf>,
}

/// How one operation really travels, decided when its phase begins.
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

/// What the report calls the three timed steps of one key; an empty name is a step that does not exist.
pub type StepLabels = [&'static str; 3];

/// One slice of the raw device, for the bytes of one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeSlice {
    /// On space that was written before (store), or from the very objects (load).
    pub written: Duration,
    /// Store: on space that was never written, as new objects need. Thin-provisioned and trimmed devices are slower there.
    pub fresh: Option<Duration>,
}

/// Proof that objects are not in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residency {
    pub objects: u64,
    pub resident_pages_before: u64,
    pub resident_pages_after: u64,
}

/// A store under test. All calls come from one thread.
pub trait Adapter {
    fn capabilities(&self) -> &Capabilities;

    /// Sets up whatever a phase needs (threads, rings), outside the measured time.
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

    /// Gives back the locks that a lookup took.
    fn unlock(&mut self, keys: &[ObjectKey]);

    /// Keys whose turn has not come finish as [`Outcome::Cancelled`]; those at work finish normally.
    fn cancel(&mut self);

    /// Makes sure that loads of these keys come from the device, or says why that cannot be done.
    fn make_cold(&mut self, _keys: &mut dyn Iterator<Item = ObjectKey>) -> Result<Residency, String> {
        Err("this adapter has no page cache that could be dropped".to_owned())
    }

    /// Moves the same bytes raw, with no naming or lookup: what the device can do now. Gives the slots back with the times.
    fn probe(&mut self, _operation: Operation, items: Vec<Item>) -> (Vec<Item>, Result<ProbeSlice, String>) {
        (items, Err("this adapter has no raw device to probe".to_owned()))
    }

    /// What the adapter has to say in the report beside its times.
    fn sections(&self) -> Vec<Section> {
        Vec::new()
    }

    /// The process that does the adapter's work, if that is another one: its CPU time and its I/O belong to the run.
    fn helper_pid(&self) -> Option<u32> {
        None
    }

    /// Doubts that came up so far.
    fn take_warnings(&mut self) -> Vec<Warning>;

    /// Ends the adapter's threads and connections and removes its temporary files.
    fn close(self: Box<Self>) -> Result<(), String>;
}

/// What every adapter is made from besides its own config.
#[derive(Clone)]
pub struct Environment {
    pub arena: Arc<Arena>,
    pub object_bytes: usize,
    /// What `--l1-align-bytes` says; the buffers may be aligned better.
    pub align_bytes: usize,
    /// Objects that the whole run stores, warmup included.
    pub run_objects: u64,
    pub io_engine: IoEngine,
    /// Zero: the adapter decides.
    pub io_depth: usize,
    pub fdatasync: bool,
    /// Files to write before the clock for stores to take over; 0 when every store makes its own.
    pub recycle_files: usize,
    /// Whether this run stores, and so must be the only writer.
    pub stores: bool,
}

choices! {
    /// Which I/O path the fs and raw_block adapters take.
    #[derive(Default)]
    pub enum IoEngine ("I/O engine") {
        /// The faster one for the phase at hand.
        #[default]
        Auto = "auto",
        Threads = "threads",
        Uring = "uring",
    }
}
