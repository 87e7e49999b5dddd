//! What several loads came to: the steps of a sweep or search, what they say together, and what is wrong with them.

use super::warning::{StepsWarning, late_ms_p99};
use crate::engine::config::{EngineConfig, PromptText};
use crate::engine::results::delivered::{HeldBy, SteadyState};
use crate::engine::results::step::Step;
use crate::load::search::{Answer, Ended, Probe};
use crate::load::slo::Slo;
use crate::load::sweep::{Axis, load_text};

/// Everything that was measured.
#[derive(Default)]
pub struct Several {
    pub axis: Option<Axis>,
    /// The limits of every step.
    pub slo: Slo,
    /// In the order in which they were measured.
    pub steps: Vec<Step>,
    /// The first load of a sweep, measured again at the end.
    pub again: Option<Step>,
    /// How far that is from the first time, if it is far.
    pub drift: Option<f64>,
    /// Of a search.
    pub found: Option<Found>,
    /// Whether every step was measured.
    pub is_complete: bool,
    /// Why a step could not be run.
    pub failure: Option<String>,
}

/// What a search came to.
pub struct Found {
    pub answer: Answer,
    /// `None` if a signal ended it.
    pub ended: Option<Ended>,
    /// One for each step.
    pub probes: Vec<Probe>,
}

impl Several {
    /// What made the run fail, for stderr. Requests that fail at some load are a result, those of all loads are none.
    pub fn problem(&self) -> Option<String> {
        if let Some(cause) = &self.failure {
            return Some(format!(
                "a step could not be run: {cause}; the report has the steps before it"
            ));
        }
        let measured = || self.steps.iter().chain(&self.again);
        let all: u64 = measured().map(|step| step.evaluated.figures.failed).sum();
        let has_answers = measured().any(|step| step.evaluated.figures.successful > 0);
        let mut messages = measured().flat_map(|step| step.evaluated.detail.messages.iter());
        let (text, _) = messages.next().filter(|_| !has_answers)?;
        Some(format!(
            "all {all} requests of all steps failed, the first with: {text}"
        ))
    }

    /// The criterion that no load keeps, for stderr. Of a search only when it ended by itself.
    pub fn broken(&self) -> Option<&'static str> {
        match &self.found {
            Some(found) => (found.ended.is_some() && found.answer.holds.is_none())
                .then_some("--find-max found no load that keeps --slo; the report has the probes"),
            None => {
                let is_judged = self.is_complete && self.slo.limits.iter().any(|limit| limit.percentile.is_some());
                (is_judged && !self.steps.iter().any(Step::is_kept))
                    .then_some("no load of --sweep keeps every percentile of --slo; the report has the steps")
            }
        }
    }

    pub fn warnings(&self, config: &EngineConfig) -> Vec<StepsWarning> {
        let mut warnings = Vec::new();
        let failed: u64 = self.steps.iter().map(|step| step.evaluated.figures.failed).sum();
        if failed > 0 {
            warnings.push(StepsWarning::WithFailures { failed });
        }
        let late = |step: &Step| late_ms_p99(&step.evaluated.detail);
        if let Some(ms_p99) = self.steps.iter().filter_map(late).reduce(f64::max) {
            let loads = self.loads(|step| late(step).is_some());
            warnings.extend(loads.map(|loads| StepsWarning::ClientBound { loads, ms_p99 }));
        }
        let is_held = |step: &Step| {
            let lateness_ms = step.evaluated.detail.lateness_ms.spread.mean;
            let by = step.evaluated.delivered.held_by(lateness_ms);
            by.is_some_and(|by| by != HeldBy::Client)
        };
        warnings.extend(self.loads(is_held).map(|loads| StepsWarning::HeldBack { loads }));
        let void = self.loads(|step| self.is_void(step));
        warnings.extend(void.map(|loads| StepsWarning::LittleBroken { loads }));
        warnings.extend(self.of_single_loads(config.load.until_steady));
        if let Some(cause) = &self.failure {
            warnings.push(StepsWarning::Failed { cause: cause.clone() });
        }
        warnings.extend(self.drift.map(|share| StepsWarning::Drift { share }));
        let reuses = config.load.reuse || config.workload.prompt_text == PromptText::Given;
        if reuses && self.steps.len() > 1 {
            warnings.push(StepsWarning::SamePrompts);
        }
        if let Some(Ended::TooFew { needed_s }) = self.found.as_ref().and_then(|found| found.ended) {
            warnings.push(StepsWarning::TooFewSamples { needed_s });
        }
        warnings
    }

    /// Those of some steps, as in "rate 1, 2"; `None` without any.
    fn loads(&self, of: impl Fn(&Step) -> bool) -> Option<String> {
        let mut loads: Vec<String> = Vec::new();
        for step in self.steps.iter().filter(|step| of(step)) {
            let load = load_text(step.load);
            if !loads.contains(&load) {
                loads.push(load);
            }
        }
        let axis = self.axis.filter(|_| !loads.is_empty())?;
        Some(format!("{} {}", axis.name(), loads.join(", ")))
    }

    /// Points of a closed loop for which Little's law does not hold count for nothing that the points say together.
    fn is_void(&self, step: &Step) -> bool {
        self.axis == Some(Axis::Concurrency) && step.breaks_littles_law()
    }

    /// What is a warning of a run with one load, with the loads that it is about.
    fn of_single_loads(&self, until_steady: bool) -> Vec<StepsWarning> {
        let skipped = |step: &Step| step.evaluated.delivered.skipped;
        let is_steady = |step: &Step| !matches!(step.evaluated.delivered.steady, Some(SteadyState::Not(_)));
        let unmeasured = self.loads(|step| step.evaluated.delivered.nothing_measured());
        let unsteady = self.loads(|step| until_steady && !is_steady(step));
        let left_out = self.loads(|step| skipped(step).turns > 0);
        let repeated = self.loads(|step| skipped(step).repeats > 0);
        [
            unmeasured.map(|loads| StepsWarning::NotMeasured { loads }),
            unsteady.map(|loads| StepsWarning::NotSteady { loads }),
            left_out.map(|loads| StepsWarning::SkippedTurns { loads }),
            repeated.map(|loads| StepsWarning::RepeatedPrompts { loads }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The steps that count for saturation and knee, in the order of their loads.
    pub fn sound(&self) -> Vec<&Step> {
        self.steps.iter().filter(|step| !self.is_void(step)).collect()
    }
}
