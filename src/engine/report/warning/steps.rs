//! Warnings about a run with several loads. `loads` names those that a warning is about.

use super::Message;
use crate::result::warning::message;

#[derive(Clone, Debug, PartialEq)]
pub enum StepsWarning {
    /// All requests were due before the measured time.
    NotMeasured { loads: String },
    /// The run was to end when it is steady, and was not.
    NotSteady { loads: String },
    /// Turns of a timetable for which every session was busy.
    SkippedTurns { loads: String },
    /// The workload's list of requests was used up and began again.
    RepeatedPrompts { loads: String },
    /// This client sent or read late, by so much at p99.
    ClientBound { loads: String, ms_p99: f64 },
    /// Less was sent than was due, although this client had the time.
    HeldBack { loads: String },
    /// Requests failed.
    WithFailures { failed: u64 },
    /// A step could not be run; those before it are reported.
    Failed { cause: String },
    /// Little's law does not hold for these loads of a closed loop.
    LittleBroken { loads: String },
    /// The first load, measured again at the end, is this far from the first time.
    Drift { share: f64 },
    /// All steps sent the same prompts.
    SamePrompts,
    /// A search cannot confirm its answer with as few requests.
    TooFewSamples { needed_s: f64 },
}

impl StepsWarning {
    pub fn code(&self) -> &'static str {
        match self {
            StepsWarning::NotMeasured { .. } => "nothing-measured",
            StepsWarning::NotSteady { .. } => "not-steady",
            StepsWarning::SkippedTurns { .. } => "skipped-turns",
            StepsWarning::RepeatedPrompts { .. } => "repeated-prompts",
            StepsWarning::ClientBound { .. } => "steps-client-bound",
            StepsWarning::HeldBack { .. } => "steps-held-back",
            StepsWarning::WithFailures { .. } => "steps-with-failures",
            StepsWarning::Failed { .. } => "step-failed",
            StepsWarning::LittleBroken { .. } => "little-broken",
            StepsWarning::Drift { .. } => "drift",
            StepsWarning::SamePrompts => "same-prompts",
            StepsWarning::TooFewSamples { .. } => "too-few-samples",
        }
    }

    pub fn message(&self) -> Message {
        match self {
            StepsWarning::NotMeasured { loads } => message!(
                "At {loads} nothing was measured: all requests were due in the ramp or the warm-up time",
                "raise --num-requests, or lower --ramp-up and --warmup-time."
            ),
            StepsWarning::NotSteady { loads } => message!(
                "At {loads} no steady state was reached, and the figures are over the whole measured time",
                "raise the limit of --until-steady, or --steady-window if random arrivals are few."
            ),
            StepsWarning::SkippedTurns { loads } => message!(
                "At {loads} turns of the timetable were left out because every session was busy; the engine got fewer requests \
                 per second than asked for."
            ),
            StepsWarning::RepeatedPrompts { loads } => message!(
                "At {loads} the workload's list of requests was used up and began again, so these requests find their prompts in \
                 the cache",
                "make the list longer with the workload's flags if they should not."
            ),
            StepsWarning::ClientBound { loads, ms_p99 } => message!(
                "At {loads} this client sent requests or read first tokens up to {ms_p99:.1} ms late (p99), so these steps show \
                 its own limits too, and a highest load that they bound is a lower bound",
                "free some CPU, or use a machine with more cores."
            ),
            StepsWarning::HeldBack { loads } => message!(
                "At {loads} less was sent than was due, because --max-concurrency or busy sessions held it back. The latencies from \
                 the schedule have the wait",
                "raise the limit, or use more sessions."
            ),
            StepsWarning::WithFailures { failed } => message!(
                "Requests of the steps failed ({failed}) and are in no latency; the column `failed` says in which."
            ),
            StepsWarning::Failed { cause } => {
                message!("A step could not be run, so those after it are missing: {cause}.")
            }
            StepsWarning::LittleBroken { loads } => message!(
                "At {loads} the requests in flight are not throughput times latency (Little's law), so these steps mix \
                 several states",
                "measure longer, or with a longer --warmup-time."
            ),
            StepsWarning::Drift { share } => {
                let percent = share * 100.0;
                message!(
                    "The first load, measured again at the end, differs by {percent:.0} %: the engine, its caches or this machine \
                     changed during the sweep",
                    "run the sweep again."
                )
            }
            StepsWarning::SamePrompts => {
                message!("All steps sent the same prompts, so later steps found them in the cache.")
            }
            StepsWarning::TooFewSamples { needed_s } => {
                let needed_s = needed_s.ceil();
                message!(
                    "The highest load was measured with too few requests for its percentile",
                    "give --duration {needed_s:.0}s, or a lower percentile."
                )
            }
        }
    }
}
