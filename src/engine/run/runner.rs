//! Drives a workload: asks it for the next step, gives its requests to workers, and tells it what finished. Concurrency and
//! pacing are the workload's. Workers and their connections are made before the phase's clock starts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use ureq::unversioned::transport::RustlsConnector;

use super::gathered::Gathered;
use super::live::Live;
use super::worker::{Job, Report, Worker};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::samples::access::BodyRoom;
use crate::engine::samples::phase::PhaseSamples;
use crate::engine::samples::record::Record;
use crate::engine::samples::steadiness::Steadiness;
use crate::engine::timestamp::{Clock, Stamp};
use crate::engine::wire::exchange::Exchanger;
use crate::engine::wire::line::{Line, Timeouts};
use crate::engine::wire::target::Target;
use crate::engine::wire::transport::LineConnector;
use crate::engine::workload::{Phase, Request, Step, Workload};
use crate::load::series::Series;
use crate::sys::queue::Queue;
use crate::sys::socket::StampsEnabled;
use crate::sys::{counters, limits, panic, signal};

/// How long to wait for the kernel to start time stamping; it takes well under a millisecond where it is supported.
const STAMPS_WAIT: Duration = Duration::from_millis(20);
/// Waits check for signals this often.
const TICK: Duration = Duration::from_millis(50);
/// Connections that are opened at the same time. More would overflow a server's accept queue, and a dropped SYN costs a second.
const OPENING_MAX: usize = 32;
/// The requests that open a phase are all built before the first is sent, up to this many bytes: about a hundred prompts of
/// 10,000 tokens.
const BATCH_BYTES_MAX: usize = 4 << 20;

pub struct Runner {
    pub clock: Clock,
    /// Whether records keep their gaps between tokens.
    pub keeps_gaps: bool,
    /// The ramp and the warm-up time at the beginning of the measured phase, whose requests are not measured.
    pub lead_in: Duration,
    /// How long requests are measured after that, where it is known.
    pub measured: Option<Duration>,
    /// Whether the seconds of the measured phase are recorded.
    pub records_series: bool,
    /// Idle connections that are kept ready while requests are sent by a timetable, so that none of them waits for one.
    pub spare_connections: usize,
    /// Room for the bodies of requests; `None` where none is kept.
    bodies: Option<Arc<BodyRoom>>,
    /// The measured phase ends when it is steady, by windows of so many seconds.
    pub until_steady: Option<usize>,
    /// When everything ends, as by a signal.
    pub deadline: Option<Stamp>,
    target: Arc<Target>,
    timeouts: Timeouts,
    tls: Arc<RustlsConnector>,
    live: Arc<Live>,
    interrupt: Arc<AtomicBool>,
    workers: Vec<Worker>,
    idle: Vec<usize>,
    reports: Arc<Queue<Report>>,
    in_flight: u64,
    /// Workers that are opening their connection in advance.
    opening: usize,
    /// Keeps the kernel's time stamping on; `None` where it is not supported.
    _stamps: Option<StampsEnabled>,
}

impl Runner {
    pub fn new(clock: Clock, target: Arc<Target>, timeouts: Timeouts, live: Arc<Live>) -> Runner {
        Runner {
            clock,
            keeps_gaps: false,
            lead_in: Duration::ZERO,
            measured: None,
            records_series: false,
            spare_connections: 0,
            bodies: None,
            until_steady: None,
            deadline: None,
            target,
            timeouts,
            tls: Arc::new(RustlsConnector::default()),
            live,
            interrupt: Arc::new(AtomicBool::new(false)),
            workers: Vec::new(),
            idle: Vec::new(),
            reports: Arc::default(),
            in_flight: 0,
            opening: 0,
            _stamps: StampsEnabled::wait(STAMPS_WAIT).ok(),
        }
    }

    /// Keeps the bodies of all requests in the samples of their phase. Before the first connection is opened.
    pub fn keep_bodies(&mut self) {
        self.bodies = Some(Arc::default());
    }

    /// Starts workers until there are `count`, and opens their connections, `OPENING_MAX` at a time. Stops at the first
    /// connection that fails. Between phases only.
    pub fn open(&mut self, count: usize) -> Result<(), Failure> {
        let mut outcome = Ok(());
        loop {
            let more = outcome.is_ok() && self.workers.len() < count;
            if more && self.opening < OPENING_MAX {
                self.open_one()?;
            } else if self.opening > 0 {
                outcome = outcome.and(self.await_opened());
            } else {
                return outcome;
            }
            if self.check_signals() {
                outcome = outcome.and(Err(Failure::new(FailureClass::Connect, "the run was ended")));
            }
        }
    }

    /// Opens what is missing of the spare connections before a phase.
    fn open_spare(&mut self) {
        while self.idle.len() + self.opening < self.spare_connections && self.open_one().is_ok() {}
        while self.opening > 0 && self.await_opened().is_ok() {}
    }

    fn open_one(&mut self) -> Result<(), Failure> {
        let worker = self.start_worker()?;
        self.workers[worker].assign(Job::Open);
        self.opening += 1;
        Ok(())
    }

    /// Waits for one worker's report. On a signal workers stop waiting, so a report always comes.
    fn await_opened(&mut self) -> Result<(), Failure> {
        let report = loop {
            self.check_signals();
            let until = self.clock.instant(self.clock.now().plus(TICK));
            if let Some(report) = self.reports.pop_until(until) {
                break report;
            }
        };
        let Report::Opened { worker, outcome } = report else {
            unreachable!("nothing is in flight")
        };
        self.opening -= 1;
        self.idle.push(worker);
        outcome.map(|_| ())
    }

    fn start_worker(&mut self) -> Result<usize, Failure> {
        let line = Line::new(self.clock, self.timeouts, Arc::clone(&self.interrupt));
        let connector = LineConnector {
            line: Arc::new(line),
            tls: Arc::clone(&self.tls),
        };
        let exchanger = Exchanger::new(Arc::clone(&self.target), connector, self.bodies.clone());
        let number = self.workers.len();
        let worker = Worker::start(number, exchanger, Arc::clone(&self.reports)).map_err(|error| {
            let text = format!(
                "could not start thread {number}: {}",
                limits::thread_with_advice(&error)
            );
            Failure::new(FailureClass::Connect, text)
        })?;
        self.workers.push(worker);
        Ok(number)
    }

    /// Runs one phase to its end, or until a signal.
    pub fn run(&mut self, workload: &mut dyn Workload, phase: Phase) -> PhaseSamples {
        self.open_spare();
        self.live.reset();
        workload.begin(phase);
        let cpu = counters::process_cpu();
        let began = self.clock.now();
        let is_measured = phase == Phase::Measured;
        let lead_in = if is_measured { self.lead_in } else { Duration::ZERO };
        let measured_from = began.plus(lead_in);
        let until_steady = self.until_steady.filter(|_| is_measured);
        let mut run = Gathered {
            samples: PhaseSamples {
                began,
                sending_ended: began,
                measured_from,
                in_flight_from: measured_from,
                series: (is_measured && self.records_series).then(Series::default),
                ..PhaseSamples::default()
            },
            finished: Vec::new(),
            keeps_gaps: self.keeps_gaps || until_steady.is_some(),
            steadiness: until_steady.map(|window_s| Steadiness::new(measured_from, window_s)),
            changed: began,
            keeps_accesses: self.bodies.is_some(),
            window_ends: self
                .measured
                .filter(|_| is_measured)
                .map(|time| measured_from.plus(time)),
        };
        // After a panic the records so far are kept, and requests in flight are waited for.
        if panic::caught(|| self.drive(workload, &mut run)).is_none() {
            self.interrupt.store(true, Relaxed);
        }
        self.count_in_flight(&mut run);
        // A closed loop sees the end of its time when a request ends.
        let now = self.clock.now();
        run.window_ends = run.window_ends.filter(|_| !workload.skipped().used_up);
        run.samples.sending_ended = run.window_ends.map_or(now, |ends| ends.min(now));
        while self.in_flight > 0 {
            self.receive(&mut run, Some(self.clock.now().plus(TICK)));
            self.check_signals();
        }
        workload.end(&run.finished);
        let mut samples = run.samples;
        samples.ended = self.clock.now();
        samples.accesses.end();
        if let Some(since) = samples.steady_since {
            samples.measure_from(since);
        }
        samples.cpu = counters::process_cpu().saturating_sub(cpu);
        samples.wall_step = self.clock.wall_step();
        samples
    }

    fn drive(&mut self, workload: &mut dyn Workload, run: &mut Gathered) {
        let mut batch = Vec::new();
        let mut bytes = 0;
        // Only the requests that open a phase are sent as a batch; later each is sent at once.
        let mut opening = true;
        while !self.check_signals() {
            let now = self.clock.now();
            if run.is_over(now) {
                return;
            }
            let elapsed = Duration::from_nanos(now.ns_since(run.samples.began));
            let step = workload.step(elapsed, &run.finished);
            run.finished.clear();
            if let Step::Send(request) = step {
                bytes += request.body.len();
                batch.push(request);
                if !opening || bytes >= BATCH_BYTES_MAX {
                    self.send(&mut batch, run);
                    bytes = 0;
                }
                continue;
            }
            self.send(&mut batch, run);
            opening = false;
            match step {
                Step::SleepUntil(time) => {
                    let until = run.samples.began.plus(time);
                    self.sleep(run, until);
                }
                Step::Await => self.await_one(run, None),
                Step::AwaitUntil(time) => {
                    let until = run.samples.began.plus(time);
                    self.await_one(run, Some(until));
                }
                Step::Done => return,
                Step::Send(_) => unreachable!("handled above"),
            }
        }
    }

    fn send(&mut self, batch: &mut Vec<Request>, run: &mut Gathered) {
        for request in batch.drain(..) {
            let due = request.scheduled.map(|time| run.samples.began.plus(time));
            let scheduled = due.unwrap_or_else(|| self.clock.now());
            let worker = match self.idle.pop().map_or_else(|| self.start_worker(), Ok) {
                Ok(worker) => worker,
                Err(failure) => {
                    let mut record = Record::begin(request.id.clone(), scheduled, self.clock.now());
                    record.failure = Some(failure);
                    self.live.sent();
                    run.take(request.id, Some(Box::new(record)), &self.live);
                    continue;
                }
            };
            self.workers[worker].assign(Job::Send { request, scheduled });
            self.live.sent();
            self.count_in_flight(run);
            self.in_flight += 1;
            run.samples.in_flight_peak = run.samples.in_flight_peak.max(self.in_flight);
            // One that cannot be opened fails the request that needs it.
            while due.is_some() && self.idle.len() + self.opening < self.spare_connections && self.open_one().is_ok() {}
        }
    }

    fn sleep(&mut self, run: &mut Gathered, until: Stamp) {
        while self.clock.now() < until && !self.interrupt.load(Relaxed) && !run.is_over(self.clock.now()) {
            self.receive(run, Some(until.min(self.clock.now().plus(TICK))));
            self.check_signals();
        }
    }

    /// Waits until a request has finished, or until this time.
    fn await_one(&mut self, run: &mut Gathered, until: Option<Stamp>) {
        let is_time = |now: Stamp| until.is_some_and(|until| now >= until);
        while run.finished.is_empty() && self.in_flight > 0 && !self.interrupt.load(Relaxed) {
            let now = self.clock.now();
            if is_time(now) {
                break;
            }
            let tick = now.plus(TICK);
            self.receive(run, Some(until.map_or(tick, |until| until.min(tick))));
            self.check_signals();
        }
        // More than one may have finished.
        while self.receive(run, None) {}
    }

    /// Takes one report, if one comes by `until`; without it, if one is there.
    fn receive(&mut self, run: &mut Gathered, until: Option<Stamp>) -> bool {
        let report = match until {
            Some(until) => self.reports.pop_until(self.clock.instant(until)),
            None => self.reports.try_pop(),
        };
        match report {
            Some(Report::Ended { worker, id, record }) => {
                self.idle.push(worker);
                self.count_in_flight(run);
                self.in_flight -= 1;
                run.take(id, record, &self.live);
                true
            }
            Some(Report::Opened { worker, .. }) => {
                self.opening -= 1;
                self.idle.push(worker);
                true
            }
            None => false,
        }
    }

    /// Adds the time since the last change to the sum over requests in flight, while requests are being sent.
    fn count_in_flight(&self, run: &mut Gathered) {
        if run.samples.sending_ended > run.samples.began {
            return;
        }
        let now = self.clock.now();
        let now = run.window_ends.map_or(now, |ends| ends.min(now));
        let since = run.changed.max(run.samples.in_flight_from);
        run.samples.in_flight_ns += u128::from(now.ns_since(since)) * u128::from(self.in_flight);
        run.changed = now;
    }

    /// Looks for what interrupts the run. Workers notice it within one tick of their own.
    fn check_signals(&mut self) -> bool {
        let is_late = || self.deadline.is_some_and(|deadline| self.clock.now() >= deadline);
        if signal::received().is_some() || is_late() {
            self.interrupt.store(true, Relaxed);
        }
        self.is_interrupted()
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupt.load(Relaxed)
    }
}
