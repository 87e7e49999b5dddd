//! How much of each tier is usable, from the shares of tokens that it served.
//!
//! Where the oldest is evicted first, a circle that is larger than the tier finds nothing in it: each document is evicted just
//! before it is asked for again. So the share falls from all to nothing within one document. L1 of LMCache need not do that: what
//! is loaded from L2 does not enter L1 under the default policy, so what lies in L1 stays there and serves a part of every pass.

use super::{Point, Tier, Tiers};

/// A working set is held if the share of its tokens that was served is at least so much of the best one.
const HELD: f64 = 0.95;
/// A best share below this part of what could be served is none.
const SERVES: f64 = 0.5;
/// A tier that served less than this share of the prompt tokens wherever the tiers above did not hold everything is not there.
const TRACE: f64 = 0.01;
/// Of working sets of which HBM serves at most this part of its best share, what L1 serves is what it kept.
const WITHOUT_HBM: f64 = 0.1;
/// Working sets so much larger than what is held show whether anything of L1 serves them.
const BEYOND: f64 = 1.25;
/// Less than this part of what L1 held: it has a cliff.
const LET_GO: f64 = 0.25;

/// A working set that was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Tokens of its prompts, as the engine counted them.
    pub working_set: u64,
    /// Those of them that the tier had: [`Point::held_tokens`].
    pub tokens: u64,
}

/// How large a working set one tier and those above it hold together. Working sets as the engine counted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Not even the smallest working set was held.
    Nothing { smallest: u64 },
    /// The largest working set that was held, and the smallest above it that was not.
    Cliff { holds: Held, fails: u64 },
    /// All were held.
    NotReached { largest: Held },
}

impl Reach {
    /// The largest working set that was held.
    pub fn holds(&self) -> Option<Held> {
        match self {
            Reach::Nothing { .. } => None,
            Reach::Cliff { holds, .. } => Some(*holds),
            Reach::NotReached { largest } => Some(*largest),
        }
    }

    /// What of it lay in the tier: its usable size.
    pub fn tokens(&self) -> Option<u64> {
        self.holds().map(|held| held.tokens)
    }
}

/// What L1 served of each pass over working sets that it does not hold, in tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    pub mean: f64,
    pub min: f64,
    pub max: f64,
}

/// What is known about L1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UsableL1 {
    /// Of HBM and L1 together. All of L1's tokens are meant: it also holds what HBM holds.
    pub reach: Reach,
    /// `None` where no larger working set was measured.
    pub kept: Option<Kept>,
    /// Whether it serves next to nothing of larger working sets. `None` where none was measured.
    pub has_cliff: Option<bool>,
}

impl UsableL1 {
    /// The one number: what it had of the largest working set that was held, or, where L1 keeps a part of larger ones, the mean of
    /// that.
    pub fn tokens(&self) -> Option<f64> {
        match (self.has_cliff, self.kept) {
            (Some(false), Some(kept)) => Some(kept.mean),
            _ => self.reach.tokens().map(|tokens| tokens as f64),
        }
    }
}

/// What the points say about each tier; `None` for one that served nothing where it was needed, or where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usable {
    pub hbm: Option<Reach>,
    pub l1: Option<UsableL1>,
    pub l2: Option<Reach>,
}

impl Usable {
    pub fn of(points: &[Point], tiers: &Tiers) -> Usable {
        let hbm = reach(points, Tier::Hbm, tiers);
        let is_there = |tier| is_there(points, tier, tiers);
        Usable {
            hbm,
            l1: is_there(Tier::L1).then(|| l1(points, tiers, hbm)).flatten(),
            l2: is_there(Tier::L2).then(|| reach(points, Tier::L2, tiers)).flatten(),
        }
    }
}

/// The indices of the points between which the cliff of a tier lies: the largest working set that it and those above it hold, and
/// the smallest above that that they do not hold. Either may be absent.
pub fn bracket(points: &[Point], tier: Tier, tiers: &Tiers) -> (Option<usize>, Option<usize>) {
    let held = held(points, tier, tiers);
    let size = |at: &usize| points[*at].working_set();
    let low = (0..points.len()).filter(|at| held[*at]).max_by_key(size);
    let above = |at: &usize| low.is_none_or(|low| size(at) > size(&low));
    let high = (0..points.len()).filter(|at| !held[*at]).filter(above).min_by_key(size);
    (low, high)
}

/// Whether each point was held. The best share counts no higher than what the tier could serve of a point: documents of which
/// HBM serves a block that L1 has no chunk of are still held by L1.
fn held(points: &[Point], tier: Tier, tiers: &Tiers) -> Vec<bool> {
    let best = points.iter().map(|point| point.share(tier)).fold(0.0, f64::max);
    let is_held = |point: &Point| {
        let ceiling = point.ceiling(tier, tiers);
        let best = best.min(ceiling);
        best > 0.0 && best >= SERVES * ceiling && point.share(tier) >= HELD * best
    };
    points.iter().map(is_held).collect()
}

fn reach(points: &[Point], tier: Tier, tiers: &Tiers) -> Option<Reach> {
    let smallest = points.iter().map(Point::working_set).min()?;
    let held = |at: usize| Held {
        working_set: points[at].working_set(),
        tokens: points[at].held_tokens(tier, tiers),
    };
    Some(match bracket(points, tier, tiers) {
        (None, _) => Reach::Nothing { smallest },
        (Some(low), None) => Reach::NotReached { largest: held(low) },
        (Some(low), Some(high)) => Reach::Cliff {
            holds: held(low),
            fails: points[high].working_set(),
        },
    })
}

/// Whether a lower tier served anything where the ones above did not hold everything. Also where they always did: then nothing
/// speaks against it.
pub fn is_there(points: &[Point], tier: Tier, tiers: &Tiers) -> bool {
    let above = match tier {
        Tier::Hbm => return true,
        Tier::L1 => Tier::Hbm,
        Tier::L2 => Tier::L1,
    };
    if tiers.size(tier) == Some(0) {
        return false;
    }
    let held = held(points, above, tiers);
    let mut short = points.iter().zip(held).filter(|(_, held)| !held).peekable();
    short.peek().is_none() || short.any(|(point, _)| point.share(tier) - point.share(above) >= TRACE)
}

fn l1(points: &[Point], tiers: &Tiers, hbm: Option<Reach>) -> Option<UsableL1> {
    let reach = reach(points, Tier::L1, tiers)?;
    let best_hbm = points.iter().map(|point| point.share(Tier::Hbm)).fold(0.0, f64::max);
    let below_hbm = |point: &&Point| point.share(Tier::Hbm) <= WITHOUT_HBM * best_hbm;
    let fails = match reach {
        Reach::Cliff { fails, .. } => fails,
        Reach::Nothing { smallest } => smallest,
        Reach::NotReached { .. } => u64::MAX,
    };
    let larger = points
        .iter()
        .filter(below_hbm)
        .filter(|point| point.working_set() >= fails);
    let kept = Kept::of(larger.map(Point::l1_per_pass));
    let working_set = |reach: Reach| reach.holds().map(|held| held.working_set);
    let holds = working_set(reach).unwrap_or(0);
    let adds = hbm.and_then(working_set).is_none_or(|hbm| holds > hbm);
    let beyond = points
        .iter()
        .filter(below_hbm)
        .filter(|point| point.working_set() as f64 >= BEYOND * holds as f64 && point.working_set() >= fails);
    let beyond = Kept::of(beyond.map(Point::l1_per_pass));
    let has_cliff = match beyond {
        // Without a working set that only L1 held, what it keeps is all that it gives.
        Some(_) if !adds || holds == 0 => Some(false),
        Some(beyond) => Some(beyond.mean < LET_GO * holds as f64),
        None => None,
    };
    Some(UsableL1 { reach, kept, has_cliff })
}

impl Kept {
    fn of(tokens: impl Iterator<Item = f64>) -> Option<Kept> {
        let tokens: Vec<f64> = tokens.collect();
        let count = tokens.len();
        (count > 0).then(|| Kept {
            mean: tokens.iter().sum::<f64>() / count as f64,
            min: tokens.iter().copied().fold(f64::INFINITY, f64::min),
            max: tokens.iter().copied().fold(0.0, f64::max),
        })
    }
}
