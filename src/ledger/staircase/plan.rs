//! Which working set to measure next: first some that grow geometrically, then those between which a tier's cliff lies, halved
//! until the two are close. What would end after the budget is left out, and said to be.

use super::circle::Circle;
use super::usable::{self, Usable, bracket, is_there};
use super::{Point, Tier, Tiers};

/// The two ends of a cliff are close when they are apart by this share of the lower one, or by one block or chunk.
const CLOSE: f64 = 0.02;
/// Two points whose shares differ by less are on one level.
const LEVEL: f64 = 0.02;
/// The first working set, as a share of HBM, and the last one, as a multiple of HBM and L1.
const FIRST_SHARE: u64 = 4;
const LAST_FACTOR: u64 = 2;
/// Documents of the first working set where the size of HBM is unknown.
const FIRST_DOCUMENTS: u64 = 4;
/// A known tier has been exceeded by a working set that is larger by this factor.
const EXCEEDED: f64 = 1.25;
/// Points of a plan, at most.
pub const POINTS_MAX: usize = 100;
/// Larger working sets are not asked for.
const WORKING_SET_MAX: u64 = 1 << 40;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub tiers: Tiers,
    /// Tokens of one document.
    pub document_tokens: u64,
    /// Points that grow geometrically where the size of HBM is known.
    pub growing: u32,
    /// Measured passes of each point, after a first one.
    pub passes: u64,
    /// How long each point waits between its first pass and the measured ones.
    pub settle_s: f64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    Measure(Circle),
    Done(Ended),
}

/// Why a plan is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every cliff that was found is known closely.
    Found,
    /// What comes next would end after the budget.
    Budget,
    /// [`POINTS_MAX`] points were measured.
    Points,
}

/// What the budget did not reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Missed {
    /// A larger (or, where not even the first one was held, a smaller) working set of so many tokens.
    /// How long it would take is unknown before the first point.
    WorkingSet { tokens: u64, seconds: Option<f64> },
    /// The cliff of a tier lies between two working sets that are farther apart than wanted.
    Close { tier: Tier, holds: u64, fails: u64 },
}

#[derive(Clone, Debug)]
pub struct Plan {
    settings: Settings,
    points: Vec<Point>,
    /// The working sets of the growing part that were not asked for yet, in falling order.
    to_come: Vec<Circle>,
}

impl Plan {
    pub fn new(settings: Settings) -> Plan {
        let mut to_come: Vec<Circle> = first_working_sets(&settings)
            .into_iter()
            .map(|working_set| circle(&settings, working_set))
            .collect();
        to_come.dedup();
        to_come.reverse();
        Plan {
            settings,
            points: Vec::new(),
            to_come,
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// In the order in which they were measured.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    pub fn record(&mut self, point: Point) {
        let measured = point.circle.working_set();
        self.to_come.retain(|circle| circle.working_set() > measured);
        self.points.push(point);
    }

    pub fn usable(&self) -> Usable {
        Usable::of(&self.points, &self.settings.tiers)
    }

    /// What to do with so many seconds left.
    pub fn next(&self, left_s: f64) -> Action {
        if self.points.len() >= POINTS_MAX {
            return Action::Done(Ended::Points);
        }
        let mut wanted = self.wanted().peekable();
        let is_over = wanted.peek().is_none();
        match wanted.find(|circle| self.cost_s(circle).unwrap_or(0.0) <= left_s) {
            Some(circle) => Action::Measure(circle),
            None if is_over => Action::Done(Ended::Found),
            None => Action::Done(Ended::Budget),
        }
    }

    /// What is left to measure, if there were time.
    pub fn missed(&self) -> Vec<Missed> {
        let growing = self.growing().map(|circle| Missed::WorkingSet {
            tokens: circle.working_set(),
            seconds: self.cost_s(&circle),
        });
        let wide = Tier::ALL.into_iter().filter_map(|tier| {
            self.between(tier)?;
            let (low, high) = bracket(&self.points, tier, &self.settings.tiers);
            Some(Missed::Close {
                tier,
                holds: self.points[low?].working_set(),
                fails: self.points[high?].working_set(),
            })
        });
        growing.into_iter().chain(wide).collect()
    }

    /// How long a point takes at most; `None` before the first point. Its first pass is computed, as slowly as the slowest first
    /// pass so far. Its other passes are between those of the next smaller and the next larger working set; above all of these
    /// nothing may be served, so they too are computed.
    pub fn cost_s(&self, circle: &Circle) -> Option<f64> {
        let Settings { passes, settle_s, .. } = self.settings;
        let size = circle.working_set();
        let computing = |point: &Point| point.filling_s / point.working_set().max(1) as f64;
        let computing = self.points.iter().map(computing).reduce(f64::max)?;
        let asked = |point: &&Point| point.circle.working_set();
        let below = self
            .points
            .iter()
            .filter(|point| asked(point) <= size)
            .max_by_key(asked);
        let above = self
            .points
            .iter()
            .filter(|point| asked(point) >= size)
            .min_by_key(asked);
        let again = above.map_or(computing, |above| {
            let neighbours = below.into_iter().chain([above]);
            neighbours.map(|point| self.pass_s_per_token(point)).fold(0.0, f64::max)
        });
        Some(settle_s + (computing + passes as f64 * again) * size as f64)
    }

    /// Seconds that a measured pass took for each token of the working set, with the reading of counters around it.
    fn pass_s_per_token(&self, point: &Point) -> f64 {
        let passes_s = (point.seconds - point.filling_s - self.settings.settle_s).max(0.0);
        passes_s / (point.passes.max(1) * point.working_set().max(1)) as f64
    }

    /// The working sets that would be of use, the most useful first.
    fn wanted(&self) -> impl Iterator<Item = Circle> {
        let close = Tier::ALL.into_iter().filter_map(|tier| self.between(tier));
        self.growing().into_iter().chain(close)
    }

    /// The next working set of the growing part. Where not even the smallest one was held by HBM, one that is smaller.
    fn growing(&self) -> Option<Circle> {
        if let Some(smaller) = self.smaller() {
            return Some(smaller);
        }
        if let Some(next) = self.to_come.last() {
            return Some(*next);
        }
        let next = self.circle(self.largest()?.circle.working_set().checked_mul(2)?);
        (next.working_set() <= WORKING_SET_MAX && self.still_changes()).then_some(next)
    }

    fn smaller(&self) -> Option<Circle> {
        let usable::Reach::Nothing { .. } = self.usable().hbm? else {
            return None;
        };
        let smallest = self.points.iter().min_by_key(|point| point.working_set())?;
        let asked = smallest.circle.working_set();
        let least = self.settings.document_tokens;
        (asked > least).then(|| self.circle((asked / 2).max(least)))
    }

    fn largest(&self) -> Option<&Point> {
        self.points.iter().max_by_key(|point| point.working_set())
    }

    /// Whether a working set of twice the size would tell more.
    fn still_changes(&self) -> bool {
        let Some(last) = self.largest() else { return true };
        let usable = self.usable();
        let not_reached = |reach: Option<usable::Reach>| matches!(reach, Some(usable::Reach::NotReached { .. }));
        let tiers = &self.settings.tiers;
        let is_beyond = |size: u64| last.working_set() as f64 >= EXCEEDED * size as f64;
        // L2 may be without a limit, so that it is followed only to a size that is known.
        let in_l2 = not_reached(usable.l2) && tiers.l2.is_some_and(|size| !is_beyond(size));
        if not_reached(usable.hbm) || not_reached(usable.l1.map(|l1| l1.reach)) || in_l2 {
            return true;
        }
        let half = last.circle.working_set() as f64 / 1.5;
        let before = self
            .points
            .iter()
            .filter(|point| (point.circle.working_set() as f64) < half);
        let before = before.max_by_key(|point| point.working_set());
        before.is_none_or(|before| (before.share(Tier::L2) - last.share(Tier::L2)).abs() >= LEVEL)
    }

    /// The working set in the middle of a cliff whose ends are not close yet.
    fn between(&self, tier: Tier) -> Option<Circle> {
        let tiers = &self.settings.tiers;
        if !is_there(&self.points, tier, tiers) {
            return None;
        }
        let (low, high) = bracket(&self.points, tier, tiers);
        let (low, high) = (&self.points[low?], &self.points[high?]);
        let apart = high.working_set() - low.working_set();
        if apart as f64 <= (CLOSE * low.working_set() as f64).max(tiers.unit(tier) as f64) {
            return None;
        }
        let (least, most) = (low.circle.working_set(), high.circle.working_set());
        let middle = self.circle(least + most.saturating_sub(least) / 2);
        (middle.working_set() > least && middle.working_set() < most).then_some(middle)
    }

    fn circle(&self, working_set: u64) -> Circle {
        circle(&self.settings, working_set)
    }
}

fn circle(settings: &Settings, working_set: u64) -> Circle {
    let block = settings.tiers.unit(Tier::Hbm);
    Circle::of(working_set, settings.document_tokens, block + 1)
}

/// The working sets to begin with, in rising order, whatever they show.
fn first_working_sets(settings: &Settings) -> Vec<u64> {
    let Tiers { hbm, l1, .. } = settings.tiers;
    let document = settings.document_tokens.max(1);
    let Some(hbm) = hbm.filter(|hbm| *hbm > 0) else {
        return vec![document.saturating_mul(FIRST_DOCUMENTS)];
    };
    let first = (hbm / FIRST_SHARE).max(document) as f64;
    let all = hbm.saturating_add(l1.unwrap_or(0)).saturating_mul(LAST_FACTOR);
    let last = (all.min(WORKING_SET_MAX) as f64).max(first);
    let steps = f64::from(settings.growing.max(2) - 1);
    let grown = (0..settings.growing.max(2)).map(|step| first * (last / first).powf(f64::from(step) / steps));
    grown.map(|size| size.round() as u64).collect()
}
