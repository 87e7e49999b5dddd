//! Encryption around any other adapter (`--apply-serde`): objects are encrypted before a store and decrypted after a load,
//! inside the measured time. The inner adapter sees only frames, in buffers of their own.

pub(crate) mod cipher;
pub mod config;

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::cipher::Keys;
pub use self::cipher::OVERHEAD_BYTES;
use self::config::AesGcmConfig;
use crate::l2::adapter::{
    Adapter, Capabilities, Completion, IoPath, Item, Operation, Outcome, Residency, StepLabels, Submit, Task,
};
use crate::l2::keys::ObjectKey;
use crate::l2::warning::Warning;
use crate::result::model::{Entry, Section};
use crate::stats::histogram::LatencyHistogram;
use crate::sys::arena::{Arena, Slot};
use crate::sys::{limits, parallel, whole_file};
use crate::units::{GIB, duration_ns};
use crate::url::literal_path_advice;

/// A key has some dozens of bytes; a longer file is not one.
const MASTER_KEY_BYTES_MAX: u64 = 1 << 20;

/// Buffers for the frames of one round, which the inner adapter uses.
pub struct Frames {
    pub arena: Arc<Arena>,
    slots: Vec<Slot>,
}

impl Frames {
    pub fn allocate(objects: usize, object_bytes: usize, align: usize, shared: bool) -> Result<Frames, String> {
        let frame_bytes = object_bytes + OVERHEAD_BYTES;
        let make = if shared { Arena::shared } else { Arena::new };
        let arena = make(objects * frame_bytes, align, false).map_err(|error| {
            let advice = limits::advice(&error).unwrap_or("lower --num-keys, --in-flight or --data-size-kb");
            format!("could not allocate the buffers for encrypted objects: {error}; {advice}")
        })?;
        let (arena, slots) = arena.into_slots(frame_bytes);
        Ok(Frames { arena, slots })
    }
}

/// Time and bytes of one direction.
struct Cost {
    per_object: LatencyHistogram,
    busy: Duration,
    bytes: u64,
}

pub struct AesGcmAdapter {
    inner: Box<dyn Adapter>,
    keys: Keys,
    workers: usize,
    key_bits: usize,
    spare: Vec<Slot>,
    /// The objects' own buffers while the inner adapter has their frames, by task.
    parked: HashMap<usize, Vec<Option<Slot>>>,
    /// Encrypted tasks that the inner adapter was too busy for.
    backlog: VecDeque<Task>,
    done: VecDeque<Completion>,
    encrypt: Cost,
    decrypt: Cost,
}

impl AesGcmAdapter {
    pub fn new(config: &AesGcmConfig, inner: Box<dyn Adapter>, frames: Frames) -> Result<AesGcmAdapter, String> {
        let cost = || Cost {
            per_object: LatencyHistogram::new(),
            busy: Duration::ZERO,
            bytes: 0,
        };
        Ok(AesGcmAdapter {
            inner,
            keys: Keys::new(&master_key(&config.master_key_path)?, config.key_bytes),
            workers: config.workers,
            key_bits: config.key_bytes * 8,
            spare: frames.slots,
            parked: HashMap::new(),
            backlog: VecDeque::new(),
            done: VecDeque::new(),
            encrypt: cost(),
            decrypt: cost(),
        })
    }

    /// Replaces each object's buffer by one for its frame. False when there are not enough.
    fn park(&mut self, task: &mut Task) -> bool {
        if self.spare.len() < task.items.len() {
            return false;
        }
        let swap = |item: &mut Item| {
            let own = item.slot.take();
            item.slot = self.spare.pop();
            own
        };
        let parked = task.items.iter_mut().map(swap).collect();
        self.parked.insert(task.id, parked);
        true
    }

    fn forward(&mut self, task: Task) {
        match self.inner.submit(task) {
            Submit::Queued => {}
            Submit::Done(completion) => self.receive(completion),
            Submit::Busy(task) => self.backlog.push_front(task),
        }
    }

    /// Decrypts what was loaded, and returns every object's own buffer.
    fn receive(&mut self, mut completion: Completion) {
        if let Some(mut own) = self.parked.remove(&completion.id) {
            if completion.operation == Operation::Load {
                let (keys, items) = (&self.keys, &mut completion.items);
                crypt(&mut self.decrypt, self.workers, items, &mut own, |item, plain| {
                    let frame = item.slot.as_mut().filter(|_| item.outcome == Outcome::Loaded)?;
                    Some(keys.open(item.key.cache_salt(), frame.bytes_mut(), plain.bytes_mut()))
                });
            }
            for (item, own) in completion.items.iter_mut().zip(own) {
                if item.outcome == Outcome::Loaded && (item.slot.is_none() || own.is_none()) {
                    item.outcome = Outcome::Failed("no buffer came with this key".to_owned());
                }
                self.spare.extend(item.slot.take());
                item.slot = own;
            }
        }
        completion.completed = Instant::now();
        self.done.push_back(completion);
    }

    fn section(&self) -> Section {
        let gib_per_s = |cost: &Cost| {
            let seconds = cost.busy.as_secs_f64();
            if seconds > 0.0 {
                cost.bytes as f64 / GIB as f64 / seconds
            } else {
                0.0
            }
        };
        let mut entries = vec![
            Entry::text("serde_type", "Type", "aesgcm"),
            Entry::count("serde_aes_bits", "AES bits", self.key_bits as u64),
            Entry::count("serde_workers", "Threads", self.workers as u64),
        ];
        for (key, label, cost) in [
            ("encrypt", "Encrypt", &self.encrypt),
            ("decrypt", "Decrypt", &self.decrypt),
        ] {
            let percentiles = cost.per_object.percentiles();
            let us = |ns: u64| ns as f64 / 1e3;
            entries.extend([
                Entry::count(
                    format!("{key}_objects"),
                    format!("{label}: objects"),
                    cost.per_object.len(),
                ),
                Entry::number(
                    format!("{key}_us_p50"),
                    format!("{label} p50 (us)"),
                    us(percentiles.p50),
                    1,
                ),
                Entry::number(
                    format!("{key}_us_p99"),
                    format!("{label} p99 (us)"),
                    us(percentiles.p99),
                    1,
                ),
                Entry::number(
                    format!("{key}_gib_per_core_s"),
                    format!("{label} per core (GiB/s)"),
                    gib_per_s(cost),
                    2,
                ),
            ]);
        }
        Section::entries("serde", "Serde", entries)
    }
}

/// Runs `one` over all items with their own buffers, on `workers` threads. An error becomes the item's outcome.
fn crypt(
    cost: &mut Cost,
    workers: usize,
    items: &mut [Item],
    own: &mut [Option<Slot>],
    one: impl Fn(&mut Item, &mut Slot) -> Option<Result<(), String>> + Sync,
) {
    let part = |items: &mut [Item], own: &mut [Option<Slot>]| {
        let mut times = Vec::with_capacity(items.len());
        for (item, own) in items.iter_mut().zip(own.iter_mut()) {
            let Some(own) = own else { continue };
            let begin = Instant::now();
            let Some(result) = one(item, own) else { continue };
            let spent = begin.elapsed();
            item.times.service_ns = item.times.service_ns.saturating_add(duration_ns(spent));
            times.push((spent, own.len() as u64));
            if let Err(sentence) = result {
                item.outcome = Outcome::Failed(sentence);
            }
        }
        times
    };
    let share = items.len().div_ceil(workers.max(1)).max(1);
    let times: Vec<(Duration, u64)> = if workers <= 1 {
        part(items, own)
    } else {
        let parts = items.chunks_mut(share).zip(own.chunks_mut(share));
        let times = parallel::each(parts, |(items, own)| part(items, own));
        times.into_iter().flatten().collect()
    };
    for (spent, bytes) in times {
        cost.per_object.record_ns(duration_ns(spent));
        cost.busy += spent;
        cost.bytes += bytes;
    }
}

fn master_key(path: &Path) -> Result<Vec<u8>, String> {
    let refused = |why: &str| format!("master_key_path {}: {why}", path.display());
    let key = whole_file::read(path, MASTER_KEY_BYTES_MAX).map_err(|error| {
        if error.kind() == ErrorKind::FileTooLarge {
            return refused("the file is too long for a key; name another");
        }
        let literal = literal_path_advice(path);
        let advice = limits::advice(&error).or(literal.as_deref());
        let advice = advice.unwrap_or("name the file with the master key, which this user may read");
        refused(&format!("{error}; {advice}"))
    })?;
    if key.is_empty() {
        return Err(refused("the file is empty; LMCache refuses an empty master key"));
    }
    Ok(key)
}

impl Adapter for AesGcmAdapter {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn step_labels(&self, operation: Operation) -> StepLabels {
        self.inner.step_labels(operation)
    }

    fn prepare(&mut self, operation: Operation) -> Result<IoPath, String> {
        let mut path = self.inner.prepare(operation)?;
        if operation != Operation::Lookup {
            path.name.push_str(", aesgcm");
        }
        Ok(path)
    }

    fn submit(&mut self, mut task: Task) -> Submit {
        if task.operation == Operation::Lookup {
            self.forward(task);
            return Submit::Queued;
        }
        let ready = task
            .items
            .iter()
            .try_for_each(|item| self.keys.prepare(item.key.cache_salt()));
        if let Err(sentence) = ready.and_then(|()| match self.park(&mut task) {
            true => Ok(()),
            false => Err("no buffer is free for the encrypted object".to_owned()),
        }) {
            for item in &mut task.items {
                item.outcome = Outcome::Failed(sentence.clone());
            }
            let now = Instant::now();
            return Submit::Done(task.complete(now, now));
        }
        if task.operation == Operation::Store
            && let Some(own) = self.parked.get_mut(&task.id)
        {
            let keys = &self.keys;
            crypt(&mut self.encrypt, self.workers, &mut task.items, own, |item, plain| {
                let frame = item.slot.as_mut()?;
                Some(keys.seal(item.key.cache_salt(), plain.bytes(), frame.bytes_mut()))
            });
        }
        self.forward(task);
        Submit::Queued
    }

    fn wait(&mut self, timeout: Duration) -> Option<Completion> {
        if self.done.is_empty() {
            if let Some(task) = self.backlog.pop_front() {
                self.forward(task);
            }
            if self.done.is_empty()
                && let Some(completion) = self.inner.wait(timeout)
            {
                self.receive(completion);
            }
        }
        self.done.pop_front()
    }

    fn unlock(&mut self, keys: &[ObjectKey]) {
        self.inner.unlock(keys);
    }

    fn cancel(&mut self) {
        self.inner.cancel();
    }

    fn make_cold(&mut self, keys: &mut dyn Iterator<Item = ObjectKey>) -> Result<Residency, String> {
        self.inner.make_cold(keys)
    }

    fn take_warnings(&mut self) -> Vec<Warning> {
        self.inner.take_warnings()
    }

    fn sections(&self) -> Vec<Section> {
        let mut sections = vec![self.section()];
        sections.extend(self.inner.sections());
        sections
    }

    fn helper_pid(&self) -> Option<u32> {
        self.inner.helper_pid()
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        // The inner adapter first: it may still write to frames.
        self.inner.close()
    }
}
