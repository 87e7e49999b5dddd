//! What a workload is: it decides what is sent and when, and owns no thread, socket or clock. Elapsed time and finished
//! requests go in, a step comes out, so schedules are tested in virtual time.

use std::time::Duration;

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

pub trait Workload: Send {
    /// A phase begins; time counts from here.
    fn begin(&mut self, phase: Phase);

    /// The next step. `finished` are the requests that ended since the last call.
    fn step(&mut self, elapsed: Duration, finished: &[Finished]) -> Step;
}
