//! What a workload is: it decides what is sent and when, and owns no thread, socket or clock. Elapsed time and finished
//! requests go in, a step comes out, so schedules are tested in virtual time.

use std::time::Duration;

use crate::engine::config::{EngineConfig, WorkloadConfig};
use crate::engine::tokens::Tokenizer;
use crate::error::Error;
use crate::report::banner::Banner;

mod body;
mod filler;
mod long_doc_permutator;
mod long_doc_qa;
mod multi_round_chat;
mod permutations;
mod prefix_suffix_tuner;
mod random_prefill;
#[cfg(test)]
mod tests;
mod window;

/// The part of a run that requests belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Warmup,
    Measured,
}

/// One request, ready to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Unique within its phase, as in the CSV file.
    pub id: String,
    /// The exact body of `POST <base>/chat/completions`.
    pub body: Vec<u8>,
    pub max_tokens: u64,
    /// Whether the workload needs the answer's text (`Finished::text`).
    pub wants_text: bool,
    /// When it was due since the phase began, in a workload with a timetable.
    pub scheduled: Option<Duration>,
}

/// A request that ended, however it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    pub id: String,
    pub succeeded: bool,
    /// All content pieces in order, when the request wanted them; empty after a failure.
    pub text: String,
}

/// What the runner does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Dispatch now, then ask again.
    Send(Request),
    /// Ask again at this time since the phase began, not before; requests that finish meanwhile are handed over then.
    SleepUntil(Duration),
    /// Ask again when at least one request has finished.
    Await,
    /// Nothing more in this phase; what is in flight is awaited.
    Done,
}

/// The shape of the measured phase, known before it begins: for opening connections, and for measuring what this
/// program itself adds under such a load.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The most requests in flight; for a timetable, what answers at 20 tokens per second would pile up.
    pub streams: u64,
    /// `max_tokens` of a request.
    pub tokens_per_answer: u64,
    /// Bytes of the first measured body.
    pub body_bytes: u64,
    /// Measured requests; for a timetable, how many there are when no session is ever busy.
    pub requests: u64,
    /// Requests per second where a timetable sets them.
    pub requests_per_second: Option<f64>,
}

/// Things that may be worth telling after a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Turns of a timetable that were left out because every session was busy.
    pub turns: u64,
}

pub trait Workload: Send {
    /// What is going to be sent, for people.
    fn banner(&self) -> Banner;

    fn plan(&self) -> Plan;

    /// A phase begins; time counts from here.
    fn begin(&mut self, phase: Phase);

    /// The next step. `finished` are the requests that ended since the last call.
    fn step(&mut self, elapsed: Duration, finished: &[Finished]) -> Step;

    /// What the measured phase left out so far.
    fn skipped(&self) -> Skipped {
        Skipped::default()
    }
}

/// The workload of these settings. Nothing is sent, and no body is built beyond the first.
pub fn create(config: &EngineConfig, tokenizer: &Tokenizer) -> Result<Box<dyn Workload>, Error> {
    match &config.workload {
        WorkloadConfig::LongDocPermutator(settings) => long_doc_permutator::create(config, settings, tokenizer),
        WorkloadConfig::LongDocQa(settings) => long_doc_qa::create(config, settings, tokenizer),
        WorkloadConfig::MultiRoundChat(settings) => multi_round_chat::create(config, settings, tokenizer),
        WorkloadConfig::PrefixSuffixTuner(settings) => prefix_suffix_tuner::create(config, settings, tokenizer),
        WorkloadConfig::RandomPrefill(settings) => random_prefill::create(config, settings, tokenizer),
    }
}
