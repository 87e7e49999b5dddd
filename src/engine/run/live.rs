//! Running totals of the current phase, updated by the runner and read by the display. The locks are held only to copy or add
//! numbers, so the display does not delay the runner.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::engine::samples::record::Record;

/// Notes that the display shows.
pub const NOTES_MAX: usize = 5;

/// Shared between the runner and the display.
#[derive(Debug, Default)]
pub struct Live {
    numbers: Mutex<LiveNumbers>,
    notes: Mutex<VecDeque<String>>,
}

/// Totals of the current phase.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LiveNumbers {
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
        self.change(|numbers| *numbers = LiveNumbers::default());
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
        *self.numbers.lock().expect("no thread panics with this lock")
    }

    /// Adds a note for the display; only the last `NOTES_MAX` are kept.
    pub fn note(&self, text: impl Into<String>) {
        let mut notes = self.notes.lock().expect("no thread panics with this lock");
        if notes.len() == NOTES_MAX {
            notes.pop_front();
        }
        notes.push_back(text.into());
    }

    pub fn notes(&self) -> Vec<String> {
        let notes = self.notes.lock().expect("no thread panics with this lock");
        notes.iter().cloned().collect()
    }
}
