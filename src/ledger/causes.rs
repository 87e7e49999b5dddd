//! Why prompt tokens were computed: each computed token has one cause.

use std::collections::BTreeSet;

use crate::ledger::simulate::{Admitted, Catalog, Missing, Sent, Tier};

/// Computed prompt tokens by their cause, and `earlier_runs` beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    /// Never sent before.
    pub new: u64,
    /// The last token of a prompt that was known entirely: the engine needs its logits.
    pub last_token: u64,
    /// Behind the last whole block.
    pub tail: u64,
    /// HBM had lost it, and the cache server keeps whole chunks of prompts only.
    pub chunk_tail: u64,
    /// On L2, while L1 had no room to load it.
    pub no_room_to_load: u64,
    /// No tier ever had it: L1 was full when it was to be stored.
    pub not_stored: u64,
    /// Not stored yet.
    pub store_pending: u64,
    /// Evicted, by the tier that was the last to have it.
    pub evicted_hbm: u64,
    pub evicted_l1: u64,
    pub evicted_l2: u64,
    /// Found though this run had not sent it before. These are cached tokens, not computed ones, and in no sum.
    pub earlier_runs: u64,
    /// Computed for no cause known.
    pub unexplained: u64,
}

impl Causes {
    /// All computed tokens.
    pub fn computed(&self) -> u64 {
        self.new
            + self.last_token
            + self.tail
            + self.chunk_tail
            + self.no_room_to_load
            + self.not_stored
            + self.store_pending
            + self.evicted()
            + self.unexplained
    }

    pub fn evicted(&self) -> u64 {
        self.evicted_hbm + self.evicted_l1 + self.evicted_l2
    }

    pub fn add(&mut self, other: &Causes) {
        self.new += other.new;
        self.last_token += other.last_token;
        self.tail += other.tail;
        self.chunk_tail += other.chunk_tail;
        self.no_room_to_load += other.no_room_to_load;
        self.not_stored += other.not_stored;
        self.store_pending += other.store_pending;
        self.evicted_hbm += other.evicted_hbm;
        self.evicted_l1 += other.evicted_l1;
        self.evicted_l2 += other.evicted_l2;
        self.earlier_runs += other.earlier_runs;
        self.unexplained += other.unexplained;
    }
}

/// How much of a prompt had been sent before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The longest prefix that a prompt or a prompt with its answer began with. HBM keeps both.
    pub with_answers: u64,
    /// The same for prompts alone, all that the cache server keeps.
    pub prompts: u64,
}

/// Prompts and answers that were sent so far, in the order of their tokens: the one with the longest common prefix is a
/// neighbour.
#[derive(Clone, Debug)]
pub struct History<'a> {
    catalog: &'a Catalog,
    prompts: BTreeSet<u32>,
    with_answers: BTreeSet<u32>,
}

impl History<'_> {
    pub fn new(catalog: &Catalog) -> History<'_> {
        History {
            catalog,
            prompts: BTreeSet::new(),
            with_answers: BTreeSet::new(),
        }
    }

    /// What of an entry was sent before.
    pub fn known(&self, entry: usize) -> Known {
        Known {
            with_answers: self.longest(&self.with_answers, entry),
            prompts: self.longest(&self.prompts, entry),
        }
    }

    /// The prompt of an entry was sent.
    pub fn sent(&mut self, entry: usize) {
        let place = self.catalog.place(Sent {
            entry,
            with_answer: false,
        });
        self.prompts.insert(place);
        self.with_answers.insert(place);
    }

    /// Its answer is complete.
    pub fn answered(&mut self, entry: usize) {
        let with_answer = true;
        self.with_answers
            .insert(self.catalog.place(Sent { entry, with_answer }));
    }

    fn longest(&self, sent: &BTreeSet<u32>, entry: usize) -> u64 {
        let prompt = Sent {
            entry,
            with_answer: false,
        };
        let place = self.catalog.place(prompt);
        let neighbours = [sent.range(..=place).next_back(), sent.range(place..).next()];
        let common = neighbours.into_iter().flatten();
        let common = common.map(|neighbour| self.catalog.common(prompt, self.catalog.at(*neighbour)));
        common.max().unwrap_or(0) as u64
    }
}

/// The units in which tiers keep tokens. Without prefix caching in the engine a block is as long as a chunk; without a cache
/// server there are no chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    pub block_tokens: u64,
    pub chunk_tokens: Option<u64>,
}

impl Units {
    fn blocks_of(&self, tokens: u64) -> u64 {
        tokens / self.block_tokens * self.block_tokens
    }

    fn chunks_of(&self, known: &Known) -> u64 {
        match self.chunk_tokens {
            Some(chunk) => known.prompts / chunk * chunk,
            None => self.blocks_of(known.with_answers),
        }
    }

    /// The most that could be cached of a prompt: what was sent before, in whole units, and never the last token.
    pub fn possible(&self, tokens: u64, known: &Known) -> u64 {
        let before_last = tokens.saturating_sub(1);
        let blocks = self.blocks_of(known.with_answers.min(before_last));
        blocks.max(self.chunks_of(known).min(before_last))
    }

    /// Why the tokens of a prompt were computed that were. The causes are given by position: what was never sent, the last
    /// token, the part behind the last whole block, that behind the last whole chunk, and before it what the first chunk that
    /// was not found says.
    pub fn causes(&self, tokens: u64, known: &Known, admitted: &Admitted) -> Causes {
        let cached = admitted.served.cached();
        let best = known.with_answers.min(tokens);
        let before_last = best.min(tokens.saturating_sub(1));
        let blocks = self.blocks_of(before_last);
        let chunks = self.chunks_of(known).min(blocks);
        let mut causes = Causes {
            new: tokens - best.max(cached).min(tokens),
            last_token: u64::from(best == tokens && cached < tokens),
            tail: before_last.saturating_sub(blocks.max(cached)),
            chunk_tail: blocks.saturating_sub(chunks.max(cached)),
            earlier_runs: cached.saturating_sub(best),
            ..Causes::default()
        };
        let rest = chunks.saturating_sub(cached);
        *match admitted.missing {
            Missing::NoRoomToLoad => &mut causes.no_room_to_load,
            Missing::NotStored => &mut causes.not_stored,
            Missing::StorePending => &mut causes.store_pending,
            Missing::Evicted(Tier::Hbm) => &mut causes.evicted_hbm,
            Missing::Evicted(Tier::L1) => &mut causes.evicted_l1,
            Missing::Evicted(Tier::L2) => &mut causes.evicted_l2,
        } = rest;
        causes.unexplained = admitted.served.computed.saturating_sub(causes.computed());
        causes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::simulate::testing::{Event, SERIES, Series};
    use crate::ledger::simulate::{Prompt, Served};
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_causes_of_all_recorded_phases_are_those_expected() {
        let mut compared = 0;
        for name in SERIES {
            let series = Series::read(name);
            let (catalog, entries) = series.catalog();
            let mut stack = series.stack(&catalog);
            let mut history = History::new(&catalog);
            let units = Units {
                block_tokens: series.block_tokens as u64,
                chunk_tokens: Some(series.chunk_tokens as u64),
            };
            for (phase, entries) in series.phases.iter().zip(&entries) {
                let mut sum = Causes::default();
                for event in phase.timeline() {
                    let entry = |request: usize| &catalog.entries[entries[request]];
                    match event {
                        Event::Tick => stack.tick(),
                        Event::Admit(request) => {
                            let known = history.known(entries[request]);
                            let admitted = stack.admit(request, entry(request)).unwrap();
                            let tokens = entry(request).tokens() as u64;
                            let causes = units.causes(tokens, &known, &admitted);
                            assert_eq!(causes.computed(), admitted.served.computed);
                            assert!(units.possible(tokens, &known) >= admitted.served.cached());
                            sum.add(&causes);
                            history.sent(entries[request]);
                        }
                        Event::Stored(request) => stack.stored(request, entry(request)),
                        Event::Freed(request) => {
                            stack.freed(request, entry(request), true);
                            history.answered(entries[request]);
                        }
                    }
                }
                let got = json!({
                    "new": sum.new,
                    "last_token": sum.last_token,
                    "tail": sum.tail,
                    "chunk_tail": sum.chunk_tail,
                    "no_room_to_load": sum.no_room_to_load,
                    "not_stored": sum.not_stored,
                    "store_pending": sum.store_pending,
                    "evicted": sum.evicted(),
                    "unexplained": sum.unexplained,
                    "earlier_runs": sum.earlier_runs,
                });
                for (cause, tokens) in got.as_object().unwrap() {
                    let wanted = &phase.json["expected"]["causes"];
                    let wanted = wanted.get(cause).map_or(0, |tokens| tokens.as_u64().unwrap());
                    assert_eq!(tokens.as_u64(), Some(wanted), "{name} {} {cause}", phase.name);
                }
                compared += 1;
            }
        }
        assert_eq!(compared, 18);
    }

    #[test]
    fn what_the_run_had_not_sent_but_was_found_is_left_from_earlier_runs() {
        let units = Units {
            block_tokens: 16,
            chunk_tokens: Some(64),
        };
        let served = Served {
            computed: 36,
            l2: 64,
            ..Served::default()
        };
        let missing = Missing::NotStored;
        let causes = units.causes(100, &Known::default(), &Admitted { served, missing });
        assert_eq!((causes.new, causes.earlier_runs, causes.computed()), (36, 64, 36));
    }

    proptest! {
        /// Few different tokens and short prompts, so that many begin alike.
        #[test]
        fn the_longest_known_prefix_is_found_among_neighbours(
            prompts in prop::collection::vec((prop::collection::vec(0_u32..3, 0..12), prop::collection::vec(0_u32..3, 0..6)), 1..30),
            block in 1_usize..5,
        ) {
            let prompts: Vec<Prompt> = prompts
                .into_iter()
                .map(|(tokens, answer)| Prompt {
                    tokens: tokens.into(),
                    answer_tokens: answer.len() as u64 + 1,
                    answer: answer.into(),
                })
                .collect();
            let (catalog, entries) = Catalog::new(block, 4, prompts.iter());
            let mut history = History::new(&catalog);
            let mut sent: Vec<Vec<u32>> = Vec::new();
            for (prompt, entry) in prompts.iter().zip(entries) {
                let common = |other: &Vec<u32>| prompt.tokens.iter().zip(other).take_while(|(a, b)| a == b).count();
                let best = sent.iter().map(common).max().unwrap_or(0);
                prop_assert_eq!(history.known(entry).with_answers, best as u64);
                history.sent(entry);
                history.answered(entry);
                sent.push([&prompt.tokens[..], &prompt.answer[..]].concat());
            }
        }
    }
}
