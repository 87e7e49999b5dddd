//! Runs the rounds of one phase and collects the samples. Progress is reported as events. Buffers are stamped, zeroed and
//! checked outside the timed part of a round (docs/measurement.md).

use std::time::Instant;

use crate::l2::adapter::{Adapter, Item, Operation, Outcome, ProbeSlice, Task};
use crate::l2::config::RunConfig;
use crate::l2::device::{self, DeviceMeter};
use crate::l2::keys::{ObjectKey, bench_key};
use crate::l2::payload;
use crate::l2::samples::{PhaseSamples, Round, VerifyTally, count_outcome};
use crate::sys::arena::Slot;
use crate::sys::{panic, signal};

mod event;
mod timed;

pub use event::Event;
use timed::{End, RoundOutcome};

/// Runs the phases of one adapter.
pub struct Runner<'a> {
    pub config: &'a RunConfig,
    pub adapter: &'a mut dyn Adapter,
    pub meter: &'a DeviceMeter,
    pub started: Instant,
    pub on_event: &'a mut dyn FnMut(Event),
    /// Whether this run stored every key that it looks up, so that a miss is a failure.
    pub all_stored: bool,
}

impl Runner<'_> {
    /// Runs all rounds of one operation. `slots` holds one slot per key of a round (none for lookups). They are returned,
    /// except those that the adapter still holds after a timeout.
    pub fn run(&mut self, operation: Operation, slots: &mut Vec<Slot>) -> Result<PhaseSamples, String> {
        let io_path = self.adapter.prepare(operation)?;
        let mut samples = PhaseSamples::new(operation, io_path, self.adapter.step_labels(operation));
        (self.on_event)(Event::PhaseBegins { operation });
        if self.config.cold && operation != Operation::Store {
            let plan = &self.config.plan;
            let last = plan.total_rounds() * plan.keys_per_round();
            samples.residency = Some(self.adapter.make_cold(&mut (0..last).map(bench_key))?);
        }
        if self.config.verify && operation == Operation::Load && self.adapter.capabilities().keeps_data {
            samples.verify = Some(VerifyTally::default());
        }
        let total_rounds = self.config.plan.total_rounds();
        for round in 0..total_rounds {
            let ended = match signal::received() {
                Some(signal) => End::Interrupted(signal),
                None => {
                    panic::caught(|| self.round(&mut samples, round, slots)).unwrap_or(End::Interrupted(signal::PANIC))
                }
            };
            if let End::Interrupted(signal) = ended {
                samples.interrupted = Some(signal);
            }
            let lost = operation != Operation::Lookup && slots.len() < self.config.keys_per_round();
            samples.aborted = match ended {
                End::Interrupted(_) => None,
                End::Stuck => Some(format!(
                    "{}: the adapter has still not finished a task of a timed-out round, so the run ended early; look at \
                     the store behind the adapter, or raise --round-timeout-s",
                    operation.label()
                )),
                _ if lost => Some(format!(
                    "{}: the adapter keeps buffers of a failed round, so the run ended early; look at its log",
                    operation.label()
                )),
                _ => None,
            };
            if samples.interrupted.is_some() || samples.aborted.is_some() {
                let finished = samples.rounds.len() as u64 + samples.rounds_timed_out;
                samples.rounds_not_run = self.config.rounds.saturating_sub(finished);
                break;
            }
        }
        if samples.interrupted.is_none() && samples.aborted.is_none() {
            samples.last_probe = self.probe(&mut samples, total_rounds, slots);
        }
        (self.on_event)(Event::PhaseEnds);
        Ok(samples)
    }

    fn round(&mut self, samples: &mut PhaseSamples, round: u64, slots: &mut Vec<Slot>) -> End {
        let operation = samples.operation;
        let measured = round >= self.config.warmup_rounds;
        let probe = if measured {
            self.probe(samples, round, slots)
        } else {
            None
        };
        let begin = Instant::now();
        let tasks = self.tasks(operation, round, slots);
        samples.first_buffers.get_or_insert_with(|| begin.elapsed());
        // CPU time is read closest to the timed part, so that reading the other counters is not included.
        let traffic = self.meter.read();
        let cpu = self.meter.cpu();
        let outcome = self.timed_part(operation, tasks, samples);
        let (cpu, traffic) = (self.meter.cpu().saturating_sub(cpu), (traffic, self.meter.read()));
        let result = self.count_outcomes(samples, round, measured, &outcome);
        if measured && matches!(outcome.end, End::Complete) {
            samples.cpu += cpu;
            device::add(&mut samples.traffic, &traffic.0, &traffic.1);
            samples.rounds.push(Round {
                duration: outcome.duration,
                probe,
                ..result
            });
            if let Some(tally) = &mut samples.verify {
                let failures = &mut samples.failures;
                let completions = outcome.completions.iter().flatten();
                let mut note = |sentence| failures.note(|| sentence);
                payload::check_all(completions, self.config.seed, round, tally, &mut note);
            }
        }
        self.report_round(operation, round, &outcome, result.success);
        if measured && matches!(outcome.end, End::TimedOut | End::Stuck) {
            samples.rounds_timed_out += 1;
        }
        let items = outcome
            .completions
            .into_iter()
            .flatten()
            .flat_map(|completion| completion.items);
        slots.extend(items.filter_map(|item| item.slot));
        slots.sort_by_key(Slot::offset);
        outcome.end
    }

    fn report_round(&mut self, operation: Operation, round: u64, outcome: &RoundOutcome, success: u64) {
        let keys = self.config.plan.keys_per_round();
        let round = round + 1;
        match outcome.end {
            End::Complete => {
                let duration = outcome.duration;
                (self.on_event)(Event::RoundEnds {
                    operation,
                    round,
                    duration,
                    success,
                    keys,
                });
            }
            End::TimedOut | End::Stuck => {
                let tasks = outcome.completions.len();
                let tasks_done = outcome.completions.iter().flatten().count();
                (self.on_event)(Event::RoundTimedOut {
                    operation,
                    round,
                    tasks_done,
                    tasks,
                    success,
                    keys,
                });
            }
            End::Interrupted(_) => {}
        }
    }

    /// The tasks of one round, prepared outside the timed part: store buffers are stamped, load buffers zeroed.
    fn tasks(&self, operation: Operation, round: u64, slots: &mut Vec<Slot>) -> Vec<Task> {
        let plan = &self.config.plan;
        let lookups = plan.lookup_indices(round);
        let first = plan.store_range(round).start;
        let mut slots = slots.drain(..);
        let mut items: Vec<Item> = (0..plan.keys_per_round())
            .map(|position| match operation {
                Operation::Lookup => Item::new(bench_key(lookups.index(position)), None),
                _ => Item::new(bench_key(first + position), slots.next()),
            })
            .collect();
        self.prepare_contents(operation, round, &mut items);
        let num_keys = usize::try_from(plan.num_keys()).expect("checked against memory");
        let mut tasks = Vec::with_capacity(items.len().div_ceil(num_keys));
        let mut rest = items.into_iter();
        let created = Instant::now();
        loop {
            let items: Vec<Item> = rest.by_ref().take(num_keys).collect();
            if items.is_empty() {
                return tasks;
            }
            tasks.push(Task {
                id: tasks.len(),
                operation,
                items,
                created,
            });
        }
    }

    /// Fills the buffers before the clock starts. Probe slices do the same, because memory that the CPU has just written moves
    /// at another speed.
    fn prepare_contents(&self, operation: Operation, round: u64, items: &mut [Item]) {
        match operation {
            Operation::Store if self.adapter.capabilities().keeps_data => {
                payload::stamp_all(items, self.config.seed, round);
            }
            Operation::Load => payload::zero_all(items),
            _ => {}
        }
    }

    /// Counts the outcomes of the keys of a round.
    fn count_outcomes(
        &mut self,
        samples: &mut PhaseSamples,
        round: u64,
        measured: bool,
        outcome: &RoundOutcome,
    ) -> Round {
        let operation = samples.operation;
        let hits = self.config.plan.per_round_hits();
        let counted = measured && matches!(outcome.end, End::Complete);
        let mut result = Round::default();
        let mut found: Vec<ObjectKey> = Vec::new();
        for completion in outcome.completions.iter().flatten() {
            if counted {
                samples.latencies.add(completion);
            }
            // By the task's index in the round, because completions of earlier tasks may be missing.
            let first = completion.id as u64 * self.config.plan.num_keys();
            for (position, item) in (first..).zip(&completion.items) {
                result.success += u64::from(item.outcome.is_success());
                if item.outcome.moved() {
                    result.moved_bytes += item.slot.as_ref().map_or(0, |slot| slot.len() as u64);
                }
                if item.outcome == Outcome::Found {
                    found.push(item.key.clone());
                }
                let expected = match operation {
                    Operation::Lookup => position < hits,
                    Operation::Store | Operation::Load => true,
                };
                let mut uncounted = Default::default();
                let tally = if counted { &mut samples.tally } else { &mut uncounted };
                let faulty = count_outcome(tally, item, expected);
                if faulty && (operation != Operation::Lookup || self.all_stored || is_error(&item.outcome)) {
                    let stored = self.all_stored;
                    samples
                        .failures
                        .note(|| failure_sentence(operation, round, item, stored));
                }
            }
        }
        if !found.is_empty() {
            self.adapter.unlock(&found);
        }
        result
    }

    /// One probe slice of the raw device before `round`. Half of its keys are those of the previous round and half those of
    /// `round`. A device may read data for the first time at another speed than later, and this way a slice and a round
    /// have the same number of objects that were never read.
    fn probe(&mut self, samples: &mut PhaseSamples, round: u64, slots: &mut Vec<Slot>) -> Option<ProbeSlice> {
        if !self.config.probe || samples.operation == Operation::Lookup || samples.probe_error.is_some() {
            return None;
        }
        let plan = &self.config.plan;
        let first_of = |round: u64| plan.store_range(round.min(plan.total_rounds() - 1)).start;
        let (last, next) = (first_of(round.saturating_sub(1)), first_of(round));
        let half = slots.len() / 2;
        let keyed = slots.drain(..).enumerate();
        let mut items: Vec<Item> = keyed
            .map(|(index, slot)| {
                let first = if index < half { last } else { next };
                Item::new(bench_key(first + index as u64), Some(slot))
            })
            .collect();
        self.prepare_contents(samples.operation, round, &mut items);
        let (items, outcome) = self.adapter.probe(samples.operation, items);
        slots.extend(items.into_iter().filter_map(|item| item.slot));
        match outcome {
            Ok(slice) => Some(slice),
            Err(reason) => {
                samples.probe_error = Some(reason);
                None
            }
        }
    }
}

fn is_error(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(_))
}

/// `stored`: whether this run has stored every object.
fn failure_sentence(operation: Operation, round: u64, item: &Item, stored: bool) -> String {
    let what = match &item.outcome {
        Outcome::Failed(sentence) => sentence.clone(),
        Outcome::Missing if stored => {
            "not found, though its store was reported as done; look at the store's log".to_owned()
        }
        Outcome::Missing => {
            "not found; store it first, with the same --num-keys, --in-flight, --rounds and --warmup-rounds".to_owned()
        }
        Outcome::Short { held_bytes } => {
            let wanted = item.slot.as_ref().map_or(0, Slot::len);
            format!(
                "truncated: it holds only {held_bytes} of {wanted} bytes; give the --data-size-kb it was stored with"
            )
        }
        other => format!("{other:?}"),
    };
    format!(
        "{} round {}: {}: {what}",
        operation.label(),
        round + 1,
        item.key.file_name()
    )
}

#[cfg(test)]
mod tests;
