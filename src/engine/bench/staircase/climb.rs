//! The order of a staircase: working sets as long as the budget lasts, then prompts of several lengths. What measures them is
//! passed in.

use crate::engine::report::staircase::Climbed;
use crate::error::Error;
use crate::ledger::staircase::circle::{Circle, behind, grain};
use crate::ledger::staircase::plan::{Action, Ended, Plan};
use crate::ledger::staircase::probes::{Probes, Sent, Settings, Source, Step};
use crate::ledger::staircase::usable::Reach;
use crate::ledger::staircase::{Point, Tier, Tiers};

/// Working sets may use this share of the budget, so that prompts are measured too. One that is under way then is lost.
const SHARE_OF_POINTS: f64 = 0.7;
/// Prompts of each length.
const PROMPTS: u64 = 5;
/// The longest prompt has at least so many chunks.
const LONGEST_CHUNKS: u64 = 16;

/// Measures one thing. `None`: a signal came or its time is over, and what was measured is not whole.
pub trait Measure {
    /// Seconds of the budget that are left.
    fn left_s(&self) -> f64;
    /// From here on what is under way ends when only so many seconds of the budget are left.
    fn keep_back(&mut self, seconds: f64);
    fn is_interrupted(&self) -> bool;
    fn point(&mut self, circle: Circle) -> Result<Option<Point>, Error>;
    fn send(&mut self, source: Source, length: u64, prompts: u64) -> Result<Option<Sent>, Error>;
    /// Sends new documents of so many tokens together.
    fn fill(&mut self, tokens: u64) -> Result<Option<()>, Error>;
}

/// Measures until the plan is over; everything that is known goes into `climbed`, also before an error. `longest` is what the model
/// takes at most.
pub fn climb(climbed: &mut Climbed, measure: &mut dyn Measure, longest: Option<u64>) -> Result<(), Error> {
    let for_prompts_s = (1.0 - SHARE_OF_POINTS) * measure.left_s();
    measure.keep_back(for_prompts_s);
    loop {
        match climbed.plan.next(measure.left_s() - for_prompts_s) {
            Action::Done(ended) => {
                climbed.ended = Some(ended);
                break;
            }
            Action::Measure(circle) => {
                let point = measure.point(circle);
                match whole(point, measure)? {
                    Some(point) => climbed.plan.record(point),
                    None if measure.is_interrupted() => return Ok(()),
                    None => {
                        climbed.ended = Some(Ended::Budget);
                        climbed.cut_off = Some(circle.working_set());
                        break;
                    }
                }
            }
        }
    }
    measure.keep_back(0.0);
    let probes = climbed.probes.insert(Probes::new(of_probes(&climbed.plan, longest)));
    while let Some(step) = probes.next(measure.left_s()) {
        let is_whole = match step {
            Step::Fill { tokens } => {
                let filled = measure.fill(tokens);
                whole(filled, measure)?.is_some()
            }
            Step::Send {
                source,
                length,
                prompts,
            } => {
                let sent = measure.send(source, length, prompts);
                let sent = whole(sent, measure)?;
                let is_whole = sent.is_some();
                sent.into_iter().for_each(|sent| probes.record(sent));
                is_whole
            }
        };
        if measure.is_interrupted() {
            return Ok(());
        }
        if !is_whole {
            probes.cut_off(step);
        }
    }
    Ok(())
}

/// A signal also ends the waits for the servers' counters, and their pages. What was read then says nothing, and that it could not
/// be read is no failure.
fn whole<T>(measured: Result<Option<T>, Error>, measure: &dyn Measure) -> Result<Option<T>, Error> {
    if measure.is_interrupted() {
        return Ok(None);
    }
    measured
}

/// Sizes that nobody said are those that the working sets have shown.
fn of_probes(plan: &Plan, longest: Option<u64>) -> Settings {
    let settings = plan.settings();
    let (usable, tiers) = (plan.usable(), settings.tiers);
    let found = |reach: Option<Reach>| match reach {
        Some(Reach::Cliff { holds, .. }) => Some(holds.tokens),
        _ => None,
    };
    let l1 = usable.l1.filter(|l1| l1.has_cliff == Some(true)).map(|l1| l1.reach);
    let served = |of: fn(&Point) -> u64| plan.points().iter().any(|point| of(point) > 0);
    let has = |tier| tiers.size(tier).is_some_and(|size| size > 0);
    let chunks = LONGEST_CHUNKS * grain(&tiers) + behind(&tiers);
    let wanted = settings.document_tokens.max(chunks);
    Settings {
        has_l1: has(Tier::L1) || served(|point| point.tokens.l1.max),
        has_l2: has(Tier::L2) || served(|point| point.tokens.l2.max),
        tiers: Tiers {
            hbm: tiers.hbm.or(found(usable.hbm)),
            l1: tiers.l1.or(found(l1)),
            ..tiers
        },
        prompts: PROMPTS,
        longest: longest.map_or(wanted, |longest| wanted.min(longest / 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::staircase::plan;
    use crate::ledger::staircase::probes::NotIsolated;
    use crate::ledger::staircase::{Span, Tokens};

    /// HBM of 20,000 tokens that holds a working set or nothing of it; 0.1 ms for each computed token.
    struct Steps {
        left_s: f64,
        points: u64,
        sent: u64,
        kept_back_s: f64,
        /// A signal comes during the point of this number.
        stops_at: u64,
        fails_at: u64,
        /// Pages cannot be read after the signal.
        loses_page: bool,
        interrupted: bool,
    }

    fn steps(budget_s: f64) -> Steps {
        Steps {
            left_s: budget_s,
            points: 0,
            sent: 0,
            kept_back_s: 0.0,
            stops_at: u64::MAX,
            fails_at: u64::MAX,
            loses_page: false,
            interrupted: false,
        }
    }

    impl Steps {
        /// Time passes; false if what takes it is cut off.
        fn takes(&mut self, seconds: f64) -> bool {
            let is_whole = self.left_s - seconds >= self.kept_back_s;
            self.left_s = (self.left_s - seconds).max(self.kept_back_s);
            is_whole
        }
    }

    fn tokens(prompt: u64, hbm: u64) -> Tokens {
        Tokens {
            prompt,
            computed: prompt - hbm,
            hbm,
            l1: Span::exactly(0),
            l2: Span::exactly(0),
            doubtful: 0,
        }
    }

    impl Measure for Steps {
        fn left_s(&self) -> f64 {
            self.left_s
        }

        fn keep_back(&mut self, seconds: f64) {
            self.kept_back_s = seconds;
        }

        fn is_interrupted(&self) -> bool {
            self.interrupted
        }

        fn point(&mut self, circle: Circle) -> Result<Option<Point>, Error> {
            self.points += 1;
            if self.points == self.fails_at {
                return Err(Error::Environment("connection refused".into()));
            }
            if self.points == self.stops_at {
                self.interrupted = true;
                return match self.loses_page {
                    true => Err(Error::Environment("the engine's page, after".into())),
                    false => Ok(None),
                };
            }
            let prompt = circle.working_set() * 3;
            let hbm = if circle.working_set() <= 20_000 { prompt - 8 } else { 0 };
            let filling_s = circle.working_set() as f64 * 1e-4;
            let seconds = filling_s + (prompt - hbm) as f64 * 1e-4;
            if !self.takes(seconds) {
                return Ok(None);
            }
            Ok(Some(Point {
                circle,
                passes: 3,
                tokens: tokens(prompt, hbm),
                ttft_s: vec![0.1],
                filling_s,
                seconds,
            }))
        }

        fn send(&mut self, source: Source, length: u64, prompts: u64) -> Result<Option<Sent>, Error> {
            self.sent += 1;
            let prompt = length * prompts;
            let (hbm, each) = match source {
                Source::Computed => (0, length as f64 * 1e-4),
                Source::From(_) => ((length - 1) / 16 * 16 * prompts, 0.001),
            };
            if !self.takes(each * prompts as f64) {
                return Ok(None);
            }
            Ok(Some(Sent {
                source,
                length,
                tokens: tokens(prompt, hbm),
                ttft_s: vec![each; prompts as usize],
                seconds: each * prompts as f64,
            }))
        }

        fn fill(&mut self, _: u64) -> Result<Option<()>, Error> {
            panic!("there is no tier below HBM")
        }
    }

    fn climbed() -> Climbed {
        let tiers = Tiers {
            hbm: Some(20_000),
            block: Some(16),
            ..Tiers::default()
        };
        Climbed {
            plan: Plan::new(plan::Settings {
                tiers,
                document_tokens: 624,
                growing: 8,
                passes: 3,
                settle_s: 0.0,
            }),
            ended: None,
            cut_off: None,
            probes: None,
            bytes_per_token: None,
            failure: None,
        }
    }

    #[test]
    fn prompts_follow_when_the_sizes_are_known() {
        let (mut climbed, mut steps) = (climbed(), steps(1e9));
        climb(&mut climbed, &mut steps, Some(2_000)).unwrap();
        assert_eq!(climbed.ended, Some(Ended::Found));
        let lines = climbed.probes.as_ref().unwrap().lines();
        assert!(lines[0].line.is_ok() && lines[1].line.is_ok(), "{lines:?}");
        assert!(climbed.probes.unwrap().sent().iter().all(|sent| sent.length <= 1_000));
    }

    #[test]
    fn working_sets_leave_a_part_of_the_budget_for_prompts() {
        let (mut climbed, mut steps) = (climbed(), steps(20.0));
        climb(&mut climbed, &mut steps, None).unwrap();
        assert_eq!(climbed.ended, Some(Ended::Budget));
        assert!(steps.sent > 0 && !climbed.plan.points().is_empty());
    }

    #[test]
    fn a_working_set_that_is_cut_off_leaves_the_time_of_prompts() {
        // The first working set is of 5,000 tokens, of which 0.5 s are the first pass.
        let (mut climbed, mut steps) = (climbed(), steps(0.6));
        climb(&mut climbed, &mut steps, None).unwrap();
        assert_eq!((climbed.ended, climbed.cut_off), (Some(Ended::Budget), Some(4_992)));
        assert!(climbed.plan.points().is_empty());
        assert!(!climbed.probes.unwrap().sent().is_empty());
        assert_eq!(steps.kept_back_s, 0.0);
    }

    #[test]
    fn prompts_that_are_cut_off_say_that_the_budget_ended() {
        // 6 ms for prompts, of which five of 24 tokens take 12.
        let (mut climbed, mut steps) = (climbed(), steps(0.02));
        climb(&mut climbed, &mut steps, None).unwrap();
        let lines = climbed.probes.unwrap().lines();
        assert_eq!(lines[0].line, Err(NotIsolated::Budget));
        assert_eq!(lines[1].line, Err(NotIsolated::Budget));
    }

    #[test]
    fn a_page_that_a_signal_kept_from_being_read_is_no_failure() {
        let (mut climbed, mut measure) = (climbed(), steps(1e9));
        (measure.stops_at, measure.loses_page) = (4, true);
        climb(&mut climbed, &mut measure, None).unwrap();
        assert_eq!((climbed.ended, climbed.plan.points().len(), measure.sent), (None, 3, 0));
    }

    #[test]
    fn what_was_measured_before_a_signal_or_an_error_is_kept() {
        let (mut stopped, mut measure) = (climbed(), steps(1e9));
        measure.stops_at = 4;
        climb(&mut stopped, &mut measure, None).unwrap();
        assert_eq!((stopped.ended, stopped.plan.points().len(), measure.sent), (None, 3, 0));
        let (mut failed, mut measure) = (climbed(), steps(1e9));
        measure.fails_at = 3;
        assert!(climb(&mut failed, &mut measure, None).is_err());
        assert_eq!((failed.ended, failed.plan.points().len()), (None, 2));
    }
}
