//! One `engine` run from settings to exit code: workload, the client's own error, connections, warmup, measured phase, report.
//! After a failure or a signal, what was measured before it is still reported.

mod report;
mod steps;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json};

use crate::cli::Format;
use crate::engine::api_key;
use crate::engine::ask::server_counters::{Counted, ServerCounters};
use crate::engine::ask::version::engine_version;
use crate::engine::config::EngineConfig;
use crate::engine::config::load::{LoadConfig, RunPlan};
use crate::engine::flags::EngineArgs;
use crate::engine::report::display::Display;
use crate::engine::report::outputs::Outputs;
use crate::engine::report::warning::{StreamWarning, Warning};
use crate::engine::results::delivered::Asked;
use crate::engine::run::certificate::{self, ClientError};
use crate::engine::run::live::{Goal, Live};
use crate::engine::run::runner::Runner;
use crate::engine::samples::phase::PhaseSamples;
use crate::engine::settings::keyboard::Stdin;
use crate::engine::settings::setup::{Outcome, resolve};
use crate::engine::timestamp::Clock;
use crate::engine::tokens::Tokenizer;
use crate::engine::wire::line;
use crate::engine::wire::target::Target;
use crate::engine::workload::{self, Moment, Phase, Plan, Workload};
use crate::error::Error;
use crate::http::trust;
use crate::load::offer::Offer;
use crate::report::progress::Progress;
use crate::report::prompt::Prompter;
use crate::result::model::Section;
use crate::run;
use crate::run::output::Output;
use crate::status::Status;
use crate::sys::{limits, signal, socket};
use crate::url::without_password;

/// Open files of this process besides its connections, at most.
const OTHER_FILES: u64 = 64;
/// As many requests may be due at the same time without one that waits for its connection.
const SPARE_CONNECTIONS: usize = 4;
/// "No limit" as a duration.
const NO_LIMIT: Duration = Duration::from_secs(1 << 33);

/// Runs `engine`. `started` is the start of the process.
pub fn run(args: &EngineArgs, started: Instant) -> Result<Status, Error> {
    let key = api_key::from_environment();
    if let Some(problem) = key.problem() {
        return Err(Error::Usage(problem));
    }
    run::output::check_saves(args.save.iter().flatten())?;
    let to_stderr = args.format == Some(Format::Json);
    let resolved = resolve(args, &key, &mut Prompter::new(&mut Stdin::new(), to_stderr))?;
    let Outcome::Run {
        config,
        notes,
        lmcache_key,
    } = resolved
    else {
        return Ok(Status::Done);
    };
    // The folder of --output-dir first, because the other files may be in it.
    let (files, folder_problem) = Outputs::check(&config.output)?;
    let output = Output::check(&config.output.shared)?;
    let target = Target::new(&config.base_url(), config.endpoint, &key)?;
    let tokenizer = Tokenizer::open(&config, &key)?;
    let mut workload = workload::create(&config, &tokenizer)?;
    if let Some(offer) = config.load.first_offer() {
        workload.offer(offer);
    }
    let plan = workload.plan();
    tokenizer.check_first_body(&config, &key, plan.body_bytes)?;
    let mut progress = output.progress();
    progress.line(&workload.banner().render(progress.is_terminal()));
    if let Some(load) = config.load.sentence() {
        progress.line(&load);
    }
    let notes = notes
        .into_iter()
        .chain(workload.notes())
        .chain(output.path_notes.iter().cloned())
        .chain(key.warning())
        .chain(tokenizer.told(&config));
    notes.for_each(|note| progress.line(&format!("Note: {note}")));
    let mut run = Run {
        warnings: Vec::new(),
        config: &config,
        started,
        version: None,
        clock: Clock::start(),
        counters: ServerCounters::new(&config.base_url(), &key, config.lmcache_url.as_deref(), lmcache_key),
        prompt_sources: None,
    };
    if let Some(note) = tokenizer.note(&config) {
        run.warnings.push(Warning::PromptLengths { note });
    }
    match folder_problem {
        // The files are about the requests of one load.
        _ if config.load.plan != RunPlan::Single => {}
        Some(problem) => progress.line(&format!("Note: {problem}")),
        None => files
            .names()
            .iter()
            .for_each(|name| progress.line(&format!("Results also go to {name}"))),
    }
    if output.saves_samples() {
        run.version = engine_version(&config.base_url(), &key);
    }
    let replay = run.certify(&plan, &mut progress);
    let opened = run.open(&plan, target, progress, output.saves_samples())?;
    if config.load.plan != RunPlan::Single {
        // Each step makes its own.
        drop(workload);
        return run.steps(&tokenizer, opened, replay, &output);
    }
    let samples = run.measure(&mut *workload, &plan, opened)?;
    Ok(run.report(&samples, &mut *workload, replay, &files, &output))
}

/// What runs phases, and what shows them.
struct Opened {
    runner: Runner,
    display: Display,
    live: Arc<Live>,
}

struct Run<'a> {
    config: &'a EngineConfig,
    /// Start of the process.
    started: Instant,
    /// The engine's, where the result is saved and the engine has one.
    version: Option<String>,
    clock: Clock,
    warnings: Vec<Warning>,
    counters: ServerCounters,
    /// The section of where prompt tokens came from, by `counters` during the measured phase.
    prompt_sources: Option<Section>,
}

impl Run<'_> {
    /// Measures this program's own error in a replay of the plan. `None` when it is turned off, failed or was interrupted.
    fn certify(&mut self, plan: &Plan, progress: &mut Progress) -> Option<ClientError> {
        self.warnings.extend(allow_connections(plan.streams).err());
        if !self.config.certificate {
            return None;
        }
        progress.line("Measuring this client's own error for 2 s (--no-certificate leaves it out)...");
        match certificate::measure(plan, self.config.endpoint) {
            // Also where the signal came too late to end the replay.
            _ if signal::received().is_some() => None,
            Ok(error) => {
                progress.line(&format!("Client error: {} in a replay of this plan", error.sentence()));
                Some(error)
            }
            Err(cause) => {
                self.warnings.push(Warning::NoCertificate { cause });
                None
            }
        }
    }

    /// Opens the connections and starts the display. `None`: a signal came first.
    fn open(
        &mut self,
        plan: &Plan,
        target: Target,
        progress: Progress,
        records_series: bool,
    ) -> Result<Option<Opened>, Error> {
        let live = Arc::new(Live::default());
        let mut runner = Runner::new(self.clock, Arc::new(target), timeouts(self.config), Arc::clone(&live));
        let load = &self.config.load;
        runner.lead_in = load.lead_in();
        runner.measured = load.offer.as_ref().and_then(|offer| offer.measured);
        runner.until_steady = load.until_steady.then_some(load.steady_window_s);
        runner.records_series = records_series;
        // Without a rate or with a limit it is known how many connections there will be.
        let is_unlimited = load.offer.as_ref().is_some_and(|offer| offer.max_concurrency.is_none());
        let is_open = is_unlimited && plan.requests_per_second.is_some();
        runner.spare_connections = if is_open { SPARE_CONNECTIONS } else { 0 };
        runner.keeps_gaps = self.config.output.requests_jsonl.is_some();
        let streams = usize::try_from(plan.streams).unwrap_or(usize::MAX);
        let opened = runner.open(streams);
        if signal::received().is_some() {
            return Ok(None);
        }
        opened.map_err(|failure| {
            // Messages about limits or certificates have advice of their own.
            let has_advice = limits::has_advice(&failure.text) || !trust::advice(&failure.text).is_empty();
            let advice = if has_advice {
                ""
            } else {
                "; check --engine-url, and that the engine runs"
            };
            Error::Environment(format!("{}{advice}", failure.text))
        })?;
        let display = Display::start(progress, Arc::clone(&live));
        Ok(Some(Opened { runner, display, live }))
    }

    /// Runs warmup and measured phase of the only load.
    fn measure(
        &mut self,
        workload: &mut dyn Workload,
        plan: &Plan,
        opened: Option<Opened>,
    ) -> Result<PhaseSamples, Error> {
        let Some(mut opened) = opened else {
            return Ok(PhaseSamples::default());
        };
        let samples = self.phases(workload, plan, &mut opened.runner, &opened.live);
        let stopped = signal::received().is_some();
        opened.live.note(if stopped { "Stopped" } else { "Benchmark complete" });
        opened.display.stop();
        Ok(samples?.unwrap_or_default())
    }

    /// Runs warmup and measured phase, with the servers' counters read around them. `None`: a signal came before the latter.
    fn phases(
        &mut self,
        workload: &mut dyn Workload,
        plan: &Plan,
        runner: &mut Runner,
        live: &Live,
    ) -> Result<Option<PhaseSamples>, Error> {
        let watches = workload.watches_lookups();
        if self.config.warmup {
            if watches {
                workload.looked_up(Moment::BeforeWarmup, self.counters.lookups())?;
            }
            live.note("Warmup");
            live.aim(Goal::default());
            let warmup = runner.run(workload, Phase::Warmup);
            self.warnings.extend(warmup_warning(&warmup));
        }
        if signal::received().is_some() {
            return Ok(None);
        }
        let before = self.counters.read();
        if watches {
            workload.looked_up(Moment::AfterWarmup, before.lookups)?;
        }
        live.note(what_follows(runner, self.config.load.offer.as_ref(), plan));
        let time = runner.measured.map(|measured| runner.lead_in + measured);
        live.aim(Goal {
            requests: Some(plan.requests),
            time: time.filter(|_| runner.until_steady.is_none()),
        });
        let samples = runner.run(workload, Phase::Measured);
        if signal::received().is_none() {
            let after = self.counters.read_again(&before);
            if watches {
                workload.looked_up(Moment::AfterMeasured, after.lookups)?;
            }
            let counted = Counted::between(&before, &after, samples.elapsed_s());
            self.prompt_sources = counted.section;
            if !counted.impossible.is_empty() {
                let counters = counted.impossible.join(", ");
                let warning = StreamWarning::ImpossibleCounters { counters };
                self.warnings.push(Warning::Stream(warning));
            }
            let unanswered = before.unanswered.into_iter().chain(after.unanswered);
            self.warnings
                .extend(unanswered.map(|page| Warning::NoCounters { page }));
        }
        Ok(Some(samples))
    }

    /// The engine under test, for the result file.
    fn target(&self) -> Map<String, Json> {
        let lmcache_url = self.config.lmcache_url.as_deref().map(without_password);
        let known = [
            ("engine_url", Some(without_password(&self.config.base_url()))),
            ("model", Some(self.config.model.clone())),
            ("engine_version", self.version.clone()),
            ("lmcache_url", lmcache_url),
        ];
        let known = known.into_iter();
        known
            .filter_map(|(name, text)| Some((name.to_owned(), text?.into())))
            .collect()
    }
}

/// The load that a run asks for: by flags, or by the workload.
fn asked(load: &LoadConfig, offer: Option<&Offer>, plan: &Plan) -> Asked {
    Asked {
        per_second: plan.requests_per_second,
        max_concurrency: offer.and_then(|offer| offer.max_concurrency),
        measured: offer.and_then(|offer| offer.measured),
        steady_window_s: offer
            .filter(|offer| could_be_steady(load, offer))
            .map(|_| load.steady_window_s),
    }
}

/// Whether a run may be as long as the window of the rule for a steady state.
fn could_be_steady(load: &LoadConfig, offer: &Offer) -> bool {
    let window = Duration::from_secs(load.steady_window_s as u64);
    load.until_steady || offer.measured.is_none_or(|measured| measured >= window)
}

/// What the measured phase is going to do, for people.
fn what_follows(runner: &Runner, offer: Option<&Offer>, plan: &Plan) -> String {
    let Some(measured) = runner.measured else {
        return format!("Measuring {} requests", plan.requests);
    };
    let before = match runner.lead_in.is_zero() {
        true => String::new(),
        false => format!(" after {:?}", runner.lead_in),
    };
    let or_before = match offer.and_then(|offer| offer.requests) {
        Some(requests) => format!(", at most {requests} requests"),
        None => String::new(),
    };
    match runner.until_steady {
        Some(_) => format!("Measuring until steady{before}, for {measured:?} at most{or_before}"),
        None => format!("Measuring for {measured:?}{before}{or_before}"),
    }
}

/// Raises the limit on open files, of which every connection is one.
fn allow_connections(streams: u64) -> Result<(), Warning> {
    let wanted = streams.saturating_add(OTHER_FILES);
    match socket::raise_open_file_limit(wanted) {
        Ok(allowed) if allowed < wanted => Err(Warning::FewOpenFiles { allowed, wanted }),
        // Where the limit cannot be read, the first connection that fails reports it.
        _ => Ok(()),
    }
}

fn warmup_warning(warmup: &PhaseSamples) -> Option<Warning> {
    let mut failures = warmup.records.iter().filter_map(|record| record.why_failed());
    let first = failures.next()?.text;
    Some(Warning::WarmupFailed {
        failed: 1 + failures.count() as u64,
        all: warmup.records.len() as u64,
        first,
    })
}

fn timeouts(config: &EngineConfig) -> line::Timeouts {
    let limits = &config.timeouts;
    line::Timeouts {
        connect: limits.connect.unwrap_or(NO_LIMIT),
        first_token: limits.first_token.unwrap_or(NO_LIMIT),
        stall: limits.stall.unwrap_or(NO_LIMIT),
        total: limits.request.unwrap_or(NO_LIMIT),
    }
}
