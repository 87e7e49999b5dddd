//! The variants of a run that its stamps leave open, and which of them explains what was counted.

use super::arrivals::STEPS_MAX;
use super::exact::{self, Arrivals, Orders};
use super::play::{Input, Played, Timed};
use super::tiers::{Capacity, Rule, Tiers, blocks_needed};
use super::vllm::{self, Mode, TICK_PERIOD_NS, Ticking};
use super::{Seen, Start, Ticks};
use crate::ledger::simulate::{Entry, Stack};

/// Blocks and chunks that are looked up in all variants together; some seconds of work.
const WORK_MAX: u64 = 150_000_000;
/// Phases of the eviction loop that are tried, 20 ms apart. Ten of them missed a value that was seen.
const TICK_PHASES: u64 = 50;
const MS: i64 = 1_000_000;
/// Estimated times are off by so much; ticks are moved by it where no variant explains what was counted.
const SHIFTS_NS: [i64; 5] = [0, -20 * MS, 20 * MS, -40 * MS, 40 * MS];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Vllm(Mode),
    Exact { arrivals: Arrivals, failed: bool },
}

impl Kind {
    /// Requests in flight together were admitted in another order or otherwise than usual.
    pub fn is_other_order(&self) -> bool {
        match self {
            Kind::Vllm(mode) => mode.by_sent || mode.one_prefill || mode.slow,
            Kind::Exact { arrivals, .. } => *arrivals != Arrivals::AsSent,
        }
    }

    pub fn is_without_answers(&self) -> bool {
        matches!(self, Kind::Vllm(mode) if !mode.answers)
    }

    pub fn serves_failed(&self) -> bool {
        match self {
            Kind::Vllm(mode) => mode.failed,
            Kind::Exact { failed, .. } => *failed,
        }
    }

    pub fn is_foreign(&self) -> bool {
        matches!(self, Kind::Vllm(mode) if mode.foreign)
    }
}

#[derive(Clone, Debug)]
pub struct Variant {
    pub kind: Kind,
    /// When L1 evicts, if that matters, and by how much the ticks of each phase are moved.
    pub ticking: Option<Ticking>,
    shifts_ns: Vec<i64>,
    /// Of the mock engine.
    orders: Orders,
    pub phases: Vec<Played>,
    /// Phases from the first on that are as counted.
    pub explained: usize,
}

impl Variant {
    fn mismatched(&self) -> u64 {
        self.phases.iter().map(|played| played.mismatched).sum()
    }

    fn computed(&self) -> u64 {
        self.phases.iter().map(|played| played.served.computed).sum()
    }
}

/// A run and what was counted of it.
pub struct Variants<'a> {
    pub tiers: &'a Tiers,
    pub input: &'a Input,
    pub seen: &'a [Seen],
    pub start: Start,
    pub ticks: Ticks,
    stop: &'a dyn Fn() -> bool,
    pub tried: Vec<Variant>,
    /// Variants that were not tried, as that would have taken too long.
    pub left_out: u64,
    /// Phases that may still be played, and what may still be done to find an order of arrivals.
    plays_left: u64,
    steps_left: usize,
    /// Whether anything was played.
    has_played: bool,
    needed_blocks: u64,
}

impl<'a> Variants<'a> {
    /// After `stop` says so nothing is tried any more but a first variant.
    pub fn try_all(
        tiers: &'a Tiers,
        input: &'a Input,
        seen: &'a [Seen],
        start: Start,
        ticks: Ticks,
        stop: &'a dyn Fn() -> bool,
    ) -> Variants<'a> {
        let entries = input.phases.iter().flatten();
        let entries = entries.map(|of| &input.catalog.entries[of.entry]);
        let units = |entry: &Entry| (entry.blocks.len() + 2 * entry.chunks.len() + 16) as u64;
        let work: u64 = entries.clone().map(units).sum::<u64>().max(1);
        let phases = input.phases.len().max(1) as u64;
        let mut variants = Variants {
            tiers,
            input,
            seen,
            start,
            ticks,
            stop,
            tried: Vec::new(),
            left_out: 0,
            plays_left: (WORK_MAX / work).max(1).saturating_mul(phases),
            steps_left: STEPS_MAX,
            has_played: false,
            needed_blocks: blocks_needed(&input.units, entries),
        };
        match tiers.rule {
            Rule::Vllm => variants.try_vllm(),
            Rule::Exact => variants.try_exact(),
        }
        variants
    }

    /// The variant whose figures are reported: it explains most phases, then most answers. Where several do, the usual mode
    /// comes first, and of these the one in the middle.
    pub fn best(&self) -> &Variant {
        let rank = |variant: &&Variant| {
            let mode = self.tried.iter().position(|other| other.kind == variant.kind);
            (usize::MAX - variant.explained, variant.mismatched(), mode)
        };
        let best = self.tried.iter().map(|variant| rank(&variant)).min();
        let mut alike: Vec<&Variant> = self
            .tried
            .iter()
            .filter(|variant| Some(rank(variant)) == best)
            .collect();
        alike.sort_by_key(|variant| variant.computed());
        alike[(alike.len() - 1) / 2]
    }

    /// Plays a variant again and keeps each request.
    pub fn in_detail(&self, variant: &Variant) -> Vec<Played> {
        match variant.kind {
            Kind::Vllm(mode) => {
                let mut run = self.vllm(mode, variant.ticking);
                let shifts = variant.shifts_ns.iter().enumerate();
                shifts.map(|(number, shift)| run.phase(number, *shift, true)).collect()
            }
            Kind::Exact { .. } => self.exact(&variant.orders, true),
        }
    }

    fn stack(&self, foreign_chunks: u64) -> Stack {
        self.tiers
            .stack(&self.input.catalog, self.needed_blocks, foreign_chunks)
    }

    fn vllm(&self, mode: Mode, ticking: Option<Ticking>) -> vllm::Run<'a> {
        let foreign = if mode.foreign { self.foreign_chunks() } else { 0 };
        vllm::Run::new(self.input, mode, self.stack(foreign), ticking)
    }

    /// What L1 held at the start, at most.
    fn foreign_chunks(&self) -> u64 {
        match (self.start, self.tiers.l1) {
            (Start::Unknown { l1_chunks }, Capacity::Units(most)) => l1_chunks.map_or(most, |chunks| chunks.min(most)),
            _ => 0,
        }
    }

    fn exact(&self, orders: &Orders, keep: bool) -> Vec<Played> {
        let Stack::Exact(stack) = self.stack(0) else {
            return Vec::new();
        };
        let mut run = exact::Run::new(self.input, stack);
        let phases = orders.iter().enumerate();
        phases.map(|(number, order)| run.phase(number, order, keep)).collect()
    }

    fn try_exact(&mut self) {
        let Stack::Exact(stack) = self.stack(0) else {
            return;
        };
        let unclear = self.input.phases.iter().any(|phase| exact::has_other_orders(phase));
        let failed = self.input.phases.iter().flatten().any(|of| !of.counts);
        let orders = [Arrivals::AsSent, Arrivals::ByAnswers, Arrivals::Reversed];
        for failed in [false, true].into_iter().take(1 + usize::from(failed)) {
            for arrivals in orders.into_iter().take(if unclear { 3 } else { 1 }) {
                if !self.may_play() || self.is_explained() {
                    continue;
                }
                let orders = exact::orders(self.input, self.seen, arrivals, failed, &stack, &mut self.steps_left);
                let phases = self.exact(&orders, false);
                self.has_played = true;
                self.plays_left = self.plays_left.saturating_sub(phases.len() as u64);
                self.add(Kind::Exact { arrivals, failed }, None, Vec::new(), phases);
                if let Some(added) = self.tried.last_mut() {
                    added.orders = orders;
                }
            }
        }
        // The search for an order was cut short.
        self.left_out += u64::from(self.steps_left == 0);
    }

    fn try_vllm(&mut self) {
        let mut with_ticks = Vec::new();
        for mode in self.modes() {
            if !self.may_play() {
                continue;
            }
            // Without ticks first: if L1 never gets as full as its watermark, they do nothing.
            let mut run = self.vllm(mode, None);
            let phases = self.all_phases(&mut run);
            match run.was_over() {
                true => with_ticks.push(mode),
                false => self.add(Kind::Vllm(mode), None, vec![0; phases.len()], phases),
            }
        }
        let tickings = self.tickings(with_ticks.len() as u64);
        for mode in &with_ticks {
            for ticking in &tickings {
                self.try_ticks(*mode, *ticking);
            }
        }
        if !self.is_checked() {
            return;
        }
        for mode in &with_ticks {
            for ticking in &tickings {
                self.try_shifts(*mode, *ticking);
            }
        }
        for mode in &with_ticks {
            for (ticking, draws) in tickings.iter().zip(0..) {
                if !self.is_explained() {
                    let delays = Some(draws);
                    self.try_ticks(*mode, Ticking { delays, ..*ticking });
                }
            }
        }
    }

    fn try_ticks(&mut self, mode: Mode, ticking: Ticking) {
        if !self.tried.is_empty() && !self.may_play() {
            return;
        }
        let mut run = self.vllm(mode, Some(ticking));
        let phases = self.all_phases(&mut run);
        self.add(Kind::Vllm(mode), Some(ticking), vec![0; phases.len()], phases);
    }

    /// Moves the ticks of each phase, as far as needed to explain it.
    fn try_shifts(&mut self, mode: Mode, ticking: Ticking) {
        let phases = self.input.phases.len();
        if self.plays_left < (phases * SHIFTS_NS.len()) as u64 || (self.stop)() || self.is_explained() {
            return;
        }
        let mut run = self.vllm(mode, Some(ticking));
        let (mut shifts, mut all) = (Vec::new(), Vec::new());
        for number in 0..phases {
            let mut first = None;
            let mut explains = None;
            for shift in SHIFTS_NS {
                let mut moved = run.clone();
                let played = moved.phase(number, shift, false);
                self.plays_left -= 1;
                let is_seen = played.explains(&self.seen[number]);
                let tried = (shift, moved, played);
                if is_seen {
                    explains = Some(tried);
                    break;
                }
                first.get_or_insert(tried);
            }
            if let Some((shift, moved, played)) = explains.or(first) {
                shifts.push(shift);
                run = moved;
                all.push(played);
            }
        }
        self.add(Kind::Vllm(mode), Some(ticking), shifts, all);
    }

    fn all_phases(&mut self, run: &mut vllm::Run) -> Vec<Played> {
        let phases = 0..self.input.phases.len();
        self.has_played = true;
        self.plays_left = self.plays_left.saturating_sub(phases.len() as u64);
        phases.map(|number| run.phase(number, 0, false)).collect()
    }

    /// The usual mode first.
    fn modes(&self) -> Vec<Mode> {
        let requests = || self.input.phases.iter().flatten();
        let answers = requests().any(|of| {
            let entry = &self.input.catalog.entries[of.entry];
            entry.blocks.len() > entry.tokens() / self.input.catalog.block_tokens
        });
        let failed = requests().any(|of| !of.counts);
        let foreign = self.foreign_chunks() > 0;
        let mut modes = vec![Mode::USUAL];
        if self.input.phases.iter().any(|phase| overlapping(phase) > 0) {
            let others = [
                (false, true, false),
                (true, false, false),
                (true, true, false),
                (false, false, true),
                (true, false, true),
            ];
            modes.extend(others.map(|(by_sent, one_prefill, slow)| Mode {
                by_sent,
                one_prefill,
                slow,
                ..Mode::USUAL
            }));
        }
        let mut add = |wanted: bool, change: fn(&mut Mode)| {
            if wanted {
                let mut mode = Mode::USUAL;
                change(&mut mode);
                modes.push(mode);
            }
        };
        add(answers, |mode| mode.answers = false);
        add(failed, |mode| mode.failed = true);
        add(foreign, |mode| mode.foreign = true);
        modes
    }

    /// The eviction loops to be tried, for so many modes, each as on an idle machine.
    fn tickings(&mut self, modes: u64) -> Vec<Ticking> {
        let begins = self.input.phases.iter().flatten().map(|of| of.sent_ns).min();
        let (Some(begins), true) = (begins, modes > 0) else {
            return Vec::new();
        };
        let wanted: Vec<i64> = match self.ticks {
            Ticks::At(at) => {
                let last = begins.saturating_sub(begins.saturating_sub(at).rem_euclid(TICK_PERIOD_NS));
                SHIFTS_NS[..3].iter().map(|shift| last.saturating_add(*shift)).collect()
            }
            Ticks::Unknown => {
                let step = TICK_PERIOD_NS / TICK_PHASES as i64;
                (1..=TICK_PHASES as i64)
                    .map(|phase| begins.saturating_sub(phase * step))
                    .collect()
            }
        };
        let affordable = (self.plays_left / self.input.phases.len().max(1) as u64 / modes).max(1) as usize;
        let stride = wanted.len().div_ceil(affordable);
        let tried = wanted.iter().step_by(stride);
        let tried = tried.map(|next_ns| Ticking {
            next_ns: *next_ns,
            delays: None,
        });
        let tried: Vec<Ticking> = tried.collect();
        self.left_out += modes * (wanted.len() - tried.len()) as u64;
        tried
    }

    /// Whether there is time for one more variant; the first is always played.
    fn may_play(&mut self) -> bool {
        let has_time = self.plays_left >= self.input.phases.len() as u64 && !(self.stop)();
        let may = !self.has_played || has_time;
        self.left_out += u64::from(!may);
        may
    }

    /// Whether a variant that was tried gives all that was counted, if anything was.
    fn is_explained(&self) -> bool {
        let phases = self.input.phases.len();
        self.is_checked() && self.tried.iter().any(|variant| variant.explained == phases)
    }

    fn is_checked(&self) -> bool {
        let mut requests = self.input.phases.iter().flatten();
        self.seen.iter().any(|seen| *seen != Seen::default()) || requests.any(|of| of.cached_tokens.is_some())
    }

    fn add(&mut self, kind: Kind, ticking: Option<Ticking>, shifts_ns: Vec<i64>, phases: Vec<Played>) {
        let by_answers = matches!(kind, Kind::Exact { .. });
        let as_counted = phases.iter().zip(self.seen).take_while(|(played, seen)| {
            // The mock's answers are exact, so each of them must be met.
            played.explains(seen) && (!by_answers || played.mismatched == 0)
        });
        self.tried.push(Variant {
            kind,
            ticking,
            shifts_ns,
            orders: Orders::new(),
            explained: as_counted.count(),
            phases,
        });
    }
}

/// Requests of a phase that were in flight together with another one.
pub fn overlapping(requests: &[Timed]) -> u64 {
    let mut order: Vec<&Timed> = requests.iter().collect();
    order.sort_by_key(|of| of.sent_ns);
    let mut latest_end = i64::MIN;
    let mut together = 0;
    for (number, of) in order.iter().enumerate() {
        let next = order.get(number + 1);
        let overlaps = latest_end > of.sent_ns || next.is_some_and(|next| of.done_ns > next.sent_ns);
        together += u64::from(overlaps);
        latest_end = latest_end.max(of.done_ns);
    }
    together
}
