//! What the run is going to do to each tier, told before it begins.

use std::sync::Arc;
use std::time::Duration;

use super::expectation::simulated;
use super::tracking::Tracking;
use crate::engine::config::EngineConfig;
use crate::engine::tokens::prompt_ids::{Ids, stand_ins};
use crate::engine::tokens::{EngineTokenizer, Tokenizer};
use crate::engine::workload::custom::check_read_again;
use crate::engine::workload::rehearsal::Rehearsal;
use crate::engine::workload::{self, Phase, Plan};
use crate::http::api_key::ApiKey;
use crate::ledger::expect::outlook;
use crate::ledger::simulate::Prompt;
use crate::text::wrapped;

/// How long the engine may take to tell the tokens of the prompts; lengths in bytes do otherwise.
const ASKING_MAX: Duration = Duration::from_secs(2);
/// Prompts that an engine's tokenizer makes a second time.
const REMADE_MAX: u64 = 500;

/// Columns of a line.
const WIDTH: usize = 100;
const INDENT: &str = "  ";

/// The lines of a paragraph, if the sizes of the tiers and the prompts are known. The prompts are made a second time, by a
/// workload of their own.
pub(super) fn paragraph(
    tracking: &Tracking,
    config: &EngineConfig,
    tokenizer: &Tokenizer,
    plan: &Plan,
    key: &ApiKey,
) -> Option<Vec<String>> {
    let tiers = simulated(&tracking.tiers, tracking.has_cache()).ok()?;
    let is_costly = tokenizer.asks_the_engine() && plan.requests > REMADE_MAX;
    let reads_again = check_read_again(&config.workload.values, "").is_ok();
    let is_known = tracking.expects_hits() && tracking.tiers.hbm_tokens.value.is_some();
    if !is_known || is_costly || !reads_again {
        return None;
    }
    let mut workload = workload::create(config, tokenizer).ok()?;
    if let Some(offer) = config.load.first_offer() {
        workload.offer(offer);
    }
    let mut rehearsal = Rehearsal::default();
    let mut bodies: Vec<Arc<Vec<u8>>> = Vec::new();
    let mut is_partial = false;
    for phase in [Phase::Warmup, Phase::Measured] {
        if phase == Phase::Warmup && !config.warmup {
            continue;
        }
        let most = (phase == Phase::Measured).then_some(plan.requests);
        let rehearsed = rehearsal.run(&mut *workload, phase, most);
        is_partial |= rehearsed.is_partial;
        bodies.extend(rehearsed.requests.into_iter().map(|request| Arc::new(request.body)));
    }
    let prompts: Vec<Prompt> = ids(&bodies, config, key).into_iter().map(Prompt::of).collect();
    let sentences = outlook(&tiers, &prompts, plan.streams).sentences();
    if sentences.is_empty() {
        return None;
    }
    let which = match is_partial {
        true => format!("Cache tiers, by the first {} requests:", bodies.len()),
        false => "Cache tiers:".to_owned(),
    };
    let lines = sentences
        .iter()
        .flat_map(|sentence| wrapped(sentence, WIDTH - INDENT.len()));
    Some(
        [which]
            .into_iter()
            .chain(lines.map(|line| INDENT.to_owned() + &line))
            .collect(),
    )
}

fn ids(bodies: &[Arc<Vec<u8>>], config: &EngineConfig, key: &ApiKey) -> Vec<Ids> {
    let engine = EngineTokenizer::unasked(&config.base_url(), &config.model, key);
    engine
        .all_prompt_ids(bodies, ASKING_MAX, |_, _| ())
        .unwrap_or_else(|_| {
            let first = bodies.first().and_then(|body| engine.prompt_ids(body).ok());
            let mut counts = vec![None; bodies.len()];
            if let (Some(ids), Some(count)) = (first, counts.first_mut()) {
                *count = Some(ids.len() as u64);
            }
            stand_ins(bodies, &counts)
        })
}
