//! The order of a staircase: working sets as long as the budget lasts, then prompts of several lengths. What measures them is
//! passed in.

use crate::engine::report::staircase::Climbed;
use crate::error::Error;
use crate::ledger::staircase::circle::{Circle, behind, grain};
use crate::ledger::staircase::plan::{Action, Ended, Plan};
use crate::ledger::staircase::probes::{Probes, Sent, Settings, Source, Step};
use crate::ledger::staircase::usable::Reach;
use crate::ledger::staircase::{Point, Tier, Tiers};

/// Working sets may use this share of the budget, so that prompts are measured too.
const SHARE_OF_POINTS: f64 = 0.7;
/// Prompts of each length.
const PROMPTS: u64 = 5;
/// The longest prompt has at least so many chunks.
const LONGEST_CHUNKS: u64 = 16;

/// Measures one thing. `None`: a signal came or the budget is over, and what was measured is not whole.
pub trait Measure {
    /// Seconds of the budget that are left.
    fn left_s(&self) -> f64;
    fn point(&mut self, circle: Circle) -> Result<Option<Point>, Error>;
    fn send(&mut self, source: Source, length: u64, prompts: u64) -> Result<Option<Sent>, Error>;
    /// Sends new documents of so many tokens together.
    fn fill(&mut self, tokens: u64) -> Result<Option<()>, Error>;
}

/// Measures until the plan is over; everything that is known goes into `climbed`, also before an error. `longest` is what the model
/// takes at most.
pub fn climb(climbed: &mut Climbed, measure: &mut dyn Measure, longest: Option<u64>) -> Result<(), Error> {
    let budget_s = measure.left_s();
    loop {
        let left_s = measure.left_s() - (1.0 - SHARE_OF_POINTS) * budget_s;
        match climbed.plan.next(left_s) {
            Action::Done(ended) => {
                climbed.ended = Some(ended);
                break;
            }
            Action::Measure(circle) => match measure.point(circle)? {
                Some(point) => climbed.plan.record(point),
                None => {
                    climbed.ended = (measure.left_s() <= 0.0).then_some(Ended::Budget);
                    return Ok(());
                }
            },
        }
    }
    let probes = climbed.probes.insert(Probes::new(of_probes(&climbed.plan, longest)));
    while let Some(step) = probes.next(measure.left_s()) {
        match step {
            Step::Fill { tokens } => {
                if measure.fill(tokens)?.is_none() {
                    return Ok(());
                }
            }
            Step::Send {
                source,
                length,
                prompts,
            } => match measure.send(source, length, prompts)? {
                Some(sent) => probes.record(sent),
                None => return Ok(()),
            },
        }
    }
    Ok(())
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
    let chunks = LONGEST_CHUNKS * grain(&tiers) + behind(&tiers);
    let wanted = settings.document_tokens.max(chunks);
    Settings {
        has_l1: tiers.size(Tier::L1).is_some() || served(|point| point.tokens.l1.max),
        has_l2: tiers.size(Tier::L2).is_some() || served(|point| point.tokens.l2.max),
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
    use crate::ledger::staircase::{Span, Tokens};

    /// HBM of 20,000 tokens that holds a working set or nothing of it; 0.1 ms for each computed token.
    struct Steps {
        left_s: f64,
        points: u64,
        sent: u64,
        /// Ends before the point of this number.
        stops_at: u64,
        fails_at: u64,
    }

    fn steps(budget_s: f64) -> Steps {
        Steps {
            left_s: budget_s,
            points: 0,
            sent: 0,
            stops_at: u64::MAX,
            fails_at: u64::MAX,
        }
    }

    fn tokens(prompt: u64, hbm: u64) -> Tokens {
        Tokens {
            prompt,
            computed: prompt - hbm,
            hbm,
            l1: Span::exactly(0),
            l2: Span::exactly(0),
        }
    }

    impl Measure for Steps {
        fn left_s(&self) -> f64 {
            self.left_s
        }

        fn point(&mut self, circle: Circle) -> Result<Option<Point>, Error> {
            self.points += 1;
            if self.points == self.fails_at {
                return Err(Error::Environment("connection refused".into()));
            }
            if self.points == self.stops_at {
                return Ok(None);
            }
            let prompt = circle.working_set() * 3;
            let hbm = if circle.working_set() <= 20_000 { prompt - 8 } else { 0 };
            let seconds = circle.working_set() as f64 * 1e-4 + (prompt - hbm) as f64 * 1e-4;
            self.left_s -= seconds;
            Ok(Some(Point {
                circle,
                passes: 3,
                tokens: tokens(prompt, hbm),
                ttft_s: vec![0.1],
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
            self.left_s -= each * prompts as f64;
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
                settle_s: 0.0,
            }),
            ended: None,
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
