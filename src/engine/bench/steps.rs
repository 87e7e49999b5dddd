//! Runs with several loads: the steps of a sweep, and the search for the highest load that keeps its limits. What was measured
//! before a signal or a failure is reported.

use std::time::{Duration, Instant};

use super::{Opened, Run, allow_connections, asked};
use crate::engine::config::load::{RunPlan, at};
use crate::engine::report::several::{Found, Several};
use crate::engine::report::steps;
use crate::engine::report::warning::Warning;
use crate::engine::results::evaluated::Evaluated;
use crate::engine::results::step::Step;
use crate::engine::run::certificate::ClientError;
use crate::engine::run::live::Stage;
use crate::engine::tokens::Tokenizer;
use crate::engine::workload::{self, Workload};
use crate::error::Error;
use crate::load::knee;
use crate::load::offer::Offer;
use crate::load::search::{Action, Ended, Probe, Search, Settings};
use crate::load::slo::Slo;
use crate::load::sweep::{Axis, Sweep, load_text};
use crate::run;
use crate::run::output::Output;
use crate::status::Status;
use crate::sys::ending::saving;
use crate::sys::signal;

/// A short probe takes this share of a full one.
const SHORT_SHARE: u32 = 3;
const SHORT_MIN: Duration = Duration::from_secs(5);
/// The percentile of limits without one, in a search.
const SEARCHED_PERCENTILE: f64 = 99.0;

/// Measures one load after the other.
struct Stepper<'a> {
    tokenizer: &'a Tokenizer,
    opened: Opened,
    axis: Axis,
    slo: Slo,
    /// Steps so far.
    number: u64,
    /// The most that a step took beyond its pause and the time in which its requests were sent.
    overhead: Duration,
    /// Between two steps.
    pause: Duration,
}

impl Stepper<'_> {
    /// How long the next step takes beyond the time in which its requests are sent.
    fn beside_sending(&self) -> Duration {
        let pause = if self.number > 0 { self.pause } else { Duration::ZERO };
        self.overhead.saturating_add(pause)
    }
}

impl Run<'_> {
    /// Runs the steps and reports them.
    pub(super) fn steps(
        &mut self,
        tokenizer: &Tokenizer,
        opened: Option<Opened>,
        replay: Option<ClientError>,
        output: &Output,
    ) -> Result<Status, Error> {
        let mut several = Several::default();
        let outcome = match opened {
            Some(opened) => self.all(tokenizer, opened, &mut several),
            None => Ok(()),
        };
        if let Err(failure) = outcome {
            // Nothing was measured that a report could show.
            if several.steps.is_empty() {
                return Err(failure);
            }
            several.failure = Some(failure.to_string());
        }
        Ok(self.report_steps(several, replay, output))
    }

    fn all(&mut self, tokenizer: &Tokenizer, opened: Opened, several: &mut Several) -> Result<(), Error> {
        let load = self.config.load.clone();
        let (axis, slo) = match &load.plan {
            RunPlan::Single | RunPlan::Staircase { .. } => return Ok(()),
            RunPlan::Sweep { sweep, .. } => (sweep.axis, load.slo.clone()),
            RunPlan::FindMax { axis, .. } => (*axis, load.slo.with_percentile(SEARCHED_PERCENTILE)),
        };
        several.axis = Some(axis);
        several.slo = slo.clone();
        let mut stepper = Stepper {
            tokenizer,
            opened,
            axis,
            slo,
            number: 0,
            overhead: Duration::ZERO,
            pause: load.cooldown,
        };
        let outcome = match &load.plan {
            RunPlan::Sweep { sweep, repeats } => self.sweep(&mut stepper, sweep, *repeats, several),
            RunPlan::FindMax { start, budget, .. } => self.find_max(&mut stepper, *start, *budget, several),
            RunPlan::Single | RunPlan::Staircase { .. } => Ok(()),
        };
        stepper.opened.display.stop();
        outcome
    }

    fn sweep(
        &mut self,
        stepper: &mut Stepper,
        sweep: &Sweep,
        repeats: u64,
        several: &mut Several,
    ) -> Result<(), Error> {
        let each = sweep.loads.iter().flat_map(|load| (0..repeats).map(|_| *load));
        // The first load again, to see whether the engine has changed meanwhile.
        let again = (sweep.loads.len() > 1).then_some(sweep.loads[0]);
        let loads: Vec<f64> = each.chain(again).collect();
        for (at, &load) in loads.iter().enumerate() {
            let offer = self.offer();
            let to_come = (loads.len() - at) as u32;
            let beside = stepper.beside_sending();
            let each = offer.measured.map(|measured| offer.lead_in() + measured + beside);
            let stage = Stage {
                title: format!(
                    "step {} of {}: {} {}",
                    at + 1,
                    loads.len(),
                    sweep.axis.name(),
                    load_text(load)
                ),
                all_end: each.map(|each| Instant::now() + each * to_come),
            };
            let Some(step) = self.step(stepper, load, offer, stage)? else {
                return Ok(());
            };
            let is_again = again.is_some() && at + 1 == loads.len();
            if is_again {
                several.drift = knee::drift(&several.steps[0].comparable(), &step.comparable());
                several.again = Some(step);
            } else {
                several.steps.push(step);
            }
        }
        several.is_complete = true;
        Ok(())
    }

    fn find_max(
        &mut self,
        stepper: &mut Stepper,
        start: f64,
        budget: Duration,
        several: &mut Several,
    ) -> Result<(), Error> {
        let began = Instant::now();
        let full = self.offer();
        // With a number of requests instead of a time, every probe is a full one.
        let short = full.measured.map(|time| (time / SHORT_SHARE).max(SHORT_MIN).min(time));
        let seconds = |measured: Option<Duration>| Some((full.lead_in() + measured?).as_secs_f64());
        let mut search = Search::new(Settings {
            axis: stepper.axis,
            start,
            probe_s: seconds(short),
            confirm_s: seconds(full.measured),
            requests: full.requests,
        });
        let runner = &mut stepper.opened.runner;
        runner.deadline = Some(self.clock.now().plus(budget));
        let mut outcome = Ok(());
        let ended = loop {
            let left = budget.saturating_sub(began.elapsed().saturating_add(stepper.beside_sending()));
            let (load, is_full) = match search.next(left.as_secs_f64()) {
                Action::Probe(load) => (load, false),
                Action::Confirm(load) => (load, true),
                Action::Done(ended) => break Some(ended),
            };
            let measured = if is_full { full.measured } else { short };
            let offer = Offer {
                measured,
                ..full.clone()
            };
            let kind = if is_full { "confirming" } else { "probing" };
            let shown = format!("{} {}", stepper.axis.name(), load_text(load));
            let stage = Stage {
                title: format!("{kind} {shown}"),
                all_end: Some(began + budget),
            };
            let step = match self.step(stepper, load, offer, stage) {
                Ok(Some(step)) => step,
                Ok(None) => break (began.elapsed() >= budget).then_some(Ended::Budget),
                Err(error) => {
                    outcome = Err(error);
                    break None;
                }
            };
            let held = step.outcome.clone();
            stepper.opened.live.note(format!("{shown}: {held}"));
            search.record(Probe {
                load,
                is_full,
                outcome: held,
            });
            several.steps.push(step);
        };
        several.is_complete = ended.is_some();
        several.found = Some(Found {
            answer: search.answer(),
            ended,
            probes: search.probes().to_vec(),
        });
        outcome
    }

    fn offer(&self) -> Offer {
        self.config
            .load
            .offer
            .clone()
            .expect("settings give every step an offer")
    }

    /// Measures one load. `None`: a signal came or the budget was used up, and the step is not whole.
    fn step(&mut self, stepper: &mut Stepper, load: f64, offer: Offer, stage: Stage) -> Result<Option<Step>, Error> {
        let is_over = || {
            stepper
                .opened
                .runner
                .deadline
                .is_some_and(|deadline| self.clock.now() >= deadline)
        };
        if stepper.number > 0 && !signal::wait(stepper.pause, is_over) {
            return Ok(None);
        }
        match self.measured_step(stepper, load, offer, stage) {
            // Prompts that a signal left unfinished.
            Err(_) if signal::received().is_some() => Ok(None),
            outcome => outcome,
        }
    }

    fn measured_step(
        &mut self,
        stepper: &mut Stepper,
        load: f64,
        offer: Offer,
        stage: Stage,
    ) -> Result<Option<Step>, Error> {
        let began = Instant::now();
        let number = stepper.number;
        stepper.number += 1;
        let of_step;
        let config = if self.config.load.reuse {
            self.config
        } else {
            of_step = self.config.of_step(number);
            &of_step
        };
        for note in self.clear_caches()? {
            stepper.opened.live.note(note);
        }
        stepper.tokenizer.start_over();
        let mut workload = workload::create(config, stepper.tokenizer)?;
        let offer = Offer {
            seed: offer.seed.wrapping_add(number),
            ..at(&offer, stepper.axis, load)
        };
        let sending = offer.sending().unwrap_or_default();
        workload.offer(offer.clone());
        let plan = workload.plan();
        self.warnings.extend(allow_connections(plan.streams).err());
        stepper.opened.live.enter(stage);
        let Opened { runner, live, .. } = &mut stepper.opened;
        runner.measured = offer.measured;
        // What cannot be opened now fails the request that needs it.
        let _ = runner.open(usize::try_from(plan.streams).unwrap_or(usize::MAX));
        let samples = self.phases(&mut *workload, &plan, runner, live)?;
        let Some(samples) = samples.filter(|_| !runner.is_interrupted()) else {
            return Ok(None);
        };
        self.note_warnings(&mut *workload);
        let asked = asked(&self.config.load, Some(&offer), &plan);
        let cut_short = samples.steady_since.is_some();
        let evaluated = Evaluated::of(
            &samples,
            &self.clock,
            asked,
            workload.skipped(),
            &stepper.slo,
            cut_short,
        );
        stepper.overhead = stepper.overhead.max(began.elapsed().saturating_sub(sending));
        Ok(Some(Step::of(load, &samples, evaluated)))
    }

    /// Takes the warnings of a workload; its section and files are about one load.
    fn note_warnings(&mut self, workload: &mut dyn Workload) {
        let conclusion = workload.conclude(false);
        self.warnings
            .extend(conclusion.warnings.into_iter().map(Warning::Workload));
    }

    fn report_steps(&mut self, several: Several, replay: Option<ClientError>, output: &Output) -> Status {
        let saving = saving();
        let interrupted = signal::received();
        // Each step has its own; the same is said once.
        let mut warnings: Vec<Warning> = Vec::new();
        let of_steps = several.warnings(self.config).into_iter().map(Warning::Steps);
        for warning in self.warnings.drain(..).chain(of_steps) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        let mut result = steps::result(self.config, &several, replay.as_ref(), &warnings, self.started);
        result.partial = interrupted.map(|signal| signal::name(signal).into());
        result.settings = self.config.settings.clone();
        result.target = self.target();
        output.complete(&mut result, || steps::samples(&several));
        drop(saving);
        let mut problems = output.write(&result);
        let said = |text: &str| format!("lmcache-bench engine: {text}");
        if interrupted.is_none() {
            problems.extend(several.problem().as_deref().map(said));
        }
        match several
            .broken()
            .filter(|_| interrupted.is_none() && problems.is_empty())
        {
            Some(broken) => Status::Broken(vec![said(broken)]),
            None => run::ended(interrupted, problems),
        }
    }
}
