//! The ledger of a run, after its last phase: sections, warnings, what each request was expected to find, and whether the shares
//! that were asked for are there.

use std::collections::HashMap;

use super::Run;
use super::expectation::Expectation;
use super::tracking::{Tracked, Tracking};
use crate::engine::report::expected;
use crate::engine::report::ledger::{self, PhaseLedger};
use crate::engine::report::warning::{LedgerWarning, Warning, ledger_warnings, tiers_warning};
use crate::engine::results::by_source::{Served, Tokens, ttft_ms};
use crate::engine::samples::phase::PhaseSamples;
use crate::ledger::balance::{Basis, Item, Ledger, Range};
use crate::ledger::expect::{Expected, ExpectedRequest};
use crate::ledger::require::{Requirement, Share, Source};
use crate::report::progress::Progress;
use crate::result::model::Section;

/// What a run adds to its report.
#[derive(Default)]
pub(super) struct Accounted {
    pub sections: Vec<Section>,
    /// By the id of measured requests.
    pub expected: HashMap<String, ExpectedRequest>,
    /// A sentence for each requirement that was not met.
    pub broken: Vec<String>,
}

impl Run<'_> {
    /// Accounts for the tokens of a run that was not ended early.
    pub(super) fn account(&mut self, samples: &PhaseSamples, progress: &mut Progress) -> Accounted {
        let Some(tracking) = self.tracking.take() else {
            return Accounted::default();
        };
        if tracking.phases.last().is_none_or(|phase| phase.name != "measured") {
            return Accounted::default();
        }
        let expectation = Expectation::of(&tracking, self.config, self.key, progress);
        let phases: Vec<PhaseLedger> = tracking.phases.iter().map(Tracked::ledger).collect();
        let mut sections = ledger::sections(&phases, Some(&tracking.tiers));
        let chunk = tracking.tiers.chunk_tokens.value;
        let mut warnings: Vec<LedgerWarning> = ledger_warnings(&phases, chunk);
        if self.config.tiers.sizes.is_some() || self.config.has_lmcache() {
            let is_why = expectation.is_ok() || (tracking.unexpected.is_none() && !tracking.expects_hits());
            warnings.extend(tiers_warning(&tracking.tiers, tracking.has_cache()).filter(|_| is_why));
        }
        let mut by_id = HashMap::new();
        match &expectation {
            Ok(expectation) => {
                warnings.extend(differences(&tracking, expectation));
                warnings.extend(
                    self.config
                        .tiers
                        .clear
                        .then(|| not_cold(&tracking, expectation))
                        .flatten(),
                );
                by_id = expected_by_id(&tracking, expectation);
                let named: Vec<(&'static str, &Expected)> = named(&tracking, expectation).collect();
                sections.extend(expected::sections(&expected::Facts {
                    phases: &named,
                    assumptions: &expectation.assumptions,
                }));
            }
            Err(why) => sections.push(expected::unexpected(why)),
        }
        sections.extend(expected::ttft_by_source(&ttft_ms(&served(samples, &by_id))));
        let broken = self.broken(&tracking, &warnings);
        self.warnings.extend(warnings.into_iter().map(Warning::Ledger));
        Accounted {
            sections,
            expected: by_id,
            broken,
        }
    }

    /// The requirements that the measured phase does not meet.
    fn broken(&self, tracking: &Tracking, warnings: &[LedgerWarning]) -> Vec<String> {
        let measured = tracking.phases.last().map(|phase| &phase.ledger);
        let mut broken = Vec::new();
        for requirement in &self.config.tiers.require_hits {
            let share = measured.and_then(|ledger| share(ledger, requirement));
            let why = requirement.broken_by(share);
            broken.extend(why.map(|why| format!("--require-hits {why}")));
        }
        if self.config.tiers.require_ledger {
            let off = warnings
                .iter()
                .find(|warning| ["ledger-off", "hits-differ"].contains(&warning.code()));
            let counted = measured.is_some_and(|ledger| matches!(ledger.basis, Basis::Engine(_)));
            match off {
                Some(off) => broken.push(format!("--require-ledger: the report has the warning {}", off.code())),
                None if !counted => {
                    broken.push("--require-ledger: the engine has no counters to make a ledger of".into())
                }
                None => {}
            }
        }
        broken
    }
}

/// The share of the prompt tokens that a requirement is on.
fn share(ledger: &Ledger, requirement: &Requirement) -> Option<Share> {
    let prompt = ledger.count(Item::Prompt).filter(|prompt| *prompt > 0)?;
    let range = |item| ledger.range(item);
    let range = match requirement.source {
        Source::Computed => range(Item::Computed),
        Source::Hbm => range(Item::Hbm),
        Source::L1 => range(Item::LmcacheL1),
        Source::L2 => range(Item::LmcacheL2),
        Source::Lmcache => range(Item::Lmcache),
        Source::Cached => range(Item::Computed).map(|computed| Range {
            min: prompt.saturating_sub(computed.max),
            max: prompt.saturating_sub(computed.min),
        }),
    }?;
    let percent = |tokens: u64| tokens as f64 / prompt as f64 * 100.0;
    Some(Share {
        min: percent(range.min),
        max: percent(range.max),
    })
}

fn named<'a>(
    tracking: &'a Tracking,
    expectation: &'a Expectation,
) -> impl Iterator<Item = (&'static str, &'a Expected)> {
    tracking.phases.iter().map(|phase| phase.name).zip(&expectation.phases)
}

/// Phases in which something was seen that the simulator does not allow.
fn differences(tracking: &Tracking, expectation: &Expectation) -> Vec<LedgerWarning> {
    let differs = |(phase, expected): (&'static str, &Expected)| {
        if expected.not_predicted.is_some() {
            return None;
        }
        let names = ["computed", "HBM", "LMCache L1", "LMCache L2"];
        let rows = names.iter().zip(expected.rows());
        let off = rows.filter(|(_, row)| !row.holds());
        let off = off.map(|(name, row)| {
            let seen = row.seen.unwrap_or(0);
            match row.min == row.max {
                true => format!("{name} {seen} (expected {})", row.min),
                false => format!("{name} {seen} (expected {} to {})", row.min, row.max),
            }
        });
        let off: Vec<String> = off.collect();
        (!off.is_empty()).then(|| LedgerWarning::HitsDiffer {
            phase,
            what: off.join(", "),
        })
    };
    named(tracking, expectation).filter_map(differs).collect()
}

/// Of caches that were emptied: whether the first phase was served what this run had not sent.
fn not_cold(tracking: &Tracking, expectation: &Expectation) -> Option<LedgerWarning> {
    let (phase, expected) = named(tracking, expectation).find(|(_, expected)| expected.prompt > 0)?;
    let cached = expected.prompt.checked_sub(expected.computed.seen?)?;
    let tokens = cached.checked_sub(expected.possible).filter(|tokens| *tokens > 0)?;
    Some(LedgerWarning::NotCold { phase, tokens })
}

fn expected_by_id(tracking: &Tracking, expectation: &Expectation) -> HashMap<String, ExpectedRequest> {
    let measured = tracking.phases.iter().zip(&expectation.phases).next_back();
    let Some((tracked, expected)) = measured.filter(|(_, expected)| expected.not_predicted.is_none()) else {
        return HashMap::new();
    };
    let requests = tracked.accesses.all.iter().zip(&expected.requests);
    requests
        .filter_map(|(access, request)| Some((access.id.clone(), (*request)?)))
        .collect()
}

fn served(samples: &PhaseSamples, expected: &HashMap<String, ExpectedRequest>) -> Vec<Served> {
    let good = samples.records.iter().filter(|record| record.succeeded());
    good.map(|record| Served {
        ttft_s: record.ttft_s(),
        prompt_tokens: record.answer.usage.prompt_tokens,
        cached_tokens: record.cached_tokens(),
        expected: expected.get(&record.id).map(|request| Tokens {
            computed: request.served.computed,
            hbm: request.served.hbm,
            l1: request.served.l1,
            l2: request.served.l2,
        }),
    })
    .collect()
}
