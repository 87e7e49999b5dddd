//! The staircase of tiers: working sets of growing size are sent in a circle, and the share of tokens that each tier serves tells
//! how large it is. `plan` says what to measure next, `usable` what the points say about sizes, `probes` and `fit` from which
//! prompt length on loading is faster than computing.

pub mod circle;
pub mod fit;
pub mod plan;
pub mod probes;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod usable;

use circle::Circle;

/// A number of tokens that is known only within bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub min: u64,
    pub max: u64,
}

impl Span {
    pub fn exactly(tokens: u64) -> Span {
        Span {
            min: tokens,
            max: tokens,
        }
    }

    pub fn is_exact(&self) -> bool {
        self.min == self.max
    }
}

/// Where the prompt tokens of some requests came from.
///
/// The engine says how many tokens the cache server supplied, but not from which of its tiers, so L1 and L2 may be intervals.
/// The two complement each other: their sum is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub prompt: u64,
    pub computed: u64,
    pub hbm: u64,
    pub l1: Span,
    pub l2: Span,
    /// Tokens of other clients, and those by which the sources differ from the prompts: what makes the rest doubtful.
    pub doubtful: u64,
}

impl Tokens {
    /// The most likely number from L1: HBM serves the front of a prompt and L1 loses the ends of prompts first, so that the truth
    /// is near the most that L2 can have supplied.
    pub fn from_l1(&self) -> u64 {
        self.l1.min
    }

    pub fn from_l2(&self) -> u64 {
        self.l2.max
    }

    /// What this tier and those above it served.
    pub fn down_to(&self, tier: Tier) -> u64 {
        match tier {
            Tier::Hbm => self.hbm,
            Tier::L1 => self.hbm.saturating_add(self.from_l1()),
            Tier::L2 => self.hbm.saturating_add(self.from_l1()).saturating_add(self.from_l2()),
        }
    }

    /// A part of the prompt tokens, 0 to 1.
    pub fn share(&self, tokens: u64) -> f64 {
        match self.prompt {
            0 => 0.0,
            prompt => tokens as f64 / prompt as f64,
        }
    }
}

/// A tier of the KV cache. Each holds what the ones above it hold, as far as it has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// The engine's own pool of KV blocks.
    Hbm,
    L1,
    L2,
}

impl Tier {
    pub const ALL: [Tier; 3] = [Tier::Hbm, Tier::L1, Tier::L2];

    pub fn name(self) -> &'static str {
        match self {
            Tier::Hbm => "HBM",
            Tier::L1 => "L1",
            Tier::L2 => "L2",
        }
    }
}

/// What is known about the tiers before anything is measured. Sizes are in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tiers {
    pub hbm: Option<u64>,
    pub l1: Option<u64>,
    /// What stays in L1 of its size: up to the watermark, above which it evicts.
    pub l1_keeps: Option<u64>,
    pub l2: Option<u64>,
    /// Tokens of one block of HBM.
    pub block: Option<u64>,
    /// Tokens of one chunk of L1 and L2.
    pub chunk: Option<u64>,
}

impl Tiers {
    /// The configured size of a tier; 0 where there is none.
    pub fn size(&self, tier: Tier) -> Option<u64> {
        match tier {
            Tier::Hbm => self.hbm,
            Tier::L1 => self.l1,
            Tier::L2 => self.l2,
        }
    }

    /// In what steps a tier is filled, at least 1.
    pub fn unit(&self, tier: Tier) -> u64 {
        let unit = match tier {
            Tier::Hbm => self.block,
            Tier::L1 | Tier::L2 => self.chunk,
        };
        unit.unwrap_or(1).max(1)
    }

    /// The most tokens of a prompt of `length` tokens that this tier can serve: whole blocks or chunks, and never the last token,
    /// which the engine computes to have its logits.
    pub fn servable(&self, tier: Tier, length: u64) -> u64 {
        let unit = self.unit(tier);
        let before_last = length.saturating_sub(1);
        match tier {
            Tier::Hbm => before_last / unit * unit,
            Tier::L1 | Tier::L2 => (length / unit * unit).min(before_last),
        }
    }
}

/// One working set, measured: what its passes after the first one were served by.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub circle: Circle,
    /// How many passes `tokens` and `ttft_s` cover.
    pub passes: u64,
    pub tokens: Tokens,
    /// Of every request of these passes that succeeded.
    pub ttft_s: Vec<f64>,
    /// How long the first pass took, of which everything is computed.
    pub filling_s: f64,
    /// How long the point took, with its first pass and the pause after it.
    pub seconds: f64,
}

impl Point {
    /// Distinct tokens, as the engine counted them: a chat template adds some to each prompt.
    pub fn working_set(&self) -> u64 {
        match self.tokens.prompt / self.passes.max(1) {
            0 => self.circle.working_set(),
            counted => counted,
        }
    }

    /// The share of the prompt tokens that this tier and those above it served.
    pub fn share(&self, tier: Tier) -> f64 {
        self.tokens.share(self.tokens.down_to(tier))
    }

    /// The tokens from L1 of one pass.
    pub fn l1_per_pass(&self) -> f64 {
        self.tokens.from_l1() as f64 / self.passes.max(1) as f64
    }

    /// The tokens of the working set that lay in this tier or one above it: what was found again in each pass, in whole blocks or
    /// chunks of the tier. Never more than what the tier has room for, other than the working set, whose ends fill none.
    pub fn held_tokens(&self, tier: Tier, tiers: &Tiers) -> u64 {
        let unit = tiers.unit(tier);
        let whole = |(length, count): (u64, u64)| (length / unit * unit).saturating_mul(count);
        let whole = self.lengths().map(whole).fold(0, u64::saturating_add);
        (self.tokens.down_to(tier) / self.passes.max(1)).min(whole)
    }

    /// The largest share that the tier could serve if it held everything: ends of prompts fill no block or chunk.
    pub fn ceiling(&self, tier: Tier, tiers: &Tiers) -> f64 {
        let (mut servable, mut all) = (0u64, 0u64);
        for (length, count) in self.lengths() {
            servable += tiers.servable(tier, length) * count;
            all += length * count;
        }
        servable as f64 / all.max(1) as f64
    }

    /// The lengths of the prompts as the engine counted them, and how many there are of each.
    fn lengths(&self) -> impl Iterator<Item = (u64, u64)> {
        let asked = self.circle.working_set() as f64;
        let added = (self.working_set() as f64 - asked) / self.circle.count().max(1) as f64;
        let counted = move |length: u64| (length as f64 + added).round().max(1.0) as u64;
        self.circle
            .lengths()
            .into_iter()
            .map(move |(length, count)| (counted(length), count))
    }
}
