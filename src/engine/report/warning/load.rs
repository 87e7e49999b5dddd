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
    /// Turns of a timetable for which every session was busy.
    SkippedTurns { turns: u64 },
    /// The run was to end when it is steady, and was not.
    NotSteady { reason: String },
    /// In these of several steps this client sent or read late, by so much at p99.
    StepsOfClient { loads: String, ms_p99: f64 },
    /// In these of several steps less was sent than was due, although this client had the time.
    StepsHeldBack { loads: String },
    /// Requests of a sweep's steps failed.
    StepsWithFailures { failed: u64 },
    /// A step could not be run; those before it are reported.
    StepFailed { cause: String },
    /// Little's law does not hold for these loads of a closed loop.
    LittleBroken { loads: String },
    /// The first load, measured again at the end, is this far from the first time.
    Drift { share: f64 },
    /// All steps sent the same prompts.
    SamePrompts,
    /// A search cannot confirm its answer with as few requests.
    TooFewSamples { needed_s: f64 },
    /// The workload's list of requests was used up and began again.
    RepeatedPrompts { repeats: u64 },
}

impl LoadWarning {
    pub fn code(&self) -> &'static str {
        match self {
            LoadWarning::HeldBack { .. } => "load-held-back",
            LoadWarning::SkippedTurns { .. } => "skipped-turns",
            LoadWarning::NotSteady { .. } => "not-steady",
            LoadWarning::RepeatedPrompts { .. } => "repeated-prompts",
            LoadWarning::StepsOfClient { .. } => "steps-client-bound",
            LoadWarning::StepsHeldBack { .. } => "steps-held-back",
            LoadWarning::StepsWithFailures { .. } => "steps-with-failures",
            LoadWarning::StepFailed { .. } => "step-failed",
            LoadWarning::LittleBroken { .. } => "little-broken",
            LoadWarning::Drift { .. } => "drift",
            LoadWarning::SamePrompts => "same-prompts",
            LoadWarning::TooFewSamples { .. } => "too-few-samples",
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
                "{turns} turns of the timetable were left out because every session was busy; the engine got fewer \
                 requests per second than asked for."
            ),
            LoadWarning::NotSteady { reason } => message!(
                "No steady state was reached: {reason}. The figures are over the whole measured time",
                "raise the limit of --until-steady, or --steady-window if random arrivals are few."
            ),
            LoadWarning::StepsOfClient { loads, ms_p99 } => message!(
                "At {loads} this client sent requests or read first tokens up to {ms_p99:.1} ms late (p99), so these steps show \
                 its own limits too, and a highest load that they bound is a lower bound",
                "free some CPU, or use a machine with more cores."
            ),
            LoadWarning::StepsHeldBack { loads } => message!(
                "At {loads} less was sent than was due, because --max-concurrency or busy sessions held it back. The latencies from \
                 the schedule have the wait",
                "raise the limit, or use more sessions."
            ),
            LoadWarning::StepsWithFailures { failed } => message!(
                "{failed} requests of the steps failed and are in no latency; the column `failed` says in which."
            ),
            LoadWarning::StepFailed { cause } => {
                message!("A step could not be run, so those after it are missing: {cause}.")
            }
            LoadWarning::LittleBroken { loads } => message!(
                "At {loads} the requests in flight are not throughput times latency (Little's law), so these steps mix \
                 several states",
                "measure longer, or with a longer --warmup-time."
            ),
            LoadWarning::Drift { share } => {
                let percent = share * 100.0;
                message!(
                    "The first load, measured again at the end, differs by {percent:.0} %: the engine, its caches or this machine \
                     changed during the sweep",
                    "run the sweep again."
                )
            }
            LoadWarning::SamePrompts => {
                message!("All steps sent the same prompts, so later steps found them in the cache.")
            }
            LoadWarning::TooFewSamples { needed_s } => {
                let needed_s = needed_s.ceil();
                message!(
                    "The highest load was measured with too few requests for its percentile",
                    "give --duration {needed_s:.0}s, or a lower percentile."
                )
            }
            LoadWarning::RepeatedPrompts { repeats } => message!(
                "The workload's list of requests was used up and began again {repeats} times, so these requests find their \
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
