//! Workloads: what is sent and when. A workload owns no thread, socket or clock: elapsed time and finished requests go in,
//! a step comes out, so schedules are tested in virtual time.
//!
//! A new workload is a file with a [`Descriptor`] and a row in [`WORKLOADS`].

use std::time::Duration;

use crate::engine::args::{WorkloadName, WorkloadValues};
use crate::engine::ask::lookups::LookupCounts;
use crate::engine::config::{EngineConfig, Sizes};
use crate::engine::tokens::Tokenizer;
use crate::error::Error;
use crate::load::offer::{Offer, OwnPace};
use crate::report::banner::Banner;
use crate::report::output::OutputFile;
use crate::result::model::Section;
use crate::result::warning::Message;

mod body;
#[cfg(test)]
mod chat_tests;
pub mod circle;
pub mod custom;
pub mod descriptor;
pub mod extra_body;
mod filler;
mod kv_tier_pressure;
mod long_doc_permutator;
mod long_doc_qa;
mod lookups;
mod multi_round_chat;
mod permutations;
mod prefix_suffix_tuner;
pub mod rag_qa_quality;
mod random_prefill;
pub mod rehearsal;
#[cfg(test)]
mod tests;
mod window;

use descriptor::Descriptor;

/// Every workload, in the order of help and menu, which is that of LMCache 0.5.7; then those that it does not have.
pub const WORKLOADS: &[Descriptor] = &[
    kv_tier_pressure::DESCRIPTOR,
    long_doc_permutator::DESCRIPTOR,
    long_doc_qa::DESCRIPTOR,
    multi_round_chat::DESCRIPTOR,
    prefix_suffix_tuner::DESCRIPTOR,
    rag_qa_quality::DESCRIPTOR,
    random_prefill::DESCRIPTOR,
    custom::DESCRIPTOR,
];

/// The choices of `--workload`.
pub const NAMES: [&str; WORKLOADS.len()] = column(false);

/// What each of LMCache's sends, in the same order. The menu has these only: scripts that answer its questions count on the
/// numbers.
pub const ABOUTS: [&str; of_reference()] = column(true);

/// How many workloads are LMCache's, which come first.
const fn of_reference() -> usize {
    let mut count = 0;
    while count < WORKLOADS.len() && WORKLOADS[count].group.of_reference {
        count += 1;
    }
    count
}

/// One text of the first workloads.
const fn column<const COUNT: usize>(about: bool) -> [&'static str; COUNT] {
    let mut texts = [""; COUNT];
    let mut at = 0;
    while at < texts.len() {
        texts[at] = if about { WORKLOADS[at].about } else { WORKLOADS[at].name };
        at += 1;
    }
    texts
}

/// The workload that `--workload` or a config file names.
pub fn named(text: &str) -> Option<&'static Descriptor> {
    WORKLOADS.iter().find(|workload| workload.name == text)
}

impl WorkloadName {
    pub fn descriptor(self) -> &'static Descriptor {
        named(self.text()).expect("a workload's name is out of the list")
    }
}

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
    /// The exact body, in the form of the run's endpoint.
    pub body: Vec<u8>,
    pub max_tokens: u64,
    /// Whether the workload needs the answer's text in [`Finished::text`].
    pub wants_text: bool,
    /// When it was due, since the phase began, in a workload with a timetable.
    pub scheduled: Option<Duration>,
    /// How long after that it waited for a place or for its session.
    pub slot_wait: Duration,
}

impl Request {
    /// One whose text is not needed and that is due at no particular time.
    pub fn new(id: String, body: Vec<u8>, max_tokens: u64) -> Request {
        Request {
            id,
            body,
            max_tokens,
            wants_text: false,
            scheduled: None,
            slot_wait: Duration::ZERO,
        }
    }
}

impl Request {
    /// The same request, sent at `elapsed` and due at `due`. `held`: it was due before, and waited for a place.
    fn due(self, due: Option<Duration>, elapsed: Duration, held: bool) -> Request {
        let waited = due.filter(|_| held).map(|due| elapsed.saturating_sub(due));
        Request {
            scheduled: due,
            slot_wait: waited.unwrap_or_default(),
            ..self
        }
    }
}

/// A request that ended, however it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    pub id: String,
    pub succeeded: bool,
    /// All content pieces in order, when the request wanted them; empty after a failure.
    pub text: String,
    /// Seconds from dispatch to the first token; -1 after a failure.
    pub ttft_s: f64,
    pub output_tokens: u64,
    /// Tokens of the prompt that came from a cache, where the engine says so.
    pub cached_tokens: Option<u64>,
}

/// What a workload adds to the results of its measured phase.
#[derive(Debug, Default)]
pub struct Conclusion {
    /// The last section before those of the client.
    pub section: Option<Section>,
    /// Files of its own, checked before the run, with their contents.
    pub files: Vec<(OutputFile, Vec<u8>)>,
    pub warnings: Vec<WorkloadWarning>,
}

/// A warning that only one workload has. Its code is listed in docs/formats.md.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadWarning {
    pub code: &'static str,
    pub message: Message,
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
    /// Ask again when at least one of the requests in flight has finished, or at this time since the phase began.
    AwaitUntil(Duration),
    /// Nothing more in this phase; what is in flight is awaited.
    Done,
}

/// The load of the measured phase, known before it begins: connections are opened for it, and the error of this program
/// is measured under it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The most requests in flight; with a timetable, as many as there would be with answers of 20 tokens per second.
    pub streams: u64,
    /// `max_tokens` of each request.
    pub tokens_per_answer: u64,
    /// Bytes of the first measured body.
    pub body_bytes: u64,
    /// Measured requests; with a timetable, as many as there are when no session is ever busy.
    pub requests: u64,
    /// Requests per second of a timetable.
    pub requests_per_second: Option<f64>,
}

impl Plan {
    /// The plan when another load takes the place of the workload's own. How long answers take is unknown before the run: a
    /// rate is planned for answers of 20 tokens per second.
    fn offered(self, offer: Option<&Offer>, own: OwnPace) -> Plan {
        let Some(offer) = offer else { return self };
        let end = offer.end(own);
        let by_time = end
            .duration
            .zip(offer.rate(own))
            .map(|(time, rate)| (time.as_secs_f64() * rate).ceil() as u64);
        let requests = end.requests.into_iter().chain(by_time).min();
        let limit = offer.max_concurrency.unwrap_or(u64::MAX);
        let streams = match offer.rate(own) {
            Some(rate) => planned_streams(rate, self.tokens_per_answer).min(PLANNED_STREAMS_MAX),
            None => offer.max_concurrency.unwrap_or(self.streams),
        };
        Plan {
            streams: streams.min(limit).min(requests.unwrap_or(u64::MAX)).max(1),
            requests: requests.unwrap_or(self.requests),
            requests_per_second: offer.rate(own),
            ..self
        }
    }
}

/// How long answers take is unknown before the run; plans assume this.
const PLANNED_TOKENS_PER_S: f64 = 20.0;
/// Connections that are opened before a run at a rate; more are opened as they are needed.
const PLANNED_STREAMS_MAX: u64 = 1024;

/// Requests in flight at a rate.
fn planned_streams(per_second: f64, tokens_per_answer: u64) -> u64 {
    (per_second * tokens_per_answer as f64 / PLANNED_TOKENS_PER_S)
        .ceil()
        .max(1.0) as u64
}

/// When the LMCache server's counters of lookups are read. Nothing is measured meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Only where there is a warmup.
    BeforeWarmup,
    /// Before the measured phase, also without a warmup.
    AfterWarmup,
    AfterMeasured,
}

/// What a phase left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Turns of a timetable for which every session was busy.
    pub turns: u64,
    /// Requests that were due before the end and had no place until then.
    pub unsent: u64,
    /// How many times the list of requests was started again.
    pub repeats: u64,
    /// Whether the requests were used up, if only just, when the phase ended.
    pub used_up: bool,
}

impl Skipped {
    /// What was due and not sent.
    pub fn due(&self) -> u64 {
        self.turns.saturating_add(self.unsent)
    }
}

pub trait Workload: Send {
    /// What is going to be sent, for people.
    fn banner(&self) -> Banner;

    fn plan(&self) -> Plan;

    /// Another load takes the place of this workload's own pacing in the measured phase. The list of requests then starts
    /// again where it is used up. Every workload of the list does this; what has no pacing to replace ignores it.
    fn offer(&mut self, offer: Offer) {
        let _ = offer;
    }

    /// Sentences to show before the run.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether [`looked_up`](Workload::looked_up) is to be called.
    fn watches_lookups(&self) -> bool {
        false
    }

    /// What the LMCache server has looked up so far; `None` where it did not say. An error ends the run.
    fn looked_up(&mut self, at: Moment, counts: Option<LookupCounts>) -> Result<(), Error> {
        let _ = (at, counts);
        Ok(())
    }

    /// A phase begins; time counts from here.
    fn begin(&mut self, phase: Phase);

    /// The next step. `finished` are the requests that ended since the last call.
    fn step(&mut self, elapsed: Duration, finished: &[Finished]) -> Step;

    /// The phase is over. `finished` are the requests that ended after the last step.
    fn end(&mut self, finished: &[Finished]) {
        let _ = finished;
    }

    /// What the measured phase left out so far.
    fn skipped(&self) -> Skipped {
        Skipped::default()
    }

    /// What this workload adds to the results, after the measured phase has ended. An interrupted phase is `partial`.
    fn conclude(&mut self, partial: bool) -> Conclusion {
        let _ = partial;
        Conclusion::default()
    }
}

/// Refuses settings with which a workload cannot be run. `values` has a value for each of its flags.
pub fn check(workload: &Descriptor, values: &WorkloadValues, sizes: &Sizes) -> Result<(), Error> {
    long_doc_qa::check_answer_length(workload, values)?;
    (workload.support.check)(values, sizes)
}

/// The workload of these settings.
pub fn create(config: &EngineConfig, tokenizer: &Tokenizer) -> Result<Box<dyn Workload>, Error> {
    (config.workload.name().descriptor().support.create)(config, tokenizer)
}
