//! The samples of a phase. The runner fills them in, the summary reads them.

use std::time::Duration;

use crate::l2::adapter::{Completion, IoPath, Item, Operation, Outcome, ProbeSlice, Residency, StepLabels};
use crate::stats::histogram::LatencyHistogram;
use crate::units::duration_ns;

/// Failure messages kept; further ones are only counted.
const FAILURES_KEPT_MAX: usize = 8;

/// One measured round that completed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    pub duration: Duration,
    pub success: u64,
    pub moved_bytes: u64,
    /// The probe slice before the round, with `--probe`.
    pub probe: Option<ProbeSlice>,
}

/// Counts of outcomes over the measured rounds.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyTally {
    pub already_there: u64,
    pub missing: u64,
    pub short: u64,
    pub failed: u64,
    /// Lookup: keys of the guaranteed-miss range that were found.
    pub unexpected_hits: u64,
}

/// Failed keys of warmup and measured rounds.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    pub count: u64,
    pub kept: Vec<String>,
}

impl Failures {
    pub fn note(&mut self, sentence: impl FnOnce() -> String) {
        self.count += 1;
        if self.kept.len() < FAILURES_KEPT_MAX {
            self.kept.push(sentence());
        }
    }
}

/// Latencies of the steps of keys and tasks.
#[derive(Default)]
pub struct Latencies {
    pub queued: LatencyHistogram,
    pub open: LatencyHistogram,
    pub transfer: LatencyHistogram,
    pub publish: LatencyHistogram,
    pub service: LatencyHistogram,
    pub task_slat: LatencyHistogram,
    pub task_clat: LatencyHistogram,
    /// Sum of the service times of all keys, for the achieved queue depth.
    pub busy_ns: u64,
}

impl Latencies {
    pub fn add(&mut self, completion: &Completion) {
        let span = |from, to: std::time::Instant| duration_ns(to.saturating_duration_since(from));
        self.task_slat.record_ns(span(completion.created, completion.submitted));
        self.task_clat
            .record_ns(span(completion.submitted, completion.completed));
        for item in completion
            .items
            .iter()
            .filter(|item| item.outcome != Outcome::Cancelled)
        {
            let times = &item.times;
            self.queued.record_ns(times.queued_ns);
            self.open.record_ns(times.open_ns);
            self.transfer.record_ns(times.transfer_ns);
            self.publish.record_ns(times.publish_ns);
            self.service.record_ns(times.service_ns);
            self.busy_ns = self.busy_ns.saturating_add(times.service_ns);
        }
    }
}

/// Bytes to and from the block device during the timed parts.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceTraffic {
    /// Bytes read, as the kernel charges them to this process; `None` without process accounting.
    pub process_read_bytes: Option<u64>,
    pub process_write_bytes: Option<u64>,
    /// Bytes written to the whole device, other processes included; `None` when no device is known.
    pub device_write_bytes: Option<u64>,
}

/// Verification results of loaded objects.
#[derive(Clone, Debug, Default)]
pub struct VerifyTally {
    pub objects: u64,
    pub bytes: u64,
    pub good: u64,
    /// Names of the failed verdicts with their counts, in order of appearance.
    pub bad: Vec<(&'static str, u64)>,
    /// CPU time of the checks, summed over cores.
    pub core_time: Duration,
}

impl VerifyTally {
    pub fn note_bad(&mut self, name: &'static str) {
        match self.bad.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => self.bad.push((name, 1)),
        }
    }

    pub fn bad_count(&self) -> u64 {
        self.bad.iter().map(|(_, count)| count).sum()
    }
}

/// The samples of one phase: all rounds of one operation.
pub struct PhaseSamples {
    pub operation: Operation,
    pub io_path: IoPath,
    pub step_labels: StepLabels,
    pub rounds: Vec<Round>,
    pub rounds_timed_out: u64,
    /// Measured rounds that did not complete because the run ended early.
    pub rounds_not_run: u64,
    pub tally: KeyTally,
    pub failures: Failures,
    pub latencies: Latencies,
    pub cpu: Duration,
    pub traffic: DeviceTraffic,
    pub verify: Option<VerifyTally>,
    pub residency: Option<Residency>,
    /// The probe slice after the last round, or the reason why there are no slices.
    pub last_probe: Option<ProbeSlice>,
    pub probe_error: Option<String>,
    /// Time from process start to the first submit of this phase.
    pub first_submit: Option<Duration>,
    /// The part of `first_submit` that filling the first round's buffers took.
    pub first_buffers: Option<Duration>,
    /// The signal that ended the phase.
    pub interrupted: Option<i32>,
    /// The fault that ended the phase.
    pub aborted: Option<String>,
}

impl PhaseSamples {
    pub fn new(operation: Operation, io_path: IoPath, step_labels: StepLabels) -> PhaseSamples {
        PhaseSamples {
            operation,
            io_path,
            step_labels,
            rounds: Vec::new(),
            rounds_timed_out: 0,
            rounds_not_run: 0,
            tally: KeyTally::default(),
            failures: Failures::default(),
            latencies: Latencies::default(),
            cpu: Duration::ZERO,
            traffic: DeviceTraffic::default(),
            verify: None,
            residency: None,
            last_probe: None,
            probe_error: None,
            first_submit: None,
            first_buffers: None,
            interrupted: None,
            aborted: None,
        }
    }

    pub fn moved_bytes(&self) -> u64 {
        self.rounds.iter().map(|round| round.moved_bytes).sum()
    }

    pub fn total_duration(&self) -> Duration {
        self.rounds.iter().map(|round| round.duration).sum()
    }

    /// Mean number of objects in flight: sum of service times over the duration of the rounds.
    pub fn achieved_depth(&self) -> Option<f64> {
        let total = duration_ns(self.total_duration());
        (total > 0).then(|| self.latencies.busy_ns as f64 / total as f64)
    }
}

/// Counts an item's outcome. Returns whether it makes the run fail.
pub fn count_outcome(tally: &mut KeyTally, item: &Item, expected: bool) -> bool {
    match &item.outcome {
        Outcome::AlreadyThere => tally.already_there += 1,
        Outcome::Missing => tally.missing += 1,
        Outcome::Short { .. } => tally.short += 1,
        Outcome::Failed(_) => tally.failed += 1,
        Outcome::Found if !expected => tally.unexpected_hits += 1,
        _ => {}
    }
    match item.outcome {
        Outcome::Failed(_) | Outcome::Short { .. } => true,
        Outcome::Missing => expected,
        _ => false,
    }
}
