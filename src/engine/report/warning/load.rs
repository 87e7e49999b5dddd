//! Warnings about the load that a run offered.

use super::Message;
use crate::engine::results::delivered::{Delivered, HeldBy, SteadyState};
use crate::result::warning::message;

#[derive(Clone, Debug, PartialEq)]
pub enum LoadWarning {
    /// Less was sent than was due.
    HeldBack {
        due_per_s: f64,
        sent_per_s: f64,
        unsent: u64,
        by: HeldBy,
    },
    /// All requests were due before the measured time.
    NothingMeasured { requests: u64 },
    /// Turns of a timetable for which every session was busy.
    SkippedTurns { turns: u64 },
    /// The run was to end when it is steady, and was not.
    NotSteady { reason: String },
    /// The workload's list of requests was used up and began again.
    RepeatedPrompts { repeats: u64 },
}

impl LoadWarning {
    pub fn code(&self) -> &'static str {
        match self {
            LoadWarning::HeldBack { .. } => "load-held-back",
            LoadWarning::NothingMeasured { .. } => "nothing-measured",
            LoadWarning::SkippedTurns { .. } => "skipped-turns",
            LoadWarning::NotSteady { .. } => "not-steady",
            LoadWarning::RepeatedPrompts { .. } => "repeated-prompts",
        }
    }

    pub fn message(&self) -> Message {
        match self {
            LoadWarning::HeldBack {
                due_per_s,
                sent_per_s,
                unsent,
                by,
            } => held_back(*due_per_s, *sent_per_s, *unsent, *by),
            LoadWarning::SkippedTurns { turns } => message!(
                "Turns of the timetable ({turns}) were left out because every session was busy; the engine got fewer \
                 requests per second than asked for."
            ),
            LoadWarning::NothingMeasured { requests } => message!(
                "Nothing was measured: all requests ({requests}) were due in the ramp or the warm-up time",
                "raise --num-requests, or lower --ramp-up and --warmup-time."
            ),
            LoadWarning::NotSteady { reason } => message!(
                "No steady state was reached: {reason}. The figures are over the whole measured time",
                "raise the limit of --until-steady, or --steady-window if random arrivals are few."
            ),
            LoadWarning::RepeatedPrompts { repeats } => message!(
                "The workload's list of requests was used up and began again (times: {repeats}), so these requests find their \
                 prompts in the cache",
                "make the list longer with the workload's flags if they should not."
            ),
        }
    }
}

fn held_back(due_per_s: f64, sent_per_s: f64, unsent: u64, by: HeldBy) -> Message {
    match by {
        HeldBy::Concurrency(limit) => message!(
            "{due_per_s:.2} requests/s were due and {sent_per_s:.2} were sent ({unsent} never): --max-concurrency {limit} held \
             them back. The latencies from the schedule have the wait, those from dispatch do not",
            "raise the limit to see the engine under the whole load."
        ),
        HeldBy::Sessions => message!(
            "{due_per_s:.2} requests/s were due and {sent_per_s:.2} were sent ({unsent} never), because their sessions were \
             busy. The latencies from the schedule have the wait, those from dispatch do not",
            "use more sessions, or a lower rate."
        ),
        HeldBy::Client => message!(
            "{due_per_s:.2} requests/s were due and {sent_per_s:.2} were sent ({unsent} never), because this client could not \
             keep up",
            "free some CPU, or lower the rate."
        ),
    }
}

/// The warnings that a run's load raises. `lateness_ms_mean` is this program's own delay, `until_steady` whether the run was to
/// end when it is steady.
pub fn warnings(delivered: &Delivered, lateness_ms_mean: f64, until_steady: bool) -> Vec<LoadWarning> {
    let mut warnings = Vec::new();
    if delivered.nothing_measured() {
        let requests = delivered.unmeasured.requests;
        warnings.push(LoadWarning::NothingMeasured { requests });
    }
    if let Some(SteadyState::Not(reason)) = delivered.steady.as_ref().filter(|_| until_steady) {
        warnings.push(LoadWarning::NotSteady { reason: reason.clone() });
    }
    if let Some(by) = delivered.held_by(lateness_ms_mean) {
        warnings.push(LoadWarning::HeldBack {
            due_per_s: delivered.due_per_s.unwrap_or_default(),
            sent_per_s: delivered.sent_per_s.unwrap_or_default(),
            unsent: delivered.skipped.unsent,
            by,
        });
    }
    let skipped = delivered.skipped;
    if skipped.turns > 0 {
        warnings.push(LoadWarning::SkippedTurns { turns: skipped.turns });
    }
    if skipped.repeats > 0 {
        warnings.push(LoadWarning::RepeatedPrompts {
            repeats: skipped.repeats,
        });
    }
    warnings
}
