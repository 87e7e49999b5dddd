//! Drives a workload: asks it for steps, gives its requests to lanes, hands it what finished, and obeys its concurrency and
//! pacing exactly. A lane is a thread with one connection; lanes and connections are made before the clock. Never prints.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use ureq::unversioned::transport::RustlsConnector;

use super::lane::{Job, Lane, Report};
use super::live::Live;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::samples::phase::PhaseSamples;
use crate::engine::samples::record::Record;
use crate::engine::timestamp::{Clock, Stamp};
use crate::engine::wire::exchange::Exchanger;
use crate::engine::wire::line::{Line, Timeouts};
use crate::engine::wire::target::Target;
use crate::engine::wire::transport::LineConnector;
use crate::engine::workload::{Finished, Phase, Request, Step, Workload};
use crate::sys::queue::Queue;
use crate::sys::socket::StampsEnabled;
use crate::sys::{counters, limits, panic, signal};

/// For the kernel to begin stamping; it takes well under a millisecond where it does at all.
const STAMPS_WAIT: Duration = Duration::from_millis(20);
/// Waits look at signals this often.
const TICK: Duration = Duration::from_millis(50);
/// Connections that are being opened at the same time: more would overflow a server's queue of new ones, and a dropped SYN
/// costs a second.
const OPENING_MAX: usize = 32;
/// Bodies of requests that go out together are built before the first of them is sent, up to this many bytes: about a
/// hundred prompts of 10,000 tokens.
const TOGETHER_BYTES_MAX: usize = 4 << 20;

pub struct Runner {
    pub clock: Clock,
    /// Whether every record keeps its own gaps between tokens.
    pub keeps_gaps: bool,
    target: Arc<Target>,
    timeouts: Timeouts,
    tls: Arc<RustlsConnector>,
    live: Arc<Live>,
    interrupt: Arc<AtomicBool>,
    lanes: Vec<Lane>,
    idle: Vec<usize>,
    reports: Arc<Queue<Report>>,
    in_flight: u64,
    /// Without it the report says that stamps were taken after the read.
    _stamps: Option<StampsEnabled>,
}

impl Runner {
    pub fn new(clock: Clock, target: Arc<Target>, timeouts: Timeouts, live: Arc<Live>) -> Runner {
        Runner {
            clock,
            keeps_gaps: false,
            target,
            timeouts,
            tls: Arc::new(RustlsConnector::default()),
            live,
            interrupt: Arc::new(AtomicBool::new(false)),
            lanes: Vec::new(),
            idle: Vec::new(),
            reports: Arc::default(),
            in_flight: 0,
            _stamps: StampsEnabled::wait(STAMPS_WAIT).ok(),
        }
    }

    /// Starts lanes until there are `wanted` and opens their connections, a few at a time. Ends at the first that cannot
    /// be opened: that is the run's own failure, because nothing was measured yet.
    pub fn open(&mut self, wanted: usize) -> Result<(), Failure> {
        let mut opening = 0;
        let mut outcome = Ok(());
        loop {
            let more = outcome.is_ok() && self.lanes.len() < wanted;
            if more && opening < OPENING_MAX {
                let lane = self.start_lane()?;
                self.lanes[lane].give(Job::Open);
                opening += 1;
            } else if opening > 0 {
                opening -= 1;
                outcome = outcome.and(self.await_opened());
            } else {
                return outcome;
            }
            if self.look_for_signals() {
                outcome = outcome.and(Err(Failure::new(FailureClass::Connect, "the run was ended")));
            }
        }
    }

    /// Lanes that are told to end report soon after.
    fn await_opened(&mut self) -> Result<(), Failure> {
        let report = loop {
            self.look_for_signals();
            let until = self.clock.instant(self.clock.now().plus(TICK));
            if let Some(report) = self.reports.pop_until(until) {
                break report;
            }
        };
        let Report::Opened { lane, outcome } = report else {
            unreachable!("nothing was sent yet")
        };
        self.idle.push(lane);
        outcome.map(|_| ())
    }

    fn start_lane(&mut self) -> Result<usize, Failure> {
        let line = Line::new(self.clock, self.timeouts, Arc::clone(&self.interrupt));
        let connector = LineConnector {
            line: Arc::new(line),
            tls: Arc::clone(&self.tls),
        };
        let exchanger = Exchanger::new(Arc::clone(&self.target), connector);
        let number = self.lanes.len();
        let lane = Lane::start(number, exchanger, Arc::clone(&self.reports)).map_err(|error| {
            let text = format!(
                "could not start thread {number}: {}",
                limits::thread_with_advice(&error)
            );
            Failure::new(FailureClass::Connect, text)
        })?;
        self.lanes.push(lane);
        Ok(number)
    }

    /// Runs one phase to its end, or to the moment a signal comes.
    pub fn run(&mut self, workload: &mut dyn Workload, phase: Phase) -> PhaseSamples {
        self.live.reset();
        workload.begin(phase);
        let cpu = counters::process_cpu();
        let began = self.clock.now();
        let mut run = Run {
            samples: PhaseSamples {
                began,
                ..PhaseSamples::default()
            },
            finished: Vec::new(),
            keeps_gaps: self.keeps_gaps,
        };
        // What was measured before a panic is kept, and what is under way comes back.
        if panic::caught(|| self.follow(workload, &mut run)).is_none() {
            self.interrupt.store(true, Relaxed);
        }
        while self.in_flight > 0 {
            self.receive(&mut run, Some(self.clock.now().plus(TICK)));
            self.look_for_signals();
        }
        let mut samples = run.samples;
        samples.ended = self.clock.now();
        samples.cpu = counters::process_cpu().saturating_sub(cpu);
        samples.wall_step = self.clock.wall_step();
        samples
    }

    fn follow(&mut self, workload: &mut dyn Workload, run: &mut Run) {
        let mut together = Vec::new();
        let mut bytes = 0;
        // Only what opens a phase goes out together; later a free place is taken at once.
        let mut opening = true;
        while !self.look_for_signals() {
            let now = self.clock.now();
            let elapsed = Duration::from_nanos(now.ns_since(run.samples.began));
            let step = workload.step(elapsed, &run.finished);
            run.finished.clear();
            if let Step::Send(request) = step {
                bytes += request.body.len();
                together.push(request);
                if !opening || bytes >= TOGETHER_BYTES_MAX {
                    self.send(&mut together, run);
                    bytes = 0;
                }
                continue;
            }
            self.send(&mut together, run);
            opening = false;
            match step {
                Step::SleepUntil(time) => {
                    let until = run.samples.began.plus(time);
                    self.sleep(run, until);
                }
                Step::Await => self.await_one(run),
                Step::Done => return,
                Step::Send(_) => unreachable!("handled above"),
            }
        }
    }

    fn send(&mut self, together: &mut Vec<Request>, run: &mut Run) {
        for request in together.drain(..) {
            let due = request.scheduled.map(|time| run.samples.began.plus(time));
            let scheduled = due.unwrap_or_else(|| self.clock.now());
            let lane = match self.idle.pop().map_or_else(|| self.start_lane(), Ok) {
                Ok(lane) => lane,
                Err(failure) => {
                    let mut record = Record::begin(request.id.clone(), scheduled, self.clock.now());
                    record.failure = Some(failure);
                    self.live.sent();
                    run.take(request.id, Some(Box::new(record)), &self.live);
                    continue;
                }
            };
            self.lanes[lane].give(Job::Send { request, scheduled });
            self.live.sent();
            self.in_flight += 1;
            run.samples.in_flight_peak = run.samples.in_flight_peak.max(self.in_flight);
        }
    }

    fn sleep(&mut self, run: &mut Run, until: Stamp) {
        while self.clock.now() < until && !self.interrupt.load(Relaxed) {
            self.receive(run, Some(until.min(self.clock.now().plus(TICK))));
            self.look_for_signals();
        }
    }

    fn await_one(&mut self, run: &mut Run) {
        while run.finished.is_empty() && self.in_flight > 0 && !self.interrupt.load(Relaxed) {
            self.receive(run, Some(self.clock.now().plus(TICK)));
            self.look_for_signals();
        }
        // Whatever else is there already; more than one may have finished.
        while self.receive(run, None) {}
    }

    /// Takes one report, waiting until `until` at most, not at all without it.
    fn receive(&mut self, run: &mut Run, until: Option<Stamp>) -> bool {
        let report = match until {
            Some(until) => self.reports.pop_until(self.clock.instant(until)),
            None => self.reports.try_pop(),
        };
        match report {
            Some(Report::Ended { lane, id, record }) => {
                self.idle.push(lane);
                self.in_flight -= 1;
                run.take(id, record, &self.live);
                true
            }
            Some(Report::Opened { lane, .. }) => {
                self.idle.push(lane);
                true
            }
            None => false,
        }
    }

    /// Whether the run is to end; lanes notice within their own tick.
    fn look_for_signals(&mut self) -> bool {
        if signal::received().is_some() {
            self.interrupt.store(true, Relaxed);
        }
        self.interrupt.load(Relaxed)
    }
}

/// The state of one phase.
struct Run {
    samples: PhaseSamples,
    /// Not yet handed to the workload.
    finished: Vec<Finished>,
    keeps_gaps: bool,
}

impl Run {
    fn take(&mut self, id: String, record: Option<Box<Record>>, live: &Live) {
        live.ended(record.as_deref());
        let Some(mut record) = record else {
            self.samples.cut_off += 1;
            return;
        };
        let succeeded = record.succeeded();
        let text = std::mem::take(&mut record.answer.text);
        self.finished.push(Finished {
            id,
            succeeded,
            text: if succeeded { text } else { String::new() },
        });
        self.samples.gaps.add(&record);
        if !self.keeps_gaps {
            // The first one says whether the first token came alone.
            record.answer.gaps.truncate(1);
            record.answer.gaps.shrink_to_fit();
        }
        self.samples.connections_opened += u64::from(record.connect_ns > 0);
        self.samples.records.push(*record);
    }
}
