//! How load is offered and judged: what the flags of the group "Load" come to.

use std::time::Duration;

use crate::load::offer::Offer;
use crate::load::slo::Slo;

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
}

impl LoadConfig {
    /// How long after the beginning of the measured phase requests begin to count.
    pub fn lead_in(&self) -> Duration {
        self.offer.as_ref().map_or(Duration::ZERO, Offer::lead_in)
    }
}
