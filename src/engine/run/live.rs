//! Running totals of the current phase, updated by the runner and read by the display. The locks are held only to copy or add
//! numbers, so the display does not delay the runner.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::engine::samples::record::Record;
use crate::stats::histogram::LatencyHistogram;

/// Notes that the display shows.
pub const NOTES_MAX: usize = 5;

/// Shared between the runner and the display.
#[derive(Debug, Default)]
pub struct Live {
    numbers: Mutex<LiveNumbers>,
    notes: Mutex<Notes>,
}

/// The notes, oldest first.
#[derive(Debug, Default)]
struct Notes {
    last: VecDeque<String>,
    /// Those that nobody has taken yet.
    new: VecDeque<String>,
}

/// How much the current phase is going to do, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Goal {
    pub requests: Option<u64>,
    pub time: Option<Duration>,
}

/// One of several loads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stage {
    /// Which one it is.
    pub title: String,
    /// When the last one will have ended, at the latest or if each takes its time.
    pub all_end: Option<Instant>,
}

/// Totals of the current phase.
#[derive(Clone, Debug, Default)]
pub struct LiveNumbers {
    /// When the phase began.
    pub began: Option<Instant>,
    pub goal: Goal,
    pub stage: Option<Stage>,
    /// Of requests that succeeded.
    pub ttft: LatencyHistogram,
    pub in_flight: u64,
    pub successful: u64,
    pub failed: u64,
    pub ttft_s_sum: f64,
    pub decode_speed_sum: f64,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

impl LiveNumbers {
    pub fn mean_ttft_ms(&self) -> f64 {
        self.mean(self.ttft_s_sum) * 1000.0
    }

    /// How much of the phase is done, from 0 to 1: by time if its time is known, else by requests.
    pub fn share_done(&self, now: Instant) -> Option<f64> {
        let elapsed = now.saturating_duration_since(self.began?);
        if let Some(time) = self.goal.time.filter(|time| !time.is_zero()) {
            return Some((elapsed.as_secs_f64() / time.as_secs_f64()).min(1.0));
        }
        let all = self.goal.requests.filter(|all| *all > 0)?;
        Some(((self.successful + self.failed) as f64 / all as f64).min(1.0))
    }

    /// How long the phase will still take, if it goes on as it did.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        let elapsed = now.saturating_duration_since(self.began?);
        if let Some(time) = self.goal.time {
            return Some(time.saturating_sub(elapsed));
        }
        let done = self.share_done(now).filter(|done| *done > 0.0)?;
        Duration::try_from_secs_f64(elapsed.as_secs_f64() * (1.0 / done - 1.0)).ok()
    }

    pub fn mean_decode_speed(&self) -> f64 {
        self.mean(self.decode_speed_sum)
    }

    fn mean(&self, sum: f64) -> f64 {
        if self.successful == 0 {
            0.0
        } else {
            sum / self.successful as f64
        }
    }
}

impl Live {
    fn change(&self, change: impl FnOnce(&mut LiveNumbers)) {
        change(&mut self.numbers.lock().expect("no thread panics with this lock"));
    }

    /// Sets all totals to zero, at the start of a phase.
    pub fn reset(&self) {
        self.change(|numbers| {
            *numbers = LiveNumbers {
                began: Some(Instant::now()),
                goal: numbers.goal,
                stage: numbers.stage.take(),
                ..LiveNumbers::default()
            };
        });
    }

    /// What the next phase is going to do.
    pub fn aim(&self, goal: Goal) {
        self.change(|numbers| numbers.goal = goal);
    }

    /// The next of several loads begins.
    pub fn enter(&self, stage: Stage) {
        self.note(&stage.title);
        self.change(|numbers| numbers.stage = Some(stage));
    }

    pub fn sent(&self) {
        self.change(|numbers| numbers.in_flight += 1);
    }

    /// A request ended. `None`: the run was interrupted before it did.
    pub fn ended(&self, record: Option<&Record>) {
        self.change(|numbers| {
            numbers.in_flight = numbers.in_flight.saturating_sub(1);
            let Some(record) = record else { return };
            numbers.input_tokens += record.input_tokens();
            numbers.output_tokens += record.output_tokens();
            if record.succeeded() {
                numbers.successful += 1;
                numbers.ttft_s_sum += record.ttft_s();
                numbers.ttft.record_ns((record.ttft_s() * 1e9).max(0.0) as u64);
                numbers.decode_speed_sum += record.decode_speed();
            } else {
                numbers.failed += 1;
            }
        });
        if let Some((record, failure)) = record.and_then(|record| Some((record, record.why_failed()?))) {
            self.note(format!("Request {} failed: {}", record.id, failure.text));
        }
    }

    pub fn numbers(&self) -> LiveNumbers {
        let numbers = self.numbers.lock().expect("no thread panics with this lock");
        numbers.clone()
    }

    /// Adds a note for the display; only the last `NOTES_MAX` are kept.
    pub fn note(&self, text: impl Into<String>) {
        let text = text.into();
        let mut notes = self.notes.lock().expect("no thread panics with this lock");
        let Notes { last, new } = &mut *notes;
        for notes in [last, new] {
            if notes.len() == NOTES_MAX {
                notes.pop_front();
            }
            notes.push_back(text.clone());
        }
    }

    pub fn notes(&self) -> Vec<String> {
        let notes = self.notes.lock().expect("no thread panics with this lock");
        notes.last.iter().cloned().collect()
    }

    /// The notes since the last call.
    pub fn new_notes(&self) -> Vec<String> {
        let mut notes = self.notes.lock().expect("no thread panics with this lock");
        notes.new.drain(..).collect()
    }
}
