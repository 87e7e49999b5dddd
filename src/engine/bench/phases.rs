//! Warmup and measured phase of one load, with what the servers count read around them.

use super::Run;
use super::tracking::Reading;
use crate::engine::ask::prompt_sources::Counted;
use crate::engine::ask::server_counters::Snapshot;
use crate::engine::report::warning::{StreamWarning, Warning};
use crate::engine::run::live::{Goal, Live};
use crate::engine::run::runner::Runner;
use crate::engine::samples::phase::PhaseSamples;
use crate::engine::workload::{Moment, Phase, Plan, Workload};
use crate::error::Error;
use crate::load::offer::Offer;
use crate::sys::signal;

impl Run<'_> {
    /// Runs warmup and measured phase, with the servers' counters read around them. `None`: a signal came before the latter.
    pub(super) fn phases(
        &mut self,
        workload: &mut dyn Workload,
        plan: &Plan,
        runner: &mut Runner,
        live: &Live,
    ) -> Result<Option<PhaseSamples>, Error> {
        let watches = workload.watches_lookups();
        let mut last = self.tracking.is_some().then(|| Reading::first(&self.counters));
        if self.config.warmup {
            if watches {
                workload.looked_up(Moment::BeforeWarmup, self.counters.lookups())?;
            }
            live.note("Warmup");
            live.aim(Goal::default());
            let mut warmup = runner.run(workload, Phase::Warmup);
            self.warnings.extend(warmup_warning(&warmup));
            if signal::received().is_none() {
                last = self.track("warmup", last, &mut warmup);
            }
        }
        if signal::received().is_some() {
            return Ok(None);
        }
        let before = last.unwrap_or_else(|| self.read(watches));
        if watches {
            workload.looked_up(Moment::AfterWarmup, before.snapshot.lookups)?;
        }
        live.note(what_follows(runner, self.config.load.offer.as_ref(), plan));
        let time = runner.measured.map(|measured| runner.lead_in + measured);
        live.aim(Goal {
            requests: Some(plan.requests),
            time: time.filter(|_| runner.until_steady.is_none()),
        });
        let mut samples = runner.run(workload, Phase::Measured);
        if signal::received().is_none() {
            self.count(workload, watches, before, &mut samples)?;
        }
        Ok(Some(samples))
    }

    /// Reads the counters after the measured phase.
    fn count(
        &mut self,
        workload: &mut dyn Workload,
        watches: bool,
        before: Reading,
        samples: &mut PhaseSamples,
    ) -> Result<(), Error> {
        let first = before.snapshot.clone();
        let after = match self.track("measured", Some(before), samples) {
            Some(after) => after.snapshot,
            None if self.reads_pages(watches) => self.counters.read_again(&first),
            None => Snapshot::default(),
        };
        if watches {
            workload.looked_up(Moment::AfterMeasured, after.lookups)?;
        }
        let counted = Counted::between(&first, &after, samples.elapsed_s());
        self.prompt_sources = counted.section;
        if !counted.impossible.is_empty() {
            let counters = counted.impossible.join(", ");
            let warning = StreamWarning::ImpossibleCounters { counters };
            self.warnings.push(Warning::Stream(warning));
        }
        let unanswered = first.unanswered.into_iter().chain(after.unanswered);
        for page in unanswered {
            let warning = Warning::NoCounters { page };
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        Ok(())
    }

    /// Reads the counters after a phase and keeps what they say; `None` without a ledger.
    fn track(&mut self, name: &'static str, before: Option<Reading>, samples: &mut PhaseSamples) -> Option<Reading> {
        let (tracking, before) = (self.tracking.as_mut()?, before?);
        let after = Reading::after(&self.counters, &before, &samples.usage);
        tracking.add(name, &before, &after, samples);
        Some(after)
    }

    /// The counters before the measured phase of a run without a ledger.
    fn read(&self, watches: bool) -> Reading {
        Reading::now(match self.reads_pages(watches) {
            true => self.counters.read(),
            false => Snapshot::default(),
        })
    }

    fn reads_pages(&self, watches: bool) -> bool {
        watches || !self.config.tiers.no_ledger
    }
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

fn warmup_warning(warmup: &PhaseSamples) -> Option<Warning> {
    let mut failures = warmup.records.iter().filter_map(|record| record.why_failed());
    let first = failures.next()?.text;
    Some(Warning::WarmupFailed {
        failed: 1 + failures.count() as u64,
        all: warmup.records.len() as u64,
        first,
    })
}
