//! Exact tiers for tests: each holds the blocks or chunks that were used last.

use std::collections::{BTreeMap, HashMap};

use super::circle::Circle;
use super::{Point, Span, Tier, Tiers, Tokens};
use crate::stats::random::SplitMix64;

/// Units of documents in the order of their last use.
struct Lru {
    units: u64,
    used: HashMap<(u64, u64), u64>,
    order: BTreeMap<u64, (u64, u64)>,
    clock: u64,
}

impl Lru {
    fn new(units: u64) -> Lru {
        Lru {
            units,
            used: HashMap::new(),
            order: BTreeMap::new(),
            clock: 0,
        }
    }

    /// How many units of the front of a document are there.
    fn found(&self, document: u64, units: u64) -> u64 {
        (0..units)
            .take_while(|unit| self.used.contains_key(&(document, *unit)))
            .count() as u64
    }

    /// Uses all units of a document, the last one first.
    fn touch(&mut self, document: u64, units: u64) {
        for unit in (0..units).rev() {
            self.clock += 1;
            if let Some(before) = self.used.insert((document, unit), self.clock) {
                self.order.remove(&before);
            }
            self.order.insert(self.clock, (document, unit));
            if self.used.len() as u64 > self.units
                && let Some((_, oldest)) = self.order.pop_first()
            {
                self.used.remove(&oldest);
            }
        }
    }
}

/// Three tiers that each hold what was used last, as the mock engine's.
pub struct Exact {
    pub tiers: Tiers,
    lru: [Lru; 3],
    /// Seconds for each token, by source.
    pub cost_s: [f64; 4],
    base_s: [f64; 4],
    pub noise: f64,
    random: SplitMix64,
    pub next_document: u64,
}

pub const BLOCK: u64 = 16;
pub const CHUNK: u64 = 256;

impl Exact {
    pub fn new(hbm: u64, l1: u64, l2: u64) -> Exact {
        let size = |tokens: u64| (tokens > 0).then_some(tokens);
        Exact {
            tiers: Tiers {
                hbm: size(hbm),
                l1: size(l1),
                l1_keeps: None,
                l2: size(l2),
                block: Some(BLOCK),
                chunk: Some(CHUNK),
            },
            lru: [Lru::new(hbm / BLOCK), Lru::new(l1 / CHUNK), Lru::new(l2 / CHUNK)],
            cost_s: [1e-4, 1e-6, 5e-6, 2e-5],
            base_s: [0.020, 0.020, 0.030, 0.060],
            noise: 0.0,
            random: SplitMix64::new(7),
            next_document: 0,
        }
    }

    pub fn send(&mut self, document: u64, length: u64) -> (Tokens, f64) {
        let units = [length / BLOCK, length / CHUNK, length / CHUNK];
        let found = [0, 1, 2].map(|at| self.lru[at].found(document, units[at]));
        let most = self.tiers.servable(Tier::Hbm, length);
        let hbm = (found[0] * BLOCK).min(most);
        let l1 = (found[1] * CHUNK).min(length - 1).saturating_sub(hbm);
        let l2 = (found[1].max(found[2]) * CHUNK)
            .min(length - 1)
            .saturating_sub(hbm + l1);
        for (lru, units) in self.lru.iter_mut().zip(units) {
            lru.touch(document, units);
        }
        let computed = length - hbm - l1 - l2;
        let from = [computed, hbm, l1, l2];
        let cost: f64 = from
            .iter()
            .zip(self.cost_s)
            .map(|(tokens, each)| *tokens as f64 * each)
            .sum();
        let base = [0, 1, 2, 3]
            .into_iter()
            .filter(|at| from[*at] > BLOCK)
            .map(|at| self.base_s[at]);
        let noise = 1.0 + self.noise * (2.0 * self.random.unit() - 1.0);
        let tokens = Tokens {
            prompt: length,
            computed,
            hbm,
            l1: Span::exactly(l1),
            l2: Span::exactly(l2),
            doubtful: 0,
        };
        (tokens, (base.fold(0.0, f64::max) + cost) * noise)
    }

    /// One pass over documents with numbers from `first` on.
    pub fn pass(&mut self, circle: &Circle, first: u64) -> (Tokens, Vec<f64>) {
        let mut sum = Tokens::default();
        let mut ttft_s = Vec::new();
        for number in 0..circle.count() {
            let (tokens, ttft) = self.send(first + number, circle.length(number));
            add(&mut sum, &tokens);
            ttft_s.push(ttft);
        }
        (sum, ttft_s)
    }

    pub fn point(&mut self, circle: Circle, passes: u64) -> Point {
        let first = self.next_document;
        self.next_document += circle.count();
        let filling = self.pass(&circle, first).1;
        let mut sum = Tokens::default();
        let mut ttft_s = Vec::new();
        for _ in 0..passes {
            let (tokens, ttft) = self.pass(&circle, first);
            add(&mut sum, &tokens);
            ttft_s.extend(ttft);
        }
        Point {
            circle,
            passes,
            tokens: sum,
            filling_s: filling.iter().sum(),
            seconds: filling.iter().chain(&ttft_s).sum(),
            ttft_s,
        }
    }
}

pub fn add(sum: &mut Tokens, tokens: &Tokens) {
    sum.prompt += tokens.prompt;
    sum.computed += tokens.computed;
    sum.hbm += tokens.hbm;
    for (sum, tokens) in [(&mut sum.l1, &tokens.l1), (&mut sum.l2, &tokens.l2)] {
        sum.min += tokens.min;
        sum.max += tokens.max;
    }
}
