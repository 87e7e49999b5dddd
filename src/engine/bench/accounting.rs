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
use crate::result::model::{Note, Section};

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
        let clears = self.config.tiers.clear;
        let Some(tracking) = self.tracking.take() else {
            let why = "there is no ledger (--no-ledger)".to_owned();
            let unchecked = clears.then_some(Warning::Ledger(LedgerWarning::ColdUnchecked { why }));
            self.warnings.extend(unchecked);
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
        warnings.extend(clears.then(|| not_cold(&tracking, &expectation)).flatten());
        let mut by_id = HashMap::new();
        match &expectation {
            Ok(expectation) => {
                if self.config.tiers.sizes.is_some() || self.config.has_lmcache() {
                    warnings.extend(tiers_warning(&tracking.tiers, tracking.has_cache()));
                }
                if expectation.in_tokens {
                    warnings.extend(differences(&tracking, expectation));
                }
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
        let judged = self.judged(&tracking, &warnings);
        if !judged.is_empty() {
            let note = |(kept, text): &(bool, String)| {
                let (key, word) = if *kept { ("kept", "Kept") } else { ("broken", "Broken") };
                Note {
                    key: key.into(),
                    text: format!("{word}: {text}"),
                }
            };
            let notes = judged.iter().map(note).collect();
            sections.push(Section::list("requirements", "Required", notes));
        }
        let broken = judged
            .into_iter()
            .filter(|(kept, _)| !kept)
            .map(|(_, text)| text)
            .collect();
        self.warnings.extend(warnings.into_iter().map(Warning::Ledger));
        Accounted {
            sections,
            expected: by_id,
            broken,
        }
    }

    /// Each requirement: whether the measured phase keeps it, and a sentence.
    fn judged(&self, tracking: &Tracking, warnings: &[LedgerWarning]) -> Vec<(bool, String)> {
        let measured = tracking.phases.last().map(|phase| &phase.ledger);
        let shares = self.config.tiers.require_hits.iter().map(|requirement| {
            let share = measured.and_then(|ledger| share(ledger, requirement));
            let (kept, text) = requirement.judged(share);
            (kept, format!("--require-hits {text}"))
        });
        let off = warnings
            .iter()
            .find(|warning| ["ledger-off", "hits-differ"].contains(&warning.code()));
        let counted = measured.is_some_and(|ledger| matches!(ledger.basis, Basis::Engine(_)));
        let ledger = self.config.tiers.require_ledger.then(|| match off {
            Some(off) => (
                false,
                format!("--require-ledger: the report has the warning {}", off.code()),
            ),
            None if !counted => (
                false,
                "--require-ledger: the engine has no counters to make a ledger of".to_owned(),
            ),
            None => (true, "--require-ledger: the ledger balances".to_owned()),
        });
        shares.chain(ledger).collect()
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
    let percent = |tokens: u64| tokens as f64 * 100.0 / prompt as f64;
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

/// Of caches that were emptied: whether the first phase was served what this run had not sent, or why that is not known.
fn not_cold(tracking: &Tracking, expectation: &Result<Expectation, String>) -> Option<LedgerWarning> {
    let tracked = tracking.phases.iter().find(|phase| phase.ledger.requests > 0)?;
    let (phase, ledger) = (tracked.name, &tracked.ledger);
    let unchecked = |why: &str| Some(LedgerWarning::ColdUnchecked { why: why.to_owned() });
    let (Some(prompt), Some(computed)) = (ledger.count(Item::Prompt), ledger.count(Item::Computed)) else {
        return unchecked("nobody counts what was computed");
    };
    let cached = prompt.saturating_sub(computed);
    if cached == 0 {
        return None;
    }
    let expected = match expectation {
        Ok(expectation) if expectation.in_tokens => named(tracking, expectation).find(|(name, _)| *name == phase)?.1,
        Ok(_) => return unchecked("the engine did not tell the tokens of the prompts"),
        Err(why) => return unchecked(why),
    };
    if ledger.others != Some(0) || ledger.failed > 0 {
        return unchecked("it was served to other clients too, or some requests failed");
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing::phase;

    #[test]
    fn a_share_of_an_interval_is_an_interval_the_right_way_round() {
        let mut ledger = phase("warm").read();
        ledger.rows.get_mut(&Item::Prompt).unwrap().range = Range::exact(100);
        ledger.rows.get_mut(&Item::Computed).unwrap().range = Range { min: 7, max: 29 };
        let share = |text: &str| share(&ledger, &Requirement::parse_list(text).unwrap()[0]).unwrap();
        // Whole percents are exact, so that a limit can be met exactly.
        assert_eq!(share("computed<=29%"), Share { min: 7.0, max: 29.0 });
        assert_eq!(share("cached>=71%"), Share { min: 71.0, max: 93.0 });
    }
}
