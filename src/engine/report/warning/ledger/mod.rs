//! Warnings about the ledger of prompt tokens, and the thresholds of its figures that raise them.

use super::Message;
use crate::engine::report::ledger::PhaseLedger;
use crate::error::shortened;
use crate::ledger::balance::{Balance, Basis, Item, Ledger, Shared};
use crate::ledger::tiers::KvTiers;
use crate::result::warning::message;

#[cfg(test)]
mod tests;

/// Shares of the prompt tokens above which a ledger is off, or other clients change it.
const OFF_SHARE_MAX: f64 = 0.01;
const OTHERS_SHARE_MAX: f64 = 0.01;
/// Other models that a text names, and how much of a name it shows: they are a server's words.
const NAMED_MODELS_MAX: usize = 3;
const MODEL_CHARS_MAX: usize = 60;

#[derive(Clone, Debug, PartialEq)]
pub enum LedgerWarning {
    /// The sources do not add up to the prompts, or the prompts not to our answers'.
    Off {
        phase: &'static str,
        gap: Gap,
        tokens: u64,
        percent: f64,
        cause: String,
    },
    /// Counters say nothing of this phase, or are not there; the clause says which.
    Void { phase: &'static str, why: String },
    /// Counters were still moving when they were read.
    Unsettled { phase: &'static str },
    /// LMCache did not count everything.
    EventsDropped { phase: &'static str, events: u64 },
    /// Prompts of others were served meanwhile.
    OtherClients {
        phase: &'static str,
        tokens: u64,
        percent: f64,
        failed: u64,
    },
    /// Other engines asked the same LMCache server.
    SharedCache { phase: &'static str, what: String },
    /// The engine's names of counters are those of a release that counts hits again and again.
    HitsRecounted { phase: &'static str, tokens: u64 },
    /// Sizes that nobody said, so that no hits can be expected.
    TiersUnknown { names: String, notes: String },
    /// More or less was served from somewhere than the simulator allows.
    HitsDiffer { phase: &'static str, what: String },
    /// Emptied caches served what this run had not sent.
    NotCold { phase: &'static str, tokens: u64 },
    /// Caches were emptied, and whether the first phase found them so is not known; the clause says why.
    ColdUnchecked { why: String },
}

/// Which two sums differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Prompt tokens that no source has.
    NoSource,
    /// Tokens of sources beyond the prompts.
    Beyond,
    /// Prompt tokens of our answers that the engine did not count.
    Uncounted,
}

impl LedgerWarning {
    pub fn code(&self) -> &'static str {
        match self {
            LedgerWarning::Off { .. } | LedgerWarning::Void { .. } => "ledger-off",
            LedgerWarning::Unsettled { .. } => "ledger-unsettled",
            LedgerWarning::EventsDropped { .. } => "events-dropped",
            LedgerWarning::OtherClients { .. } => "other-clients",
            LedgerWarning::SharedCache { .. } => "shared-cache",
            LedgerWarning::HitsRecounted { .. } => "hits-recounted",
            LedgerWarning::TiersUnknown { .. } => "tiers-unknown",
            LedgerWarning::HitsDiffer { .. } => "hits-differ",
            LedgerWarning::NotCold { .. } => "not-cold",
            LedgerWarning::ColdUnchecked { .. } => "cold-unchecked",
        }
    }

    pub fn message(&self) -> Message {
        match self {
            LedgerWarning::Off {
                phase,
                gap,
                tokens,
                percent,
                cause,
            } => {
                let what = match gap {
                    Gap::NoSource => "of the prompts have no source",
                    Gap::Beyond => "are in the sources beyond those of the prompts",
                    Gap::Uncounted => "of the answers' prompts were not counted by the engine",
                };
                message!(
                    "The ledger of the {phase} phase does not add up: {tokens} tokens ({percent:.1} %) {what}. Likely cause: \
                     {cause}."
                )
            }
            LedgerWarning::Void { phase, why } => message!(
                "Where the prompt tokens of the {phase} phase came from is not all known: {why}. The latencies are not \
                 affected."
            ),
            LedgerWarning::Unsettled { phase } => message!(
                "The servers' counters were still moving when they were read after the {phase} phase, so its ledger may lack \
                 the last transfers",
                "run again without other load on the servers."
            ),
            LedgerWarning::EventsDropped { phase, events } => message!(
                "The LMCache server dropped events of its counters during the {phase} phase ({events}), so its rows are lower \
                 bounds and L1 and L2 cannot be told apart."
            ),
            LedgerWarning::OtherClients {
                phase,
                tokens,
                percent,
                failed,
            } => other_clients(phase, *tokens, *percent, *failed),
            LedgerWarning::SharedCache { phase, what } => message!(
                "Other engines used the same LMCache server during the {phase} phase: {what}",
                "run again while they are idle for exact rows."
            ),
            LedgerWarning::HitsRecounted { phase, tokens } => message!(
                "The engine has counters of a release that counts a waiting request's hits again in every step (vLLM before \
                 July 2026), so the rows of the {phase} phase may show more hits than there were; lookups exceed the prompts \
                 by {tokens} tokens",
                "compare with usage.cached_tokens, or use a newer release."
            ),
            LedgerWarning::TiersUnknown { names, notes } => message!(
                "Which hits to expect is not known, because nobody said: {names}.{notes}",
                "Give them with --kv-tiers."
            ),
            LedgerWarning::HitsDiffer { phase, what } => message!(
                "The {phase} phase was not served as these tiers should have: {what}. Either a size or a policy is another one \
                 than the servers say, or the caches did what they should not",
                "see the rows of the ledger and the counters of LMCache."
            ),
            LedgerWarning::NotCold { phase, tokens } => message!(
                "The caches were not cold: the {phase} phase was served {tokens} tokens that this run had not sent before",
                "empty the folder or store of L2, which no server empties on request, and keep other clients away."
            ),
            LedgerWarning::ColdUnchecked { why } => message!(
                "The caches were emptied (--clear-cache), but whether the first phase found them empty is not known: {why}."
            ),
        }
    }
}

fn other_clients(phase: &str, tokens: u64, percent: f64, failed: u64) -> Message {
    match failed {
        0 => message!(
            "Other clients used the engine during the {phase} phase: {tokens} prompt tokens ({percent:.1} %) are of no request \
             of this run, and are in its ledger",
            "run again while they are idle."
        ),
        _ => message!(
            "{tokens} prompt tokens of the {phase} phase ({percent:.1} %) are of no answer: other clients used the engine, or \
             they are of requests of this run that failed ({failed})."
        ),
    }
}

/// The warnings that the ledgers of a run raise. `chunk_tokens` is LMCache's.
pub fn warnings(phases: &[PhaseLedger], chunk_tokens: Option<u64>) -> Vec<LedgerWarning> {
    let mut warnings = Vec::new();
    for PhaseLedger { phase, ledger, settled } in phases {
        warnings.extend(off(phase, ledger, chunk_tokens));
        if !settled {
            warnings.push(LedgerWarning::Unsettled { phase });
        }
        if ledger.dropped_events > 0 {
            let events = ledger.dropped_events;
            warnings.push(LedgerWarning::EventsDropped { phase, events });
        }
        let others = ledger.others.and_then(|tokens| u64::try_from(tokens).ok()).unwrap_or(0);
        let percent = percent(ledger, others as f64);
        // A request that failed may have been counted by the engine.
        let is_certain = ledger.failed == 0 && others > 0;
        if is_certain || percent > OTHERS_SHARE_MAX * 100.0 {
            warnings.push(LedgerWarning::OtherClients {
                phase,
                tokens: others,
                percent,
                failed: ledger.failed,
            });
        }
        if let Some(shared) = &ledger.shared {
            let what = shared_with(shared);
            warnings.push(LedgerWarning::SharedCache { phase, what });
        }
        if let Basis::Engine(naming) = ledger.basis
            && naming.recounts()
        {
            let tokens = ledger.recounted;
            warnings.push(LedgerWarning::HitsRecounted { phase, tokens });
        }
    }
    warnings
}

/// The warning that hits cannot be expected; `None` where all that this takes is known.
pub fn tiers_warning(tiers: &KvTiers, has_lmcache: bool) -> Option<LedgerWarning> {
    let unknown = tiers.unknown(has_lmcache);
    let notes = tiers.notes.iter().fold(String::new(), |text, note| text + " " + note);
    (!unknown.is_empty()).then(|| LedgerWarning::TiersUnknown {
        names: unknown.join(", "),
        notes,
    })
}

fn percent(ledger: &Ledger, tokens: f64) -> f64 {
    match ledger.count(Item::Prompt) {
        Some(prompt) if prompt > 0 => tokens / prompt as f64 * 100.0,
        _ => 0.0,
    }
}

fn off(phase: &'static str, ledger: &Ledger, chunk_tokens: Option<u64>) -> Option<LedgerWarning> {
    let mut reasons: Vec<String> = ledger
        .engine_voids
        .iter()
        .map(|void| format!("on the engine's page {}", void.text()))
        .collect();
    reasons.extend(
        ledger
            .cache_voids
            .iter()
            .map(|void| format!("on the LMCache server's page {}", void.text())),
    );
    reasons.truncate(1);
    if reasons.is_empty() && ledger.basis == Basis::Void {
        reasons.push("the engine's counters were not there both before and after it".to_owned());
    }
    if reasons.is_empty() && matches!(ledger.basis, Basis::Engine(_)) && ledger.balance == Balance::Unknown {
        reasons.push(format!("counters are missing: {}", ledger.missing.join(", ")));
    }
    if let Some(why) = reasons.pop() {
        return Some(LedgerWarning::Void { phase, why });
    }
    let prompt = ledger.count(Item::Prompt).unwrap_or(0);
    let of_sources = match ledger.balance {
        Balance::Off(tokens) if tokens < 0 => Some((Gap::Beyond, tokens.unsigned_abs(), prompt)),
        Balance::Off(tokens) => Some((Gap::NoSource, tokens.unsigned_abs(), prompt)),
        _ => None,
    };
    let fewer = ledger.others.filter(|tokens| *tokens < 0).map(i64::unsigned_abs);
    let of_answers = fewer.map(|tokens| (Gap::Uncounted, tokens, prompt.saturating_add(tokens)));
    let gaps = [of_sources, of_answers].into_iter().flatten();
    let shares = gaps.map(|(gap, tokens, all)| (gap, tokens, tokens as f64 / all.max(1) as f64));
    let (gap, tokens, share) = shares.into_iter().find(|(_, _, share)| *share > OFF_SHARE_MAX)?;
    Some(LedgerWarning::Off {
        phase,
        gap,
        tokens,
        percent: share * 100.0,
        cause: likely_cause(ledger, gap, tokens, chunk_tokens),
    })
}

fn likely_cause(ledger: &Ledger, gap: Gap, tokens: u64, chunk_tokens: Option<u64>) -> String {
    let requests = ledger.requests;
    if gap == Gap::Uncounted {
        return "other engines answer at this address too, and their pages of metrics were not read (--metrics-url)"
            .to_owned();
    }
    if gap == Gap::Beyond && ledger.recounted > 0 {
        return format!(
            "hits of waiting or retried requests were counted again; lookups exceed the prompts by {} tokens",
            ledger.recounted
        );
    }
    if ledger.others.is_some_and(|others| others != 0) {
        return "other clients, whose requests began or ended outside of the phase".to_owned();
    }
    if gap == Gap::Beyond && tokens <= requests {
        return "an engine that counts the last token of a prompt found entirely as loaded and as computed (vLLM before 0.21)"
            .to_owned();
    }
    if chunk_tokens.is_some_and(|chunk| tokens <= requests.saturating_mul(chunk)) {
        return "tails of chunks, which the engine and its connector count differently".to_owned();
    }
    if ledger.no_first_token.is_some_and(|tokens| tokens > 0) {
        return "requests that were retried, aborted or failed".to_owned();
    }
    match ledger.missing.is_empty() {
        true => "unknown; please report this with both pages of metrics".to_owned(),
        false => format!("counters that are missing: {}", ledger.missing.join(", ")),
    }
}

fn shared_with(shared: &Shared) -> String {
    let names = shared.models.iter().take(NAMED_MODELS_MAX);
    let names: Vec<_> = names.map(|name| shortened(name, MODEL_CHARS_MAX)).collect();
    let names = match shared.models.len() {
        0..=NAMED_MODELS_MAX => names.join(", "),
        all => format!("{} and {} more", names.join(", "), all - NAMED_MODELS_MAX),
    };
    match (shared.looked_up, shared.is_separate) {
        (tokens, true) => format!(
            "{tokens} tokens were looked up for other models ({names}). The rows of tokens are those of this model alone, and those of \
             chunks stored, evicted and refused are of all"
        ),
        (0, false) => {
            format!(
                "several models were looked up ({names}), and which one is ours is not known, so its rows are upper bounds"
            )
        }
        (tokens, false) => format!(
            "at least {tokens} tokens were looked up that this engine cannot have asked for, so the rows of LMCache are upper \
             bounds"
        ),
    }
}
