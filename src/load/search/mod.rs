//! The search for the highest load that keeps its limits: doubling until a probe fails, bisection until the two ends are within
//! 5 %, then confirmation of both ends over a full duration each. A state machine: it says what to measure next and is told how
//! that went.

use super::probe::Outcome;
use super::sweep::Axis;

/// Short probes, at most; a search that needs more has not found where to look.
pub const PROBES_MAX: usize = 12;
/// Confirmations, at most.
pub const CONFIRMATIONS_MAX: usize = 12;
/// The two ends are close when the upper is at most so much above the lower.
const CLOSE: f64 = 1.05;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub axis: Axis,
    /// The load of the first probe.
    pub start: f64,
    /// How long a short probe takes, its ramp included, where a time ends it.
    pub probe_s: Option<f64>,
    /// The same of a confirmation.
    pub confirm_s: Option<f64>,
    /// The requests that end either, if they are sent before its time is over.
    pub requests: Option<u64>,
}

impl Settings {
    /// How long an action takes that sends requests for so many seconds; 0 where that is not known.
    fn cost_s(&self, load: f64, by_time_s: Option<f64>) -> f64 {
        let requests = self.requests.filter(|_| self.axis == Axis::Rate);
        let by_count_s = requests.map(|requests| requests as f64 / load);
        by_time_s.into_iter().chain(by_count_s).reduce(f64::min).unwrap_or(0.0)
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Measure this load for a short time.
    Probe(f64),
    /// Measure this load for a full duration.
    Confirm(f64),
    Done(Ended),
}

/// Why a search is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ended {
    /// The two ends are within 5 %, and both were measured for a full duration.
    Found,
    /// The greatest load that can be set holds.
    Most,
    /// Nothing held, down to the least load that was tried.
    NothingHolds,
    /// The number of probes or of confirmations was used up.
    Probes,
    /// What comes next would take longer than what is left of the budget.
    Budget,
    /// The limits held over a full duration, on too few samples; a duration of so many seconds would do.
    TooFew { needed_s: f64 },
}

/// One measurement of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    pub load: f64,
    /// Over a full duration.
    pub is_full: bool,
    pub outcome: Outcome,
}

/// A load and how well it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    pub load: f64,
    /// Measured over a full duration, not only by a short probe.
    pub is_confirmed: bool,
}

/// What is known, at the end or before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The highest load that held.
    pub holds: Option<Bound>,
    /// The lowest load above it that failed.
    pub fails: Option<Bound>,
}

#[derive(Clone, Debug)]
pub struct Search {
    settings: Settings,
    probes: Vec<Probe>,
    /// The ends between which the answer is looked for. After a failed confirmation the lower one may be a guess that has not
    /// been measured, and so may the upper one after a confirmation that held.
    lower: Option<Bound>,
    upper: Option<Bound>,
}

impl Search {
    pub fn new(settings: Settings) -> Search {
        Search {
            settings,
            probes: Vec::new(),
            lower: None,
            upper: None,
        }
    }

    /// All measurements, in their order.
    pub fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// What to do with so many seconds left.
    pub fn next(&self, left_s: f64) -> Action {
        let action = match self.narrowing() {
            Some(action) => action,
            None => self.confirming(),
        };
        let cost_s = match action {
            Action::Probe(load) => self.settings.cost_s(load, self.settings.probe_s),
            Action::Confirm(load) => self.settings.cost_s(load, self.settings.confirm_s),
            Action::Done(_) => return action,
        };
        match cost_s <= left_s {
            true => action,
            false => Action::Done(Ended::Budget),
        }
    }

    /// Takes the outcome of what [`Search::next`] asked for.
    pub fn record(&mut self, probe: Probe) {
        let Probe { load, is_full, .. } = probe;
        let bound = Some(Bound {
            load,
            is_confirmed: is_full,
        });
        let guess = |load: f64| {
            Some(Bound {
                load,
                is_confirmed: false,
            })
        };
        match (probe.outcome.has_held(), is_full) {
            (true, false) => self.lower = bound,
            (false, false) => self.upper = bound,
            (true, true) => {
                self.lower = bound;
                if self.upper.is_some_and(|upper| upper.load <= load) {
                    self.upper = guess(self.above(load)).filter(|upper| upper.load > load);
                }
            }
            (false, true) => {
                self.upper = bound;
                if self.lower.is_some_and(|lower| lower.load >= load) {
                    self.lower = guess(self.below(load)).filter(|lower| lower.load < load);
                }
            }
        }
        self.probes.push(probe);
    }

    /// What is known so far.
    pub fn answer(&self) -> Answer {
        let full = |held: bool| {
            let probes = self.probes.iter().filter(move |probe| probe.is_full);
            probes.filter(move |probe| probe.outcome.has_held() == held)
        };
        let lowest_failed = full(false).map(|probe| probe.load).reduce(f64::min);
        let sound = full(true).filter(|probe| probe.outcome.is_passed());
        let confirmed = sound.map(|probe| probe.load).reduce(f64::max);
        // A short probe says nothing where a full duration has failed.
        let below = |load: &f64| lowest_failed.is_none_or(|failed| *load < failed);
        let held = self.probes.iter().filter(|probe| probe.outcome.has_held());
        let held = held.map(|probe| probe.load).filter(below).reduce(f64::max);
        let holds = match confirmed {
            Some(load) => Some(Bound {
                load,
                is_confirmed: true,
            }),
            None => held.map(|load| Bound {
                load,
                is_confirmed: false,
            }),
        };
        let failed = self.probes.iter().filter(|probe| !probe.outcome.has_held());
        let above = failed.filter(|probe| holds.is_none_or(|bound| probe.load > bound.load));
        let fails = above.map(|probe| probe.load).reduce(f64::min).map(|load| Bound {
            load,
            is_confirmed: full(false).any(|probe| probe.load == load),
        });
        Answer { holds, fails }
    }

    /// The next short probe; `None` when it is time to confirm.
    fn narrowing(&self) -> Option<Action> {
        if self.probes.iter().any(|probe| probe.is_full) {
            return None;
        }
        let axis = self.settings.axis;
        let wanted = match (self.lower, self.upper) {
            (None, None) => axis.rounded(self.settings.start),
            (None, Some(upper)) => axis.rounded(upper.load / 2.0),
            (Some(lower), None) => axis.rounded(lower.load * 2.0),
            (Some(lower), Some(upper)) => {
                if self.is_close(lower.load, upper.load) {
                    return None;
                }
                axis.rounded((lower.load + upper.load) / 2.0)
            }
        };
        if self.probes.iter().any(|probe| probe.load == wanted) {
            // The least or the greatest load that can be set.
            return match self.lower {
                Some(_) => None,
                None => Some(Action::Done(Ended::NothingHolds)),
            };
        }
        match (self.probes.len() < PROBES_MAX, self.lower) {
            (true, _) => Some(Action::Probe(wanted)),
            (false, Some(_)) => None,
            (false, None) => Some(Action::Done(Ended::NothingHolds)),
        }
    }

    fn confirming(&self) -> Action {
        let full = || self.probes.iter().filter(|probe| probe.is_full);
        if let Some(needed_s) = full().find_map(needed_s) {
            return Action::Done(Ended::TooFew { needed_s });
        }
        let (wanted, otherwise) = match (self.lower, self.upper) {
            (None, _) => (None, Ended::NothingHolds),
            (Some(lower), _) if !lower.is_confirmed => (Some(lower.load), Ended::Probes),
            (Some(lower), None) if lower.load >= self.settings.axis.most() => (None, Ended::Most),
            (Some(_), None) => (None, Ended::Probes),
            (Some(_), Some(upper)) if upper.is_confirmed => (None, Ended::Found),
            (Some(lower), Some(upper)) => {
                let is_close = self.is_close(lower.load, upper.load);
                (is_close.then_some(upper.load), Ended::Probes)
            }
        };
        match wanted {
            Some(load) if full().count() < CONFIRMATIONS_MAX => Action::Confirm(load),
            _ => Action::Done(otherwise),
        }
    }

    fn is_close(&self, lower: f64, upper: f64) -> bool {
        let is_next = self.settings.axis == Axis::Concurrency && upper - lower <= 1.0;
        // Rounding must not make 5 % more than 5 % more.
        is_next || upper <= lower * CLOSE * (1.0 + 1e-9)
    }

    /// 5 % less, at least one less of a whole number.
    fn below(&self, load: f64) -> f64 {
        match self.settings.axis {
            Axis::Rate => load / CLOSE,
            Axis::Concurrency => Axis::Concurrency.rounded((load / CLOSE).min(load - 1.0)),
        }
    }

    /// 5 % more, at least one more of a whole number.
    fn above(&self, load: f64) -> f64 {
        match self.settings.axis {
            Axis::Rate => Axis::Rate.rounded(load * CLOSE),
            Axis::Concurrency => Axis::Concurrency.rounded((load * CLOSE).max(load + 1.0)),
        }
    }
}

fn needed_s(probe: &Probe) -> Option<f64> {
    match probe.outcome {
        Outcome::TooFew { needed_s, .. } => Some(needed_s),
        _ => None,
    }
}

#[cfg(test)]
mod queue;
#[cfg(test)]
mod tests;
