//! What each tier should have served: the prompts of all phases as tokens, the tiers as the servers describe them, and the
//! simulator between them.

use std::sync::Arc;
use std::time::Duration;

use super::tracking::Tracking;
use crate::engine::config::EngineConfig;
use crate::engine::samples::access::Access;
use crate::engine::tokens::EngineTokenizer;
use crate::engine::tokens::prompt_ids::{Ids, stand_ins};
use crate::http::api_key::ApiKey;
use crate::ledger::balance::{Basis, Item, Ledger, Prefetch};
use crate::ledger::expect::{
    Capacity, Expected, Phase, Request, Rule, Seen, Start, Ticks, Tiers, expect, with_answers,
};
use crate::ledger::simulate::Prompt;
use crate::ledger::tiers::{EXACT_LRU, HbmPolicy, KvTiers, L2};
use crate::report::progress::Progress;
use crate::sys::signal;

/// How long the engine may take to tell the tokens of all prompts.
const ASKING_MAX: Duration = Duration::from_secs(20);
/// Fewer questions are asked without a line about them.
const TOLD_FROM: usize = 200;

/// Policies of eviction, and that of storing, which the simulator follows.
const SIMULATED: [&str; 3] = ["LRU", EXACT_LRU, "default"];

/// What was expected of a run.
pub(super) struct Expectation {
    /// One for each phase that was tracked.
    pub phases: Vec<Expected>,
    /// Sentences about what the figures rest on.
    pub assumptions: Vec<String>,
    /// Whether prompts were compared by the engine's tokens. If not, figures are too rough for a finding.
    pub in_tokens: bool,
}

impl Expectation {
    /// `None` where no hits can be expected; the error says why.
    pub fn of(
        tracking: &Tracking,
        config: &EngineConfig,
        key: &ApiKey,
        progress: &mut Progress,
    ) -> Result<Expectation, String> {
        if let Some(why) = &tracking.unexpected {
            return Err(why.clone());
        }
        let was_stopped = || signal::received().is_some();
        if was_stopped() {
            return Err("the run was ended".into());
        }
        if tracking.phases.iter().any(|phase| phase.accesses.is_partial) {
            return Err(
                "not all requests were kept: an answer was cut off, or their bodies are longer than 256 MiB".into(),
            );
        }
        let has_cache = tracking.has_cache();
        let tiers = simulated(&tracking.tiers, has_cache)?;
        let mut assumptions = tracking.tiers.notes.clone();
        let (prompts, in_tokens) = match tiers.unknown().next() {
            // Bounds are not worth a question for each prompt, but whether emptied caches were cold is.
            Some(_) if !config.tiers.clear => (stand_ins_of(tracking), false),
            _ => prompt_tokens(tracking, config, key, progress, &mut assumptions),
        };
        let mut prompts = prompts.into_iter();
        let mut phases: Vec<Phase> = tracking
            .phases
            .iter()
            .map(|tracked| {
                let requests = tracked.accesses.all.iter().zip(prompts.by_ref());
                let requests: Vec<Request> = requests.map(|(access, ids)| request(access, ids)).collect();
                Phase {
                    seen: seen(&tracked.ledger),
                    not_predicted: not_predicted(&tracking.tiers, &tracked.ledger, &requests, has_cache),
                    requests,
                }
            })
            .collect();
        if tiers.rule == Rule::Vllm {
            add_answers(&mut phases);
        }
        let expect = |start: Start| expect(&tiers, &phases, start, Ticks::Unknown, &was_stopped);
        let expected = expect(tracking.start);
        let phases = match tracking.start {
            // What an earlier run left on a disk is found by servers that are new.
            Start::Empty if in_tokens && served_more_than_was_sent(&expected, &phases) => {
                assumptions
                    .push("Tokens were found that this run had not sent: they were left from earlier runs.".into());
                let start = Start::Unknown { l1_chunks: Some(0) };
                expect(start)
            }
            _ => expected,
        };
        Ok(Expectation {
            phases,
            assumptions,
            in_tokens,
        })
    }
}

/// Whether a phase was served more than everything before it could explain, or a request.
fn served_more_than_was_sent(expected: &[Expected], phases: &[Phase]) -> bool {
    // What a request left that failed is not in what was possible.
    let all_count = phases.iter().flat_map(|phase| &phase.requests).all(Request::counts);
    let predicted = expected.iter().zip(phases).filter(|(of, _)| of.not_predicted.is_none());
    all_count
        && predicted.into_iter().any(|(of, phase)| {
            let cached = of.computed.seen.map(|computed| of.prompt.saturating_sub(computed));
            cached.is_some_and(|cached| cached > of.possible) || alone_with_more(of, phase)
        })
}

/// Whether a request that was alone was served more than possible. Those in flight together may have been served in another order
/// than the one that `expected` assumes.
fn alone_with_more(expected: &Expected, phase: &Phase) -> bool {
    let mut order: Vec<(&Request, u64)> = phase
        .requests
        .iter()
        .zip(&expected.requests)
        .filter_map(|(request, expected)| Some((request, (*expected)?.possible)))
        .collect();
    order.sort_by_key(|(request, _)| request.sent_ns);
    let mut latest_end = i64::MIN;
    (0..order.len()).any(|number| {
        let (request, possible) = order[number];
        let next = order.get(number + 1);
        let is_alone = latest_end <= request.sent_ns && next.is_none_or(|(next, _)| next.sent_ns >= request.done_ns);
        latest_end = latest_end.max(request.done_ns);
        is_alone && request.cached_tokens.is_some_and(|cached| cached > possible)
    })
}

/// Conversations may go on from one phase to the next.
fn add_answers(phases: &mut [Phase]) {
    let mut all: Vec<Request> = phases.iter().flat_map(|phase| phase.requests.clone()).collect();
    with_answers(&mut all);
    let mut all = all.into_iter();
    for phase in phases {
        let count = phase.requests.len();
        phase.requests = all.by_ref().take(count).collect();
    }
}

fn request(access: &Access, ids: Ids) -> Request {
    Request {
        prompt: Prompt {
            tokens: ids,
            answer: Arc::default(),
            answer_tokens: access.output_tokens,
        },
        sent_ns: access.sent.0,
        first_token_ns: access.first_token.map(|stamp| stamp.0),
        done_ns: access.finished.0,
        succeeded: access.succeeded,
        cached_tokens: access.cached_tokens,
    }
}

/// The tokens of all prompts, phase by phase, and whether they are the engine's.
fn prompt_tokens(
    tracking: &Tracking,
    config: &EngineConfig,
    key: &ApiKey,
    progress: &mut Progress,
    assumptions: &mut Vec<String>,
) -> (Vec<Ids>, bool) {
    let all = || tracking.phases.iter().flat_map(|phase| &phase.accesses.all);
    let bodies: Vec<Arc<Vec<u8>>> = all().map(|access| Arc::clone(&access.body)).collect();
    let engine = EngineTokenizer::unasked(&config.base_url(), &config.model, key);
    if bodies.len() >= TOLD_FROM {
        progress.line(&format!(
            "Asking the engine for the tokens of {} prompts, to see what each tier should have served...",
            bodies.len()
        ));
    }
    let tell = |done: usize, all: usize| {
        if progress.is_terminal() && all >= TOLD_FROM {
            progress.block(&[format!("  {done} of {all} prompts")]);
        }
    };
    match engine.all_prompt_ids(&bodies, ASKING_MAX, tell) {
        Ok(ids) => (ids, true),
        Err(why) => {
            assumptions.push(format!(
                "Prompts are compared by their text and not by their tokens, so each request may be off by a block and a chunk: \
                 {why}."
            ));
            (stand_ins_of(tracking), false)
        }
    }
}

/// In place of tokens, by the texts of prompts and by their lengths as the answers say them.
fn stand_ins_of(tracking: &Tracking) -> Vec<Ids> {
    let all = tracking.phases.iter().flat_map(|phase| &phase.accesses.all);
    let (bodies, counts): (Vec<_>, Vec<_>) = all
        .map(|access| (Arc::clone(&access.body), access.prompt_tokens))
        .unzip();
    stand_ins(&bodies, &counts)
}

/// The tiers as the simulator takes them. An error names what it cannot do without.
pub(super) fn simulated(tiers: &KvTiers, has_cache: bool) -> Result<Tiers, String> {
    if tiers.is_hybrid {
        return Err("the layers of this model differ in what they keep".into());
    }
    if tiers.engines > 1 {
        return Err("there are several engines, and a prefix is kept only by the one that computed it".into());
    }
    let not_simulated = [(&tiers.l1_policy, "evicts"), (&tiers.store_policy, "stores")].map(|(policy, what)| {
        let policy = policy.value.as_deref().filter(|policy| !SIMULATED.contains(policy))?;
        Some(format!("LMCache {what} by the policy {policy}, which is not simulated"))
    });
    if let Some(why) = not_simulated.into_iter().flatten().next().filter(|_| has_cache) {
        return Err(why);
    }
    let exact = tiers.hbm_policy == HbmPolicy::ExactLru;
    let block = tiers.block_tokens.value;
    let hbm = match (tiers.prefix_caching, tiers.hbm_tokens.value, block) {
        (Some(false), ..) => Capacity::Absent,
        (_, Some(tokens), Some(block)) => Capacity::Units(tokens / block.max(1)),
        _ => Capacity::Unknown,
    };
    let chunk = tiers.chunk_tokens.value;
    let unit_bytes = chunk
        .zip(tiers.bytes_per_token.value)
        .and_then(|(chunk, bytes)| chunk.checked_mul(bytes));
    let l1 = match tiers.l1_chunks() {
        _ if !has_cache => Capacity::Absent,
        Some(0) => Capacity::Absent,
        Some(chunks) => Capacity::Units(chunks),
        None if exact && tiers.l1_bytes.value.is_none() => Capacity::Absent,
        None => Capacity::Unknown,
    };
    let l2 = match (tiers.l2.value, unit_bytes) {
        _ if !has_cache => Capacity::Absent,
        (Some(L2::None), _) => Capacity::Absent,
        (Some(L2::NoLimit), _) => Capacity::NoLimit,
        (Some(L2::Bytes(bytes)), Some(unit)) => Capacity::Units(bytes / unit.max(1)),
        (None, _) | (Some(L2::Bytes(_)), None) => Capacity::Unknown,
    };
    Ok(Tiers {
        rule: if exact { Rule::Exact } else { Rule::Vllm },
        block_tokens: block.unwrap_or(16),
        hbm,
        chunk_tokens: chunk.unwrap_or(256),
        l1,
        l2,
        watermark: tiers.watermark.value.unwrap_or(1.0),
        ratio: tiers.ratio.value.unwrap_or(0.0),
        retain: tiers.prefetch == Prefetch::Retained,
    })
}

fn seen(ledger: &Ledger) -> Seen {
    let count = |item| ledger.count(item);
    Seen {
        computed: count(Item::Computed),
        hbm: count(Item::Hbm),
        external: count(Item::Lmcache).or(count(Item::External)),
        l1: count(Item::LmcacheL1),
        l2: count(Item::LmcacheL2),
        found_l1: count(Item::FoundL1),
        found_l2: count(Item::FoundL2),
        chunks_evicted: count(Item::ChunksEvicted),
        stores_refused_chunks: count(Item::ChunksRefused),
        loads_refused_chunks: count(Item::LoadsRefused),
    }
}

/// Why a phase cannot be predicted by what this run sent.
fn not_predicted(tiers: &KvTiers, ledger: &Ledger, requests: &[Request], has_cache: bool) -> Option<String> {
    let count = |item| ledger.count(item).unwrap_or(0);
    // Requests that failed behind their first token are in the engine's counts, and are simulated, but have no usage.
    let failed = requests.iter().filter(|request| !request.succeeded && request.counts());
    let failed: u64 = failed.map(|request| request.prompt.tokens.len() as u64).sum();
    let others = ledger.others.unwrap_or(0).saturating_sub_unsigned(failed);
    let reasons = [
        (
            !ledger.engine_voids.is_empty() || !ledger.cache_voids.is_empty() || ledger.basis == Basis::Void,
            "counters went back, as after a restart".to_owned(),
        ),
        (
            others > 0 && ledger.failed == 0,
            format!("{others} prompt tokens came from other clients"),
        ),
        (
            others > 0,
            format!("{others} prompt tokens are of other clients or of requests that failed"),
        ),
        (
            others < 0,
            format!(
                "the engine counted {} prompt tokens fewer than the answers have",
                others.unsigned_abs()
            ),
        ),
        (
            count(Item::Preemptions) > 0,
            format!("{} requests were preempted", count(Item::Preemptions)),
        ),
        (
            ledger.dropped_events > 0,
            format!("LMCache dropped {} events", ledger.dropped_events),
        ),
        (
            count(Item::FoundBlended) > 0 || count(Item::Blended) > 0,
            "chunks were found behind other prefixes (blending)".to_owned(),
        ),
        (
            ledger.shared.is_some(),
            "other engines use the LMCache server".to_owned(),
        ),
        (
            tiers.ranks.value.is_some_and(|ranks| ranks > 1),
            "the cache server counts each rank by itself".to_owned(),
        ),
        (
            !has_cache && count(Item::External) > 0,
            "a cache behind the engine served tokens, and nothing is known of it (--lmcache-url)".to_owned(),
        ),
    ];
    reasons.into_iter().find(|(applies, _)| *applies).map(|(_, why)| why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(sent_ns: i64, done_ns: i64, cached_tokens: u64) -> Request {
        Request {
            prompt: Prompt::of(vec![1; 100]),
            sent_ns,
            first_token_ns: Some(sent_ns),
            done_ns,
            succeeded: true,
            cached_tokens: Some(cached_tokens),
        }
    }

    /// The same prompt four times. All of them together are served less than possible.
    fn is_more(cached_first: u64, overlap_ns: i64) -> bool {
        let requests = (0..4).map(|number| {
            let cached = if number == 0 { cached_first } else { 0 };
            request(number * 100, number * 100 + 90 + overlap_ns, cached)
        });
        let phase = Phase {
            requests: requests.collect(),
            seen: Seen {
                computed: Some(400 - cached_first),
                ..Seen::default()
            },
            not_predicted: None,
        };
        let tiers = Tiers {
            rule: Rule::Vllm,
            block_tokens: 16,
            hbm: Capacity::Units(100),
            chunk_tokens: 256,
            l1: Capacity::Absent,
            l2: Capacity::Absent,
            watermark: 0.8,
            ratio: 0.2,
            retain: false,
        };
        let phases = vec![phase];
        let expected = expect(&tiers, &phases, Start::Empty, Ticks::Unknown, &|| false);
        served_more_than_was_sent(&expected, &phases)
    }

    #[test]
    fn a_request_that_was_served_more_than_was_sent_before_it_shows_what_earlier_runs_left() {
        assert!(is_more(96, 0));
        assert!(!is_more(0, 0));
        // Another order would explain it.
        assert!(!is_more(96, 50));
    }
}
