//! One `engine` run from settings to exit code: workload, the client's own error, connections, warmup, measured phase, report.
//! After a failure or a signal, what was measured before it is still reported.

mod accounting;
mod expectation;
mod outlook;
mod phases;
mod report;
mod staircase;
mod steps;
mod tracking;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json};

use crate::cli::Format;
use crate::engine::api_key;
use crate::engine::ask::clear::clear_caches;
use crate::engine::ask::discover::Engine;
use crate::engine::ask::server_counters::ServerCounters;
use crate::engine::ask::version::engine_version;
use crate::engine::config::EngineConfig;
use crate::engine::config::load::LoadConfig;
use crate::engine::flags::EngineArgs;
use crate::engine::report::display::Display;
use crate::engine::report::outputs::Outputs;
use crate::engine::report::warning::Warning;
use crate::engine::results::delivered::Asked;
use crate::engine::run::certificate::{self, ClientError};
use crate::engine::run::live::Live;
use crate::engine::run::runner::Runner;
use crate::engine::samples::phase::PhaseSamples;
use crate::engine::settings::keyboard::Stdin;
use crate::engine::settings::setup::{Outcome, resolve};
use crate::engine::timestamp::Clock;
use crate::engine::tokens::Tokenizer;
use crate::engine::wire::line;
use crate::engine::wire::target::Target;
use crate::engine::workload::{self, Plan, Workload};
use crate::error::Error;
use crate::http::api_key::ApiKey;
use crate::http::trust;
use crate::load::offer::Offer;
use crate::report::progress::Progress;
use crate::report::prompt::Prompter;
use crate::result::model::Section;
use crate::run;
use crate::run::output::Output;
use crate::status::Status;
use crate::sys::ending::saving;
use crate::sys::{limits, panic, signal, socket};
use crate::url::without_password;
use accounting::Accounted;
use tracking::Tracking;

use staircase::Planned;

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
    let counters = ServerCounters::new(&config, &key, lmcache_key);
    let planned = Planned::of(&config, &tokenizer, &key, &counters)?;
    let mut workload = first_workload(&config, &tokenizer, planned.as_ref())?;
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
        counters,
        key: &key,
        prompt_sources: None,
        tracking: None,
    };
    run.prepare(&tokenizer, &plan, &mut progress)?;
    if let Some(note) = tokenizer.note(&config) {
        run.warnings.push(Warning::PromptLengths { note });
    }
    if config.load.plan.is_single() {
        files.tell(folder_problem, &mut progress);
    }
    if output.saves_samples() {
        run.version = engine_version(&config.base_url(), &key);
    }
    let replay = run.certify(&plan, &mut progress);
    let opened = run.open(&plan, target, progress, output.saves_samples())?;
    if let Some(planned) = planned {
        return run.staircase(planned, opened, replay, &output);
    }
    if !config.load.plan.is_single() {
        // Each step makes its own.
        drop(workload);
        return run.steps(&tokenizer, opened, replay, &output);
    }
    let (samples, accounted) = run.measure(&mut *workload, &plan, opened)?;
    Ok(run.report(&samples, &mut *workload, replay, accounted, &files, &output))
}

/// The workload of the run or of its first step.
fn first_workload(
    config: &EngineConfig,
    tokenizer: &Tokenizer,
    planned: Option<&Planned>,
) -> Result<Box<dyn Workload>, Error> {
    if let Some(planned) = planned {
        return Ok(planned.workload());
    }
    let mut workload = workload::create(config, tokenizer)?;
    if let Some(offer) = config.load.first_offer() {
        workload.offer(offer);
    }
    Ok(workload)
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
    key: &'a ApiKey,
    /// The section of where prompt tokens came from, by `counters` during the measured phase.
    prompt_sources: Option<Section>,
    /// Of a run with one load.
    tracking: Option<Tracking>,
}

impl Run<'_> {
    /// Empties the caches if that is asked for, and asks the servers what tiers they have. Runs with several loads have no ledger.
    fn prepare(&mut self, tokenizer: &Tokenizer, plan: &Plan, progress: &mut Progress) -> Result<(), Error> {
        let (plan_is_single, is_staircase) = (self.config.load.plan.is_single(), self.config.load.plan.is_staircase());
        // The steps of a sweep or search begin with it each.
        if plan_is_single || is_staircase {
            for note in self.clear_caches()? {
                progress.line(&note);
            }
        }
        if plan_is_single && !self.config.tiers.no_ledger {
            let tracking = Tracking::begin(self.config, self.key, &self.counters);
            let paragraph = outlook::paragraph(&tracking, self.config, tokenizer, plan, self.key);
            paragraph.iter().flatten().for_each(|line| progress.line(line));
            self.tracking = Some(tracking);
        }
        Ok(())
    }

    /// Empties the caches before a load, with `--clear-cache`. Sentences about what was emptied and what was not.
    fn clear_caches(&self) -> Result<Vec<String>, Error> {
        if !self.config.tiers.clear {
            return Ok(Vec::new());
        }
        let base_url = self.config.base_url();
        let engine = Engine {
            base_url: &base_url,
            key: self.key,
        };
        let clearing = clear_caches(engine, self.counters.cache_server())?;
        let emptied = clearing
            .cleared
            .iter()
            .map(|cleared| format!("Emptied the cache: {}", cleared.url));
        let left = clearing.left.iter().map(|left| format!("Note: {left}"));
        Ok(emptied.chain(left).collect())
    }

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
        if self.tracking.as_ref().is_some_and(Tracking::expects_hits) {
            runner.keep_bodies();
        }
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
    ) -> Result<(PhaseSamples, Accounted), Error> {
        let Some(mut opened) = opened else {
            return Ok(Default::default());
        };
        let samples = self.phases(workload, plan, &mut opened.runner, &opened.live);
        let stopped = signal::received().is_some();
        opened.live.note(if stopped { "Stopped" } else { "Benchmark complete" });
        let mut progress = opened.display.stop();
        let samples = samples?.unwrap_or_default();
        // Asking for tokens may outlast a signal.
        let saving = saving();
        let accounted = panic::caught(|| self.account(&samples, &mut progress)).unwrap_or_default();
        drop(saving);
        Ok((samples, accounted))
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

/// Raises the limit on open files, of which every connection is one.
fn allow_connections(streams: u64) -> Result<(), Warning> {
    let wanted = streams.saturating_add(OTHER_FILES);
    match socket::raise_open_file_limit(wanted) {
        Ok(allowed) if allowed < wanted => Err(Warning::FewOpenFiles { allowed, wanted }),
        // Where the limit cannot be read, the first connection that fails reports it.
        _ => Ok(()),
    }
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
