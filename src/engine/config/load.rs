//! How load is offered and judged: what the flags of the group "Load" come to.

use std::time::Duration;

use crate::load::offer::Offer;
use crate::load::slo::Slo;
use crate::load::sweep::{Axis, Sweep};

/// The default is the workload's own pacing, measured from its first request on, without a judgement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadConfig {
    /// Replaces the workload's pacing.
    pub offer: Option<Offer>,
    /// The run ends when it is steady.
    pub until_steady: bool,
    /// Seconds that the rule for a steady state looks at.
    pub steady_window_s: usize,
    pub slo: Slo,
    pub plan: RunPlan,
    /// Pause between steps.
    pub cooldown: Duration,
    /// Whether all steps send the same prompts.
    pub reuse: bool,
}

/// An offer at another load.
pub fn at(offer: &Offer, axis: Axis, load: f64) -> Offer {
    match axis {
        Axis::Rate => offer.at_rate(load),
        Axis::Concurrency => offer.at_concurrency(load as u64),
    }
}

/// How many loads are measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RunPlan {
    #[default]
    Single,
    Sweep {
        sweep: Sweep,
        repeats: u64,
    },
    FindMax {
        axis: Axis,
        /// The first load.
        start: f64,
        budget: Duration,
    },
    /// The tiers of the KV cache are measured, with documents in place of a workload.
    Staircase {
        staircase: Staircase,
        budget: Duration,
    },
}

/// What a staircase sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staircase {
    /// `None`: by the size of HBM.
    pub document_tokens: Option<u64>,
    /// Measured passes over each working set.
    pub passes: u64,
}

impl RunPlan {
    /// Whether one load is measured, so that there are requests and seconds to keep.
    pub fn is_single(&self) -> bool {
        *self == RunPlan::Single
    }

    pub fn is_staircase(&self) -> bool {
        matches!(self, RunPlan::Staircase { .. })
    }
}

impl LoadConfig {
    /// What replaces the workload's own pacing, for people.
    pub fn sentence(&self) -> Option<String> {
        if let RunPlan::Staircase { budget, .. } = &self.plan {
            return Some(format!("Staircase: one request in flight, within {budget:?}"));
        }
        let offer = self.offer.as_ref()?;
        Some(match &self.plan {
            RunPlan::Staircase { .. } => return None,
            RunPlan::Single if self.until_steady => format!("Load: {offer} at most, until steady"),
            RunPlan::Single => format!("Load: {offer}"),
            RunPlan::Sweep { sweep, repeats } => {
                let repeats = match repeats {
                    1 => String::new(),
                    repeats => format!(", {repeats} times each"),
                };
                format!("Sweep: {sweep}{}{repeats}", offer.phases())
            }
            RunPlan::FindMax { axis, budget, .. } => format!(
                "Search: the highest {} that keeps {}{}, within {budget:?}",
                axis.name(),
                self.slo,
                offer.phases()
            ),
        })
    }

    /// The load of the run, or of its first step.
    pub fn first_offer(&self) -> Option<Offer> {
        let offer = self.offer.clone()?;
        Some(match &self.plan {
            RunPlan::Single | RunPlan::Staircase { .. } => offer,
            RunPlan::Sweep { sweep, .. } => at(&offer, sweep.axis, sweep.loads[0]),
            RunPlan::FindMax { axis, start, .. } => at(&offer, *axis, *start),
        })
    }

    /// How long after the beginning of the measured phase requests begin to count.
    pub fn lead_in(&self) -> Duration {
        self.offer.as_ref().map_or(Duration::ZERO, Offer::lead_in)
    }
}
