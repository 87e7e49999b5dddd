//! The runner with adapters that are full, late, or never complete a task.

use std::time::Duration;

use super::*;
use crate::l2::adapter::{Capabilities, Completion, IoPath, Submit};
use crate::l2::flags::{L2Args, TABLE};
use crate::l2::warning::Warning;
use crate::sys::arena::Arena;

/// An adapter that holds at most one task and completes it in `wait`, unless `keeps_tasks` is set.
struct Narrow {
    capabilities: Capabilities,
    held: Option<Task>,
    busy_answers: usize,
    keeps_tasks: bool,
    /// How much later than now its tasks say they were completed.
    lateness: Duration,
}

impl Narrow {
    fn new(keeps_tasks: bool) -> Narrow {
        Narrow {
            capabilities: Capabilities {
                class_name: "Narrow",
                keeps_data: true,
                storage_path: None,
            },
            held: None,
            busy_answers: 0,
            keeps_tasks,
            lateness: Duration::ZERO,
        }
    }
}

impl Adapter for Narrow {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn prepare(&mut self, _operation: Operation) -> Result<IoPath, String> {
        Ok(IoPath {
            name: "narrow".to_owned(),
            depth: 1,
        })
    }

    fn submit(&mut self, task: Task) -> Submit {
        if self.held.is_some() {
            self.busy_answers += 1;
            return Submit::Busy(task);
        }
        self.held = Some(task);
        Submit::Queued
    }

    fn wait(&mut self, _timeout: Duration) -> Option<Completion> {
        if self.keeps_tasks {
            return None;
        }
        let mut task = self.held.take()?;
        for item in &mut task.items {
            item.outcome = Outcome::Stored;
        }
        let now = Instant::now();
        Some(Completion {
            id: task.id,
            operation: task.operation,
            items: task.items,
            created: task.created,
            submitted: now,
            completed: now + self.lateness,
        })
    }

    fn unlock(&mut self, _keys: &[ObjectKey]) {}

    fn cancel(&mut self) {}

    fn take_warnings(&mut self) -> Vec<Warning> {
        Vec::new()
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }
}

/// Two measured rounds of `in_flight` tasks of two keys.
fn store(adapter: &mut dyn Adapter, in_flight: i64, timeout_s: f64) -> (PhaseSamples, usize) {
    let args = L2Args {
        num_keys: 2,
        in_flight,
        data_size_kb: 4,
        rounds: 2,
        warmup_rounds: 0,
        round_timeout_s: Some(timeout_s),
        only: Some(Operation::Store),
        ..TABLE.presets()
    };
    let config = RunConfig::resolve(&args, None).unwrap();
    let arena = Arena::new(config.buffer_bytes(), 1, false).unwrap();
    let (_arena, mut slots) = arena.into_slots(config.object_bytes);
    let mut runner = Runner {
        config: &config,
        adapter,
        meter: &DeviceMeter::new(None, None),
        started: Instant::now(),
        on_event: &mut |_| {},
        all_stored: false,
    };
    let samples = runner.run(Operation::Store, &mut slots).unwrap();
    (samples, slots.len())
}

/// An adapter that completes every key at once with the same outcome and overwrites its buffer. With `loses_first`, the first
/// task never completes.
struct Prompt {
    capabilities: Capabilities,
    outcome: Outcome,
    loses_first: bool,
    unlocked: usize,
    /// Bytes of submitted buffers that were not zero.
    dirty_bytes: usize,
    /// The keys of every probe slice.
    probed: Vec<Vec<ObjectKey>>,
}

impl Prompt {
    fn new(outcome: Outcome) -> Prompt {
        Prompt {
            capabilities: Narrow::new(false).capabilities,
            outcome,
            loses_first: false,
            unlocked: 0,
            dirty_bytes: 0,
            probed: Vec::new(),
        }
    }
}

impl Adapter for Prompt {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn prepare(&mut self, _operation: Operation) -> Result<IoPath, String> {
        Ok(IoPath {
            name: "prompt".to_owned(),
            depth: 1,
        })
    }

    fn submit(&mut self, mut task: Task) -> Submit {
        if self.loses_first && task.id == 0 {
            return Submit::Queued;
        }
        for item in &mut task.items {
            item.outcome = self.outcome.clone();
            if let Some(slot) = &mut item.slot {
                self.dirty_bytes += slot.bytes().iter().filter(|byte| **byte != 0).count();
                slot.bytes_mut().fill(7);
            }
        }
        let now = Instant::now();
        Submit::Done(Completion {
            id: task.id,
            operation: task.operation,
            items: task.items,
            created: task.created,
            submitted: now,
            completed: now,
        })
    }

    fn wait(&mut self, _timeout: Duration) -> Option<Completion> {
        None
    }

    fn probe(&mut self, _operation: Operation, items: Vec<Item>) -> (Vec<Item>, Result<ProbeSlice, String>) {
        self.probed.push(items.iter().map(|item| item.key.clone()).collect());
        let written = Duration::from_millis(1);
        (items, Ok(ProbeSlice { written, fresh: None }))
    }

    fn unlock(&mut self, keys: &[ObjectKey]) {
        self.unlocked += keys.len();
    }

    fn cancel(&mut self) {}

    fn take_warnings(&mut self) -> Vec<Warning> {
        Vec::new()
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn a_busy_adapter_gets_every_task_eventually() {
    let mut adapter = Narrow::new(false);
    let (samples, slots) = store(&mut adapter, 3, 10.0);
    assert!(
        adapter.busy_answers >= 4,
        "two of three tasks meet a full adapter in each round"
    );
    assert_eq!(samples.rounds.len(), 2);
    assert!(
        samples
            .rounds
            .iter()
            .all(|round| round.success == 6 && round.moved_bytes == 6 * 4096)
    );
    assert_eq!(slots, 6, "every buffer came back");
}

#[test]
fn an_adapter_that_keeps_its_buffers_ends_the_run_with_a_reason() {
    let mut adapter = Narrow::new(true);
    let (samples, slots) = store(&mut adapter, 1, 0.001);
    assert_eq!(
        (samples.rounds.len(), samples.rounds_timed_out, samples.rounds_not_run),
        (0, 1, 1)
    );
    assert!(samples.aborted.unwrap().contains("has still not finished a task"));
    assert_eq!(slots, 0);
}

/// The thread that waits may sleep past the deadline and then find the completion at once.
#[test]
fn a_completion_after_the_deadline_is_late_whenever_it_is_seen() {
    let mut adapter = Narrow {
        lateness: Duration::from_secs(7200),
        ..Narrow::new(false)
    };
    let (samples, slots) = store(&mut adapter, 1, 3600.0);
    assert_eq!((samples.rounds.len(), samples.rounds_timed_out), (0, 2));
    assert!(samples.aborted.is_none());
    assert_eq!(slots, 2, "every buffer came back");
}

#[test]
fn an_adapter_that_stays_full_ends_the_run_too() {
    let mut adapter = Narrow::new(true);
    let (samples, slots) = store(&mut adapter, 3, 0.001);
    assert!(adapter.busy_answers > 0);
    assert_eq!((samples.rounds.len(), samples.rounds_timed_out), (0, 1));
    assert!(samples.aborted.is_some());
    assert_eq!(slots, 0);
}

/// Rounds of two tasks of two keys; lookups expect to find half of them.
fn answered(adapter: &mut Prompt, only: Operation, rounds: i64) -> PhaseSamples {
    let args = L2Args {
        num_keys: 2,
        in_flight: 2,
        data_size_kb: 4,
        rounds,
        warmup_rounds: 0,
        lookup_max_hit_rate: 0.5,
        probe: true,
        round_timeout_s: Some(0.001),
        only: Some(only),
        ..TABLE.presets()
    };
    let config = RunConfig::resolve(&args, None).unwrap();
    let arena = Arena::new(config.buffer_bytes(), 1, false).unwrap();
    let (_arena, mut slots) = arena.into_slots(config.object_bytes);
    let operation = config.operations[0];
    let mut runner = Runner {
        config: &config,
        adapter,
        meter: &DeviceMeter::new(None, None),
        started: Instant::now(),
        on_event: &mut |_| {},
        all_stored: true,
    };
    runner.run(operation, &mut slots).unwrap()
}

#[test]
fn a_lost_task_does_not_shift_what_is_expected_of_the_others() {
    let mut adapter = Prompt::new(Outcome::Missing);
    adapter.loses_first = true;
    let samples = answered(&mut adapter, Operation::Lookup, 1);
    assert_eq!(samples.rounds_timed_out, 1);
    // The keys of the second task were not stored: misses are expected.
    assert_eq!(samples.failures.kept, Vec::<String>::new());
}

#[test]
fn found_keys_are_unlocked_and_counted_as_unexpected_if_never_stored() {
    let mut adapter = Prompt::new(Outcome::Found);
    let samples = answered(&mut adapter, Operation::Lookup, 2);
    assert_eq!(adapter.unlocked, 8);
    assert_eq!(samples.tally.unexpected_hits, 4);
}

#[test]
fn every_load_starts_with_zeroed_buffers() {
    let mut adapter = Prompt::new(Outcome::Loaded);
    let samples = answered(&mut adapter, Operation::Load, 3);
    assert_eq!((samples.rounds.len(), adapter.dirty_bytes), (3, 0));
}

#[test]
fn a_probe_of_loads_reads_as_many_objects_for_the_first_time_as_a_round_does() {
    let mut adapter = Prompt::new(Outcome::Loaded);
    answered(&mut adapter, Operation::Load, 2);
    let keys = |indices: [u64; 4]| indices.map(bench_key).to_vec();
    assert_eq!(
        adapter.probed,
        [keys([0, 1, 2, 3]), keys([0, 1, 6, 7]), keys([4, 5, 6, 7])]
    );
}

/// Samples from before a panic are kept.
#[test]
fn a_panic_ends_the_run_after_the_rounds_before_it() {
    /// Panics when it is given its second task.
    struct Faulty(Narrow, usize);

    impl Adapter for Faulty {
        fn capabilities(&self) -> &Capabilities {
            self.0.capabilities()
        }

        fn prepare(&mut self, operation: Operation) -> Result<IoPath, String> {
            self.0.prepare(operation)
        }

        fn submit(&mut self, task: Task) -> Submit {
            self.1 += 1;
            assert!(self.1 < 2, "a fault on purpose");
            self.0.submit(task)
        }

        fn wait(&mut self, timeout: Duration) -> Option<Completion> {
            self.0.wait(timeout)
        }

        fn unlock(&mut self, _keys: &[ObjectKey]) {}

        fn cancel(&mut self) {}

        fn take_warnings(&mut self) -> Vec<Warning> {
            Vec::new()
        }

        fn close(self: Box<Self>) -> Result<(), String> {
            Ok(())
        }
    }

    let (samples, _) = store(&mut Faulty(Narrow::new(false), 0), 1, 60.0);
    assert_eq!(samples.rounds.len(), 1);
    assert_eq!(samples.interrupted, Some(signal::PANIC));
    assert_eq!(samples.rounds_not_run, 1);
}
