//! What a run will do to each tier, from its prompts alone: one request at a time, without a clock.

mod sentences;

use super::play::{Played, computed_whole, expected_request};
use super::tiers::{Capacity, Tiers, blocks_needed};
use crate::ledger::causes::History;
use crate::ledger::simulate::{Catalog, Prompt, Sent, Tier};

/// Prompts belong to one prefix if they have at least this share of the shorter one in common.
const COMMON_SHARE: f64 = 0.5;

/// The prompts of a run beside the tiers that will hold them.
#[derive(Clone, Debug)]
pub struct Outlook {
    pub requests: u64,
    /// Prompt tokens of all requests.
    pub tokens: u64,
    /// Groups of prompts that begin alike, and the tokens of what they begin with, all groups together.
    pub prefixes: u64,
    pub prefix_tokens: u64,
    /// Distinct tokens of all prompts: common prefixes count once.
    pub working_set_tokens: u64,
    pub longest_prompt_tokens: u64,
    pub in_flight: u64,
    /// How many tokens each tier holds, where it is there and limited.
    pub capacities: Vec<(Tier, u64)>,
    pub unknown: Vec<Tier>,
    /// L1 evicts from this share on (LMCache).
    pub watermark: Option<f64>,
    /// What requests with a prefix that was sent before will be served. Absent where a capacity is unknown.
    pub again: Option<Share>,
    /// The most that they could be served from all tiers together.
    pub again_possible: u64,
    pub again_tokens: u64,
}

/// Prompt tokens of some requests by the tier that serves them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub computed: u64,
    pub hbm: u64,
    pub l1: u64,
    pub l2: u64,
    /// Of those computed, the ones that a tier had and lost.
    pub lost_by_hbm: u64,
    pub lost_by_l1: u64,
    pub lost_by_l2: u64,
    /// Of those computed, the ones that L1 had no room to store or to load from L2.
    pub refused_by_l1: u64,
}

impl Share {
    fn of(played: &Played) -> Share {
        Share {
            computed: played.served.computed,
            hbm: played.served.hbm,
            l1: played.served.l1,
            l2: played.served.l2,
            lost_by_hbm: played.causes.evicted_hbm,
            lost_by_l1: played.causes.evicted_l1,
            lost_by_l2: played.causes.evicted_l2,
            refused_by_l1: played.causes.not_stored + played.causes.no_room_to_load,
        }
    }

    fn total(&self) -> u64 {
        self.computed + self.hbm + self.l1 + self.l2
    }

    fn lost(&self) -> [(Tier, u64); 3] {
        [
            (Tier::Hbm, self.lost_by_hbm),
            (Tier::L1, self.lost_by_l1),
            (Tier::L2, self.lost_by_l2),
        ]
    }
}

/// What the prompts, sent in this order, will do to empty tiers. Between two requests L1 evicts once, as it would if each took
/// a second. `in_flight` is how many requests the run sends at a time; it is compared with the size of HBM only.
pub fn outlook(tiers: &Tiers, prompts: &[Prompt], in_flight: u64) -> Outlook {
    let units = tiers.units();
    let (catalog, entries) = tiers.catalog(prompts.iter());
    let groups = Groups::of(&catalog);
    let unit = |tier: Tier| match tier {
        Tier::Hbm => units.block_tokens,
        Tier::L1 | Tier::L2 => tiers.chunk_tokens,
    };
    let limited = tiers.all().into_iter().filter_map(|(tier, capacity)| match capacity {
        Capacity::Units(units) => Some((tier, units.saturating_mul(unit(tier)))),
        _ => None,
    });
    let lengths = entries.iter().map(|entry| catalog.entries[*entry].tokens() as u64);
    let mut outlook = Outlook {
        requests: prompts.len() as u64,
        tokens: lengths.clone().sum(),
        prefixes: groups.prefixes,
        prefix_tokens: groups.prefix_tokens,
        working_set_tokens: groups.distinct_tokens,
        longest_prompt_tokens: lengths.max().unwrap_or(0),
        in_flight,
        capacities: limited.collect(),
        unknown: tiers.unknown().collect(),
        watermark: tiers.has_watermark().then_some(tiers.watermark),
        again: None,
        again_possible: 0,
        again_tokens: 0,
    };
    let again = played_again(tiers, &catalog, &entries, &groups.of_entries);
    outlook.again_possible = again.possible;
    outlook.again_tokens = again.served.computed + again.served.cached();
    if outlook.unknown.is_empty() {
        outlook.again = Some(Share::of(&again));
    }
    outlook
}

/// The requests whose prefix was sent before. An unknown capacity counts as endless.
fn played_again(tiers: &Tiers, catalog: &Catalog, entries: &[usize], groups: &[usize]) -> Played {
    let units = tiers.units();
    let needed = blocks_needed(&units, entries.iter().map(|entry| &catalog.entries[*entry]));
    let mut stack = tiers.stack(catalog, needed, 0);
    let mut history = History::new(catalog);
    let mut was_sent = vec![false; groups.len()];
    let mut played = Played::default();
    for (request, number) in entries.iter().enumerate() {
        let entry = &catalog.entries[*number];
        let admitted = stack.admit(request, entry).unwrap_or_else(|| {
            stack.give_up(request, entry);
            computed_whole(entry)
        });
        let expected = expected_request(&units, &history, *number, entry, &admitted);
        history.sent(*number);
        stack.stored(request, entry);
        stack.freed(request, entry, true);
        history.answered(*number);
        stack.tick();
        if std::mem::replace(&mut was_sent[groups[*number]], true) {
            played.add(request, None, expected);
        }
    }
    played
}

/// Prompts that begin alike.
struct Groups {
    prefixes: u64,
    prefix_tokens: u64,
    distinct_tokens: u64,
    /// The group of each entry.
    of_entries: Vec<usize>,
}

impl Groups {
    /// In the order of their tokens, prompts that begin alike stand together.
    fn of(catalog: &Catalog) -> Groups {
        let prompts: Vec<Sent> = catalog.places().filter(|sent| !sent.with_answer).collect();
        let mut of_entries = vec![0; catalog.entries.len()];
        let mut prefixes: Vec<usize> = Vec::new();
        let mut distinct = 0;
        let mut before: Option<Sent> = None;
        for prompt in prompts {
            let length = catalog.length(prompt);
            let common = before.map_or(0, |before| catalog.common(before, prompt));
            let shorter = before.map_or(0, |before| catalog.length(before).min(length));
            let belongs = common as f64 >= shorter as f64 * COMMON_SHARE;
            match prefixes.last_mut().filter(|_| belongs) {
                Some(prefix) => *prefix = (*prefix).min(common),
                None => prefixes.push(length),
            }
            of_entries[prompt.entry] = prefixes.len() - 1;
            distinct += length - common;
            before = Some(prompt);
        }
        Groups {
            prefixes: prefixes.len() as u64,
            prefix_tokens: prefixes.iter().sum::<usize>() as u64,
            distinct_tokens: distinct as u64,
            of_entries,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rule;
    use super::*;

    /// prefix-suffix-tuner: each prefix once per pass, then text of its own, then a suffix that all share.
    fn tuner(prefixes: u32) -> Vec<Prompt> {
        let requests = (0..2).flat_map(|pass| (0..prefixes).map(move |number| (pass, number)));
        let prompt = |(pass, number): (u32, u32)| {
            let prefix = (0..6400).map(|at| number * 10_000 + at);
            let breaker = (0..32).map(|at| 90_000_000 + pass * 100_000 + number * 100 + at);
            let suffix = (0..1568).map(|at| 99_000_000 + at);
            Prompt::of(prefix.chain(breaker).chain(suffix).collect::<Vec<u32>>())
        };
        requests.map(prompt).collect()
    }

    fn tiers(rule: Rule, hbm: Capacity, l1: Capacity, l2: Capacity) -> Tiers {
        Tiers {
            rule,
            block_tokens: 16,
            hbm,
            chunk_tokens: 256,
            l1,
            l2,
            watermark: 0.8,
            ratio: 0.2,
            retain: false,
        }
    }

    #[test]
    fn a_tier_that_is_a_little_too_small_is_seen_before_the_run() {
        // L1 has room for 39 of 41 prompts in chunks; HBM for one prompt.
        let l1 = Capacity::Units(39 * 31);
        let tiers = tiers(Rule::Exact, Capacity::Units(500), l1, Capacity::Absent);
        let seen = outlook(&tiers, &tuner(41), 1);
        assert_eq!((seen.prefixes, seen.prefix_tokens), (41, 41 * 6400));
        assert_eq!(seen.working_set_tokens, 41 * (6400 + 2 * 1600));
        let again = seen.again.unwrap();
        assert_eq!((again.hbm, again.l1, again.l2), (0, 0, 0));
        assert_eq!(again.lost_by_l1, 41 * 6400);
        let text = seen.sentences().join(" ");
        assert!(
            text.contains("82 requests begin with 41 different prefixes of 6,400 tokens;"),
            "{text}"
        );
        assert!(
            text.contains("The prefixes are 85 % and all prompts 127 % of L1 (309,504 tokens)."),
            "{text}"
        );
        assert!(
            text.contains("80 % of their tokens will be computed again, because L1 has evicted them"),
            "{text}"
        );
    }

    #[test]
    fn a_tier_below_serves_what_the_one_above_loses() {
        let sized = |chunks: u64| {
            tiers(
                Rule::Vllm,
                Capacity::Units(1000),
                Capacity::Units(chunks),
                Capacity::NoLimit,
            )
        };
        let seen = outlook(&sized(400), &tuner(41), 4);
        let again = seen.again.unwrap();
        assert_eq!((again.computed, again.hbm), (41 * 1600, 0));
        assert_eq!(again.l1 + again.l2, 41 * 6400);
        let text = seen.sentences().join(" ");
        assert!(
            text.contains("of L1 (102,400 tokens, which evicts from 80 % on)"),
            "{text}"
        );
        assert!(
            text.contains("4 requests in flight of up to 8,000 tokens need more than HBM has"),
            "{text}"
        );
        assert!(!text.contains("computed again"), "{text}");
        // An L1 of four prompts refuses every other one: one round of its loop frees less than a prompt takes.
        let seen = outlook(&sized(124), &tuner(41), 1);
        assert!(seen.again.unwrap().refused_by_l1 > 0);
        assert!(seen.sentences().join(" ").contains("has no room to store or load them"));
    }

    #[test]
    fn an_unknown_capacity_is_named_and_leaves_the_most_that_can_be() {
        let tiers = tiers(Rule::Vllm, Capacity::Unknown, Capacity::Absent, Capacity::Absent);
        let seen = outlook(&tiers, &tuner(3), 1);
        assert_eq!((seen.again, seen.again_possible), (None, 3 * 6400));
        let text = seen.sentences().join(" ");
        assert!(
            text.contains("The capacity of HBM is unknown; give it with --kv-tiers"),
            "{text}"
        );
        assert!(text.contains("At most 80 %"), "{text}");
    }

    #[test]
    fn prompts_that_share_nothing_are_prefixes_of_their_own() {
        let tiers = tiers(Rule::Vllm, Capacity::NoLimit, Capacity::Absent, Capacity::Absent);
        let prompts: Vec<Prompt> = (0..5).map(|number| Prompt::of(vec![number; 100])).collect();
        let seen = outlook(&tiers, &prompts, 1);
        assert_eq!(
            (seen.prefixes, seen.prefix_tokens, seen.working_set_tokens),
            (5, 500, 500)
        );
        assert!(seen.sentences().join(" ").contains("No prefix is sent twice"));
        assert!(outlook(&tiers, &[], 1).sentences().is_empty());
    }
}
