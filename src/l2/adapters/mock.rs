//! The `mock` adapter: objects in memory behind one token bucket for all tasks, with an optional fixed latency for each
//! operation. At infinite bandwidth nothing is copied, and only the benchmark's own cost remains.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::field::{self, Fields};
use super::registry::{AdapterConfig, AdapterType};
use crate::l2::adapter::{
    Adapter, Capabilities, Completion, Environment, IoPath, Item, Operation, Outcome, Submit, Task,
};
use crate::l2::keys::ObjectKey;
use crate::l2::warning::Warning;
use crate::sys::counters;
use crate::sys::signal;
use crate::units::{bytes_text, duration_ns};

/// The longest sleep between checks for a signal.
const NAP: Duration = Duration::from_millis(20);

pub const TYPE: AdapterType = AdapterType::new(
    "mock",
    &[
        "max_size_gb",
        "mock_bandwidth_gb",
        "store_latency_us",
        "lookup_latency_us",
        "load_latency_us",
    ],
    |fields| Ok(Arc::new(parse(fields)?)),
);

#[derive(Clone, Debug, PartialEq)]
pub struct MockConfig {
    pub capacity_bytes: u64,
    /// `None` is a device that takes no time, and nothing is copied.
    pub bandwidth_bytes_per_s: Option<u64>,
    pub store_latency: Duration,
    pub lookup_latency: Duration,
    pub load_latency: Duration,
}

impl AdapterConfig for MockConfig {
    fn open(&self, environment: Environment) -> Result<Box<dyn Adapter>, String> {
        Ok(Box::new(MockAdapter::new(self, &environment)?))
    }
}

/// LMCache's two fields, `"inf"` as a bandwidth, and a fixed latency for each operation.
fn parse(fields: &Fields) -> Result<MockConfig, String> {
    let capacity_bytes = field::gib_bytes(field::positive_number(fields, "max_size_gb")?);
    let bandwidth_bytes_per_s = match fields.get("mock_bandwidth_gb") {
        Some(Value::String(text)) if text == "inf" => None,
        // A rate that rounds to none would never finish.
        _ => Some(field::gib_bytes(field::positive_number(fields, "mock_bandwidth_gb")?).max(1)),
    };
    Ok(MockConfig {
        capacity_bytes,
        bandwidth_bytes_per_s,
        store_latency: microseconds(fields, "store_latency_us")?,
        lookup_latency: microseconds(fields, "lookup_latency_us")?,
        load_latency: microseconds(fields, "load_latency_us")?,
    })
}

fn microseconds(fields: &Fields, name: &str) -> Result<Duration, String> {
    let micros = field::non_negative_number(fields, name, 0.0)?;
    Duration::try_from_secs_f64(micros / 1e6).map_err(|_| format!("{name} must be a non-negative number"))
}

/// One bucket for all tasks: the next byte may move when the last one has.
struct Bucket {
    bytes_per_s: Option<u64>,
    free_at: Option<Instant>,
}

impl Bucket {
    /// When a transfer of `bytes` that is asked for at `now` is through.
    fn reserve(&mut self, now: Instant, bytes: u64) -> Instant {
        let Some(rate) = self.bytes_per_s.filter(|rate| *rate > 0) else {
            return now;
        };
        let begin = self.free_at.map_or(now, |free_at| free_at.max(now));
        let end = begin + Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.free_at = Some(end);
        end
    }
}

pub struct MockAdapter {
    capabilities: Capabilities,
    config: MockConfig,
    bucket: Bucket,
    objects: HashMap<ObjectKey, Box<[u8]>>,
    held_bytes: u64,
    locks: HashMap<ObjectKey, u64>,
    /// Completions with the time at which they are due, in that order.
    due: VecDeque<(Instant, Completion)>,
}

impl MockAdapter {
    pub fn new(config: &MockConfig, environment: &Environment) -> Result<MockAdapter, String> {
        let copies = config.bandwidth_bytes_per_s.is_some();
        if copies
            && environment.stores
            && let Some(available) = counters::available_memory_bytes()
            && config.capacity_bytes > available
        {
            return Err(format!(
                "max_size_gb asks for {} of memory but only {} are available; lower it",
                bytes_text(config.capacity_bytes),
                bytes_text(available)
            ));
        }
        Ok(MockAdapter {
            capabilities: Capabilities {
                class_name: "MockL2Adapter",
                keeps_data: copies,
                storage_path: None,
            },
            bucket: Bucket {
                bytes_per_s: config.bandwidth_bytes_per_s,
                free_at: None,
            },
            config: config.clone(),
            objects: HashMap::new(),
            held_bytes: 0,
            locks: HashMap::new(),
            due: VecDeque::new(),
        })
    }

    fn store(&mut self, item: &Item) -> Outcome {
        if self.objects.contains_key(&item.key) {
            return Outcome::AlreadyThere;
        }
        let bytes = item.slot.as_ref().map(|slot| slot.bytes()).unwrap_or_default();
        let copied = if self.capabilities.keeps_data { bytes } else { &[] };
        let after = self.held_bytes + copied.len() as u64;
        if after > self.config.capacity_bytes {
            return Outcome::Failed(format!(
                "the mock is full: max_size_gb allows {}; raise it or store less",
                bytes_text(self.config.capacity_bytes)
            ));
        }
        self.held_bytes = after;
        self.objects.insert(item.key.clone(), copied.into());
        Outcome::Stored
    }

    fn load(&self, item: &mut Item) -> Outcome {
        let Some(object) = self.objects.get(&item.key) else {
            return Outcome::Missing;
        };
        if !self.capabilities.keeps_data {
            return Outcome::Loaded;
        }
        let Some(slot) = &mut item.slot else {
            return Outcome::Failed("no buffer came with this key".to_owned());
        };
        let bytes = slot.bytes_mut();
        match bytes.get_mut(..object.len()) {
            Some(place) => place.copy_from_slice(object),
            None => bytes.copy_from_slice(&object[..bytes.len()]),
        }
        if object.len() < bytes.len() {
            Outcome::Short {
                held_bytes: object.len() as u64,
            }
        } else {
            Outcome::Loaded
        }
    }

    fn lookup(&mut self, item: &Item) -> Outcome {
        if !self.objects.contains_key(&item.key) {
            return Outcome::Missing;
        }
        *self.locks.entry(item.key.clone()).or_insert(0) += 1;
        Outcome::Found
    }
}

impl Adapter for MockAdapter {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn prepare(&mut self, _operation: Operation) -> Result<IoPath, String> {
        let name = if self.capabilities.keeps_data {
            "memory, token bucket"
        } else {
            "null device"
        };
        Ok(IoPath::new(name, 1))
    }

    fn submit(&mut self, mut task: Task) -> Submit {
        let submitted = Instant::now();
        let mut moved = 0;
        for item in &mut task.items {
            item.outcome = match task.operation {
                Operation::Store => self.store(item),
                Operation::Load => self.load(item),
                Operation::Lookup => self.lookup(item),
            };
            if item.outcome.moved() {
                moved += item.slot.as_ref().map_or(0, |slot| slot.len() as u64);
            }
        }
        let latency = match task.operation {
            Operation::Store => self.config.store_latency,
            Operation::Load => self.config.load_latency,
            Operation::Lookup => self.config.lookup_latency,
        };
        let through = self.bucket.reserve(submitted, moved);
        let completed = Instant::now().max(through).max(submitted + latency);
        for item in &mut task.items {
            item.times.queued_ns = duration_ns(submitted.duration_since(task.created));
            item.times.service_ns = duration_ns(completed.duration_since(submitted));
            item.times.transfer_ns = item.times.service_ns;
        }
        let completion = task.complete(submitted, completed);
        if completed <= Instant::now() {
            return Submit::Done(completion);
        }
        self.due.push_back((completed, completion));
        Submit::Queued
    }

    fn wait(&mut self, timeout: Duration) -> Option<Completion> {
        let end = Instant::now() + timeout;
        let (due, _) = self.due.front()?;
        let until = (*due).min(end);
        // thread::sleep resumes after a signal, so long waits are split.
        while let Some(left) = until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            if signal::received().is_some() {
                break;
            }
            thread::sleep(left.min(NAP));
        }
        let over = self.due.front().is_some_and(|(due, _)| *due <= Instant::now());
        if over {
            self.due.pop_front().map(|(_, completion)| completion)
        } else {
            None
        }
    }

    fn unlock(&mut self, keys: &[ObjectKey]) {
        for key in keys {
            if let Some(count) = self.locks.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    self.locks.remove(key);
                }
            }
        }
    }

    /// The outcomes are known already; only the waiting ends.
    fn cancel(&mut self) {
        let now = Instant::now();
        for (due, completion) in &mut self.due {
            *due = now;
            completion.completed = now;
        }
    }

    fn take_warnings(&mut self) -> Vec<Warning> {
        Vec::new()
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        let locked = self.locks.len();
        if locked > 0 {
            Err(format!("{locked} keys are still locked by lookups"))
        } else {
            Ok(())
        }
    }
}
