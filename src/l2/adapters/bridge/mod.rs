//! LMCache's own adapters, run by the user's Python in a helper process on the benchmark's buffers. Keys, payloads, rounds,
//! verification and report stay here; the helper only passes tasks to LMCache and returns its results.

mod cost;
pub(crate) mod frame;
mod link;
mod log;
mod outcome;
mod python;
pub mod start;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::cost::Cost;
use self::frame::{Reply, Target};
use self::link::Link;
use self::outcome::StoreRule;
use crate::error::Error;
use crate::l2::adapter::{
    Adapter, Capabilities, Completion, Environment, IoPath, Operation, Outcome, Residency, StepLabels, Submit, Task,
};
use crate::l2::adapters::cold;
use crate::l2::adapters::registry::AdapterSpec;
use crate::l2::keys::{ObjectKey, bench_key};
use crate::l2::warning::Warning;
use crate::result::model::Section;
use crate::sys::signal;
use crate::units::duration_ns;

/// LMCache's mock answers within a millisecond.
const MOCK_TIMEOUT: Duration = Duration::from_secs(10);
const MOCK_WARMUP_SUBMITS: usize = 20;
const MOCK_SUBMITS: usize = 200;

/// What the bridge needs beside the environment of every adapter.
#[derive(Clone, Debug)]
pub struct BridgeRequest {
    pub python: Option<PathBuf>,
    pub keys_per_submit: usize,
    pub align_bytes: usize,
    /// How long LMCache may take to create its adapter after its import.
    pub create_timeout: Duration,
}

struct Pending {
    task: Task,
    submitted: Instant,
    /// Lines of the log before the submit.
    log_lines: u64,
}

pub struct BridgeAdapter {
    link: Link,
    capabilities: Capabilities,
    object_bytes: usize,
    store_rule: StoreRule,
    /// The directory of the types that keep one file per object.
    file_store: Option<PathBuf>,
    /// Objects that existed before the run, if the rule needs them.
    existing: HashSet<ObjectKey>,
    cost: Cost,
    next_task: u32,
    tasks: HashMap<u32, Pending>,
    done: VecDeque<Completion>,
    /// Whether the log had a line about the last task that failed.
    log_has_lines: bool,
    /// Why the helper cannot be used any more.
    broken: Option<String>,
}

impl BridgeAdapter {
    pub fn open(
        spec: &AdapterSpec,
        environment: &Environment,
        request: &BridgeRequest,
    ) -> Result<BridgeAdapter, Error> {
        let fields: Value = serde_json::from_str(&spec.raw).unwrap_or_default();
        if spec.type_name == "p2p" && environment.stores {
            return Err(Error::Usage(
                "adapter type 'p2p' only reads from its peer, which LMCache calls a success; give --only lookup or \
                 --only load"
                    .to_owned(),
            ));
        }
        let memory = environment.arena.shared_parts();
        let memory = memory.ok_or_else(|| Error::Internal("the bridge needs shared buffers".to_owned()))?;
        let (link, class_name, facts) = start::start(spec, &memory, request)?;
        let store_rule = StoreRule::of(&fields, environment.object_bytes as u64);
        let storage_path = storage_path(&fields);
        let existing = match (store_rule, &storage_path) {
            (StoreRule::KeepsFiles, Some(path)) if environment.stores => outcome::existing_objects(path),
            _ => HashSet::new(),
        };
        let mut adapter = BridgeAdapter {
            link,
            capabilities: Capabilities {
                // Leaked once per run.
                class_name: Box::leak(class_name.into_boxed_str()),
                keeps_data: true,
                storage_path,
            },
            object_bytes: environment.object_bytes,
            file_store: file_store(&fields),
            store_rule,
            existing,
            cost: Cost::new(facts),
            next_task: 0,
            tasks: HashMap::new(),
            done: VecDeque::new(),
            log_has_lines: true,
            broken: None,
        };
        let has_buffers = memory.used_bytes >= request.keys_per_submit * environment.object_bytes;
        adapter
            .measure_cost(request.keys_per_submit, has_buffers)
            .map_err(start::not_created)?;
        Ok(adapter)
    }

    /// Submits to LMCache's mock, one at a time: loads of keys that it does not have, so the whole path runs and no byte
    /// moves. Without buffers, lookups.
    fn measure_cost(&mut self, keys: usize, has_buffers: bool) -> Result<(), String> {
        let operation = if has_buffers {
            Operation::Load
        } else {
            Operation::Lookup
        };
        let keys: Vec<ObjectKey> = (0..keys as u64).map(bench_key).collect();
        let object_bytes = self.object_bytes;
        for submit in 0..MOCK_WARMUP_SUBMITS + MOCK_SUBMITS {
            let begin = Instant::now();
            let places = keys.iter().enumerate().map(|(index, key)| (key, index * object_bytes));
            let frame = frame::submit(Target::Mock, operation, 0, places, object_bytes);
            self.link.send(&frame.ok_or("a submit needs a key")?)?;
            let adapter_ns = match self.link.receive(MOCK_TIMEOUT)? {
                Some(Reply::Completed { adapter_ns, .. }) => adapter_ns,
                Some(Reply::TaskFailed { message, .. }) => {
                    return Err(format!(
                        "LMCache's mock failed while the bridge's cost was measured: {message}"
                    ));
                }
                other => return Err(format!("LMCache's mock did not answer the bridge ({other:?})")),
            };
            if submit >= MOCK_WARMUP_SUBMITS {
                self.cost.add_mock(begin.elapsed(), adapter_ns);
            }
            if signal::received().is_some() {
                return Err("interrupted".to_owned());
            }
        }
        Ok(())
    }

    fn settle(&mut self, reply: Reply) {
        let completed = Instant::now();
        match reply {
            Reply::Completed {
                operation,
                success,
                task,
                stored_bytes,
                adapter_ns,
                bits,
            } => {
                let Some(pending) = self.tasks.remove(&task) else {
                    return;
                };
                let items = &pending.task.items;
                let outcomes = match operation {
                    Operation::Store if success => {
                        outcome::stored(self.store_rule, items, stored_bytes, &self.existing)
                    }
                    Operation::Store => {
                        let sentence = "LMCache's adapter reports the whole store task as failed";
                        vec![Outcome::Failed(self.with_log(sentence, pending.log_lines)); items.len()]
                    }
                    Operation::Lookup => outcome::from_bits(items.len(), &bits, &Outcome::Found),
                    Operation::Load => outcome::from_bits(items.len(), &bits, &Outcome::Loaded),
                };
                self.complete(pending, completed, outcomes, Some(adapter_ns));
            }
            Reply::TaskFailed { task, message } => {
                let Some(pending) = self.tasks.remove(&task) else {
                    return;
                };
                let sentence = format!("LMCache's adapter refused the task: {message}");
                let outcomes = vec![Outcome::Failed(sentence); pending.task.items.len()];
                self.complete(pending, completed, outcomes, None);
            }
            _ => {}
        }
    }

    fn complete(&mut self, mut pending: Pending, completed: Instant, outcomes: Vec<Outcome>, adapter_ns: Option<u64>) {
        let whole = completed.duration_since(pending.task.created);
        if let Some(adapter_ns) = adapter_ns {
            self.cost.add(pending.task.operation, whole, adapter_ns);
        }
        // The helper's clock may differ; the adapter's time is at most the whole.
        let adapter_ns = adapter_ns.unwrap_or(0).min(duration_ns(whole));
        let items = &mut pending.task.items;
        let keys = items.len().max(1) as u64;
        for (item, outcome) in items.iter_mut().zip(outcomes) {
            item.outcome = outcome;
            // LMCache reports the time of a task, which its keys share.
            item.times.queued_ns = duration_ns(whole).saturating_sub(adapter_ns);
            item.times.service_ns = adapter_ns / keys;
            item.times.transfer_ns = item.times.service_ns;
        }
        self.done.push_back(pending.task.complete(pending.submitted, completed));
    }

    /// The sentence with the last log line since the task was submitted. After one wait without a line no task waits again.
    fn with_log(&mut self, sentence: &str, lines_before: u64) -> String {
        if self.log_has_lines {
            self.log_has_lines = self.link.log().wait_for_more(lines_before);
        }
        let line = self.link.log().last_after(lines_before);
        line.map_or_else(
            || sentence.to_owned(),
            |line| format!("{sentence}; the last line of its log is: {line}"),
        )
    }

    fn give_up(&mut self, sentence: String) {
        let mut tasks: Vec<Pending> = self.tasks.drain().map(|(_, pending)| pending).collect();
        tasks.sort_by_key(|pending| pending.task.id);
        for pending in tasks {
            let outcomes = vec![Outcome::Failed(sentence.clone()); pending.task.items.len()];
            self.complete(pending, Instant::now(), outcomes, None);
        }
        self.broken = Some(sentence);
    }
}

/// Where a type keeps its files; the device counters are those of this path.
fn storage_path(spec: &Value) -> Option<PathBuf> {
    let inner = spec.get("inner").unwrap_or(spec);
    let parameters = inner.get("backend_params").unwrap_or(inner);
    let path = ["base_path", "file_path"]
        .iter()
        .find_map(|field| parameters.get(field)?.as_str());
    path.map(PathBuf::from)
}

/// The directory of the types that name files as this program does.
fn file_store(spec: &Value) -> Option<PathBuf> {
    let inner = spec.get("inner").unwrap_or(spec);
    let keeps_files = matches!(inner.get("type").and_then(Value::as_str), Some("fs" | "fs_native"));
    keeps_files.then(|| storage_path(spec)).flatten()
}

impl Adapter for BridgeAdapter {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// LMCache reports the time of a whole task.
    fn step_labels(&self, _operation: Operation) -> StepLabels {
        ["", "Transfer", ""]
    }

    fn prepare(&mut self, _operation: Operation) -> Result<IoPath, String> {
        match &self.broken {
            Some(sentence) => Err(sentence.clone()),
            None => {
                let name = format!("LMCache's {} in Python", self.capabilities.class_name);
                Ok(IoPath::new(name, 0))
            }
        }
    }

    fn submit(&mut self, task: Task) -> Submit {
        let number = self.next_task;
        self.next_task = self.next_task.wrapping_add(1);
        let keyed = task
            .items
            .iter()
            .map(|item| (&item.key, item.slot.as_ref().map_or(0, |slot| slot.offset())));
        let frame = frame::submit(Target::Measured, task.operation, number, keyed, self.object_bytes);
        let pending = Pending {
            submitted: task.created,
            task,
            log_lines: self.link.log().count(),
        };
        let sent = match (frame, &self.broken) {
            (_, Some(sentence)) => Err(sentence.clone()),
            (None, _) => Err("the keys of a submit differ in more than hash and rank".to_owned()),
            (Some(frame), None) => self.link.send(&frame),
        };
        self.tasks.insert(number, pending);
        match sent {
            Ok(()) => {
                if let Some(pending) = self.tasks.get_mut(&number) {
                    pending.submitted = Instant::now();
                }
            }
            Err(sentence) => self.give_up(sentence),
        }
        Submit::Queued
    }

    fn wait(&mut self, timeout: Duration) -> Option<Completion> {
        if self.done.is_empty() && self.broken.is_none() {
            match self.link.receive(timeout) {
                Ok(Some(reply)) => self.settle(reply),
                Ok(None) => {}
                Err(sentence) => self.give_up(sentence),
            }
        }
        self.done.pop_front()
    }

    fn unlock(&mut self, keys: &[ObjectKey]) {
        if let (Some(frame), None) = (frame::unlock(keys), &self.broken)
            && let Err(sentence) = self.link.send(&frame)
        {
            self.give_up(sentence);
        }
    }

    /// LMCache cannot cancel a task: what was submitted finishes.
    fn cancel(&mut self) {}

    fn make_cold(&mut self, keys: &mut dyn Iterator<Item = ObjectKey>) -> Result<Residency, String> {
        match &self.file_store {
            Some(base) => cold::drop_pages(base, keys, |key, path| {
                path.clear();
                path.push_str(&base.to_string_lossy());
                path.push('/');
                key.push_file_name(path);
            }),
            None => {
                Err("--cold: through the bridge only fs and fs_native have files whose pages can be dropped".into())
            }
        }
    }

    fn take_warnings(&mut self) -> Vec<Warning> {
        Vec::new()
    }

    fn sections(&self) -> Vec<Section> {
        self.cost.sections()
    }

    fn helper_pid(&self) -> Option<u32> {
        Some(self.link.pid())
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        let BridgeAdapter {
            link, broken, tasks, ..
        } = *self;
        let closed = match broken {
            Some(sentence) => {
                drop(link);
                Err(sentence)
            }
            None => link.close(),
        };
        // The helper has ended, so nothing can write to these buffers any more.
        drop(tasks);
        closed
    }
}
