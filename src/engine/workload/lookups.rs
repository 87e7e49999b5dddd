//! What the LMCache server looked up in the phases of a run, and how many tokens came from it.

use super::Moment;
use crate::engine::ask::lookups::{Growth, LookupCounts, Tokens, Unknown};
use crate::python::float_text::round;
use crate::result::model::Entry;
use crate::result::warning::{Message, message};

/// The readings of one run, as [`Workload::looked_up`](super::Workload::looked_up) gets them.
#[derive(Debug, Default)]
pub struct Lookups {
    /// What was counted before and after the warmup. There may be none, or the run may have ended in it.
    before_warmup: Option<Option<LookupCounts>>,
    after_warmup: Option<Option<LookupCounts>>,
    at_end: Option<LookupCounts>,
}

impl Lookups {
    pub fn take(&mut self, at: Moment, counts: Option<LookupCounts>) {
        match at {
            Moment::BeforeWarmup => self.before_warmup = Some(counts),
            Moment::AfterWarmup => self.after_warmup = Some(counts),
            Moment::AfterMeasured => self.at_end = counts,
        }
    }

    /// `None` where there was no warmup from end to end.
    pub fn in_warmup(&self) -> Option<Growth> {
        Some(Growth::between(self.before_warmup?, self.after_warmup?))
    }

    pub fn measured(&self) -> Growth {
        Growth::between(self.after_warmup.flatten(), self.at_end)
    }

    /// LMCache's rows, with its labels and rounding; none where nothing is known. `requests` are all that were sent between the
    /// readings, failed ones included.
    pub fn entries(&self, requests: u64) -> Vec<Entry> {
        let Some((_, Tokens { requested, hit })) = self.measured().known() else {
            return Vec::new();
        };
        vec![
            Entry::count("hit_tokens_total", "Cache-hit tokens", hit as u64),
            Entry::count("requested_tokens_total", "Tokens looked up", requested as u64),
            Entry::number(
                "hit_tokens_per_request",
                "Cache-hit tokens per request",
                round(hit / requests.max(1) as f64, 1),
                2,
            ),
            Entry::number(
                "hit_token_rate_pct",
                "Prompt served from cache (%)",
                round(100.0 * hit / requested, 2),
                2,
            ),
        ]
    }
}

/// The message of the warning `no-lookup-tokens`.
pub fn no_tokens(why: Unknown) -> Message {
    let finding = why.sentence("the measured phase");
    match why {
        Unknown::NotCounted => message!(
            "{finding}, so how many came from the cache is not known",
            "see whether the engine uses this server."
        ),
        Unknown::Unread => message!(
            "{finding}, so how many tokens came from the cache is not known",
            "see the warning no-counters, or without it whether --lmcache-url has a page /metrics."
        ),
        Unknown::Fell => message!(
            "{finding}, so how many tokens came from the cache is not known",
            "run again without restarting the server."
        ),
    }
}
