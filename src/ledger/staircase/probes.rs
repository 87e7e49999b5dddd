//! Prompts of several lengths, each served once by computing and once by each tier: what TTFT is made of.
//!
//! A prompt that is sent twice at once is served by HBM the second time. Documents that nothing else needs then push it out of
//! HBM, but not out of L1, and later out of L1. Whether a prompt really came from the tier in question is not assumed: the tokens
//! that the tier served decide.

use std::fmt;

use super::circle::behind;
use super::fit::{BreakEven, Length, Line, break_even, line};
use super::{Tier, Tiers, Tokens};

/// A length counts for a tier if the tier served at least so much of what it could.
const ISOLATED: f64 = 0.90;
/// What pushes prompts out of a tier is larger than it by this factor.
const OVERFLOW: f64 = 1.25;
/// The prompts of one length fill at most this part of HBM, so that the second time finds all of them.
const OF_HBM: f64 = 0.8;
/// And all prompts with what pushes them out of HBM at most this part of what stays in L1.
const OF_L1: f64 = 0.9;
/// Lengths, at most: each is twice the one before.
const LENGTHS_MAX: u32 = 16;
/// Fewer lengths give no line.
const LENGTHS_MIN: usize = 2;

/// Where the tokens of a prompt come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Computed,
    From(Tier),
}

impl Source {
    pub const ALL: [Source; 4] = [
        Source::Computed,
        Source::From(Tier::Hbm),
        Source::From(Tier::L1),
        Source::From(Tier::L2),
    ];

    pub fn name(self) -> &'static str {
        match self {
            Source::Computed => "computing",
            Source::From(tier) => tier.name(),
        }
    }

    /// What came from it at least.
    fn served(self, tokens: &Tokens) -> u64 {
        match self {
            Source::Computed => tokens.computed,
            Source::From(Tier::Hbm) => tokens.hbm,
            Source::From(Tier::L1) => tokens.l1.min,
            Source::From(Tier::L2) => tokens.l2.min,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub tiers: Tiers,
    /// Whether there is a cache server, and whether it has an L2.
    pub has_l1: bool,
    pub has_l2: bool,
    /// Prompts of each length.
    pub prompts: u64,
    /// No prompt is longer.
    pub longest: u64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send the `prompts` prompts of `length` tokens one after the other. They are new for [`Source::Computed`], and the same
    /// ones for every other source.
    Send { source: Source, length: u64, prompts: u64 },
    /// Wait until stores have settled, then send new documents of so many tokens together, and wait again.
    Fill { tokens: u64 },
}

/// What a [`Step::Send`] came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    pub source: Source,
    pub length: u64,
    pub tokens: Tokens,
    pub ttft_s: Vec<f64>,
    pub seconds: f64,
}

/// Why there is no line for a source.
#[derive(Clone, Debug, PartialEq)]
pub enum NotIsolated {
    /// It served less than what it could, and something else the rest.
    Served {
        share: f64,
        other: Source,
        other_share: f64,
    },
    NoTier,
    /// What is needed to push prompts out of the tier above it.
    SizeUnknown {
        tier: Tier,
    },
    /// Prompts and what pushes them out of HBM do not fit into L1 together.
    L1TooSmall,
    Budget,
    /// Fewer than two lengths were measured.
    TooFewLengths,
}

impl fmt::Display for NotIsolated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotIsolated::Served {
                share,
                other,
                other_share,
            } => write!(
                f,
                "it served {:.0} % of what it could, {} {:.0} % of the prompt",
                share * 100.0,
                other.name(),
                other_share * 100.0
            ),
            NotIsolated::NoTier => f.write_str("there is no such tier"),
            NotIsolated::SizeUnknown { tier } => write!(f, "the size of {} is unknown", tier.name()),
            NotIsolated::L1TooSmall => {
                f.write_str("L1 has no room for the prompts beside the documents that push them out of HBM")
            }
            NotIsolated::Budget => f.write_str("the budget ended before"),
            NotIsolated::TooFewLengths => f.write_str("fewer than two lengths were measured"),
        }
    }
}

/// What is known about one source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceLine {
    pub source: Source,
    /// The lengths that count.
    pub lengths: Vec<Length>,
    pub line: Result<Line, NotIsolated>,
    /// Of a tier, where computing has a line too.
    pub break_even: Option<BreakEven>,
}

/// The plan of the probes, and what they came to.
#[derive(Clone, Debug)]
pub struct Probes {
    settings: Settings,
    /// In falling order.
    to_come: Vec<Step>,
    sent: Vec<Sent>,
    /// Why a source is left out, or the rest of it.
    left_out: Vec<(Source, NotIsolated)>,
}

impl Probes {
    pub fn new(settings: Settings) -> Probes {
        let lengths = lengths(&settings);
        let mut steps = Vec::new();
        let mut left_out = Vec::new();
        let send = |source: Source, length: u64| Step::Send {
            source,
            length,
            prompts: settings.prompts,
        };
        for length in &lengths {
            steps.push(send(Source::Computed, *length));
            steps.push(send(Source::From(Tier::Hbm), *length));
        }
        for tier in [Tier::L1, Tier::L2] {
            let probes = lengths.iter().fold(0_u64, |sum, length| sum.saturating_add(*length));
            match fill(&settings, tier, probes.saturating_mul(settings.prompts)) {
                // Nothing is to be pushed out for prompts that there are not.
                Ok(_) if lengths.is_empty() => {}
                Ok(tokens) => {
                    steps.push(Step::Fill { tokens });
                    steps.extend(lengths.iter().map(|length| send(Source::From(tier), *length)));
                }
                Err(why) => left_out.push((Source::From(tier), why)),
            }
        }
        steps.reverse();
        Probes {
            settings,
            to_come: steps,
            sent: Vec::new(),
            left_out,
        }
    }

    /// What to do with so many seconds left; `None` when all is done or the rest would take longer. A fill that does not fit
    /// into the time leaves out what comes behind it.
    pub fn next(&mut self, left_s: f64) -> Option<Step> {
        let next = *self.to_come.last()?;
        if self.cost_s(next) > left_s {
            self.leave_out();
            return None;
        }
        self.to_come.pop()
    }

    /// The budget ended during `step`, which [`Probes::next`] gave.
    pub fn cut_off(&mut self, step: Step) {
        self.to_come.push(step);
        self.leave_out();
    }

    fn leave_out(&mut self) {
        let sources: Vec<Source> = self.to_come.drain(..).filter_map(Step::source).collect();
        for source in Source::ALL.into_iter().filter(|source| sources.contains(source)) {
            self.left_out.push((source, NotIsolated::Budget));
        }
    }

    pub fn record(&mut self, sent: Sent) {
        self.sent.push(sent);
    }

    pub fn sent(&self) -> &[Sent] {
        &self.sent
    }

    /// How long a step takes, by the prompts that were computed so far; 0 before the first.
    pub fn cost_s(&self, step: Step) -> f64 {
        let computed = self.sent.iter().filter(|sent| sent.source == Source::Computed);
        let per_token = computed.map(|sent| sent.seconds / sent.tokens.prompt.max(1) as f64);
        let tokens = match step {
            Step::Send { length, prompts, .. } => length.saturating_mul(prompts),
            Step::Fill { tokens } => tokens,
        };
        per_token.reduce(f64::max).unwrap_or(0.0) * tokens as f64
    }

    /// The first length of which the source serves anything.
    fn first(&self, source: Source) -> f64 {
        match source {
            Source::Computed => 1.0,
            Source::From(Tier::Hbm) => self.settings.tiers.unit(Tier::Hbm) as f64 + 1.0,
            Source::From(tier) => self.settings.tiers.unit(tier) as f64,
        }
    }

    /// A line for each source, in the order of [`Source::ALL`].
    pub fn lines(&self) -> Vec<SourceLine> {
        let computing = self.isolated(Source::Computed);
        let of = |source: Source| {
            let lengths = self.isolated(source);
            let line = match line(&lengths) {
                Some(line) if lengths.len() >= LENGTHS_MIN => Ok(line),
                _ => Err(self.why_not(source)),
            };
            let is_tier = source != Source::Computed && line.is_ok();
            SourceLine {
                source,
                break_even: is_tier
                    .then(|| break_even(&computing, &lengths, self.first(source)))
                    .flatten(),
                lengths,
                line,
            }
        };
        Source::ALL.map(of).into()
    }

    /// The lengths of which the source served nearly all that it could.
    fn isolated(&self, source: Source) -> Vec<Length> {
        let own = self.sent.iter().filter(|sent| sent.source == source);
        let isolated = own.filter(|sent| self.share_of_possible(sent) >= ISOLATED);
        isolated
            .map(|sent| Length {
                tokens: sent.tokens.prompt as f64 / sent.ttft_s.len().max(1) as f64,
                ttft_s: sent.ttft_s.clone(),
            })
            .collect()
    }

    fn share_of_possible(&self, sent: &Sent) -> f64 {
        share_without(sent, &self.settings.tiers, self.prefix())
    }

    /// The tokens that all prompts begin with, such as those of a chat template, as far as HBM has them: the fewest that it gave a
    /// new prompt. Only lengths of which nearly all was computed say so. Of others HBM had more, from a run before.
    fn prefix(&self) -> u64 {
        let computed = self.sent.iter().filter(|sent| sent.source == Source::Computed);
        let nearly_all = computed.filter(|sent| share_without(sent, &self.settings.tiers, 0) >= ISOLATED);
        nearly_all
            .map(|sent| sent.tokens.hbm / sent.prompts())
            .min()
            .unwrap_or(0)
    }

    fn why_not(&self, source: Source) -> NotIsolated {
        let left_out = self.left_out.iter().find(|(left_out, _)| *left_out == source);
        if let Some((_, why)) = left_out {
            return why.clone();
        }
        let own = || self.sent.iter().filter(|sent| sent.source == source);
        let shares = own().map(|sent| (self.share_of_possible(sent), sent));
        let Some((share, worst)) = shares.min_by(|one, other| one.0.total_cmp(&other.0)) else {
            return NotIsolated::TooFewLengths;
        };
        if share >= ISOLATED {
            return NotIsolated::TooFewLengths;
        }
        let others = Source::ALL.into_iter().filter(|other| *other != source);
        let other = others.max_by_key(|other| other.served(&worst.tokens)).unwrap_or(source);
        NotIsolated::Served {
            share,
            other,
            other_share: worst.tokens.share(other.served(&worst.tokens)),
        }
    }
}

impl Step {
    fn source(self) -> Option<Source> {
        match self {
            Step::Send { source, .. } => Some(source),
            Step::Fill { .. } => None,
        }
    }
}

impl Sent {
    fn prompts(&self) -> u64 {
        (self.ttft_s.len() as u64).max(1)
    }
}

/// How much the source served of what it could. The first `prefix` tokens of each prompt are HBM's, whatever else has them too.
fn share_without(sent: &Sent, tiers: &Tiers, prefix: u64) -> f64 {
    let length = sent.tokens.prompt / sent.prompts();
    let possible = match sent.source {
        Source::Computed => length.saturating_sub(prefix),
        Source::From(Tier::Hbm) => tiers.servable(Tier::Hbm, length),
        Source::From(tier) => tiers.servable(tier, length).saturating_sub(prefix),
    };
    match possible.saturating_mul(sent.prompts()) {
        0 => 0.0,
        possible => sent.source.served(&sent.tokens) as f64 / possible as f64,
    }
}

/// One chunk, two, four, and so on, each with a few tokens more.
fn lengths(settings: &Settings) -> Vec<u64> {
    let Settings { tiers, prompts, .. } = settings;
    let of_hbm = |hbm: u64| (hbm as f64 * OF_HBM) as u64 / (*prompts).max(1);
    let most = settings.longest.min(tiers.hbm.map_or(u64::MAX, of_hbm));
    let chunk = tiers.chunk.unwrap_or_else(|| super::circle::grain(tiers));
    let doubled = (0..LENGTHS_MAX).map_while(|power| chunk.checked_mul(1 << power)?.checked_add(behind(tiers)));
    doubled.take_while(|length| *length <= most).collect()
}

/// Tokens that push everything out of the tiers above `tier`, of `probes` tokens that have to stay in it.
fn fill(settings: &Settings, tier: Tier, probes: u64) -> Result<u64, NotIsolated> {
    let tiers = &settings.tiers;
    let size = |above: Tier| tiers.size(above).ok_or(NotIsolated::SizeUnknown { tier: above });
    let above = match tier {
        Tier::L1 if settings.has_l1 => size(Tier::Hbm)?,
        // L1 may be smaller than HBM. Where HBM's size is unknown, L1 is taken to be the larger one, as it mostly is.
        Tier::L2 if settings.has_l2 && settings.has_l1 => size(Tier::L1)?.max(tiers.hbm.unwrap_or(0)),
        Tier::L2 if settings.has_l2 => size(Tier::Hbm)?,
        _ => return Err(NotIsolated::NoTier),
    };
    let tokens = (above as f64 * OVERFLOW).ceil() as u64;
    let room = tiers.l1_keeps.or(tiers.l1).filter(|_| tier == Tier::L1);
    let is_too_small = room.is_some_and(|room| probes.saturating_add(tokens) as f64 > room as f64 * OF_L1);
    if is_too_small {
        return Err(NotIsolated::L1TooSmall);
    }
    Ok(tokens)
}
