//! When each token event is due: a pure function of the settings and the request.

use crate::ledger::simulate::Sources;

/// The speed of the imitated engine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    pub ttft_ns: u64,
    pub itl_ns: u64,
    /// Added to TTFT for each prompt token, by where it came from.
    pub computed_token_ns: f64,
    pub hbm_token_ns: f64,
    pub dram_token_ns: f64,
    pub disk_token_ns: f64,
    /// Added once if any token came from that tier.
    pub dram_ns: u64,
    pub disk_ns: u64,
    /// Share of a gap by which token events may be early or late, 0 to 1. The sum does not drift.
    pub jitter: f64,
    pub seed: u64,
}

/// The due times of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Schedule {
    first_ns: u64,
    gap_ns: u64,
    jitter: f64,
    seed: u64,
}

impl Pace {
    /// The schedule of request `n` whose service begins at `begin_ns` and whose events carry `tokens_per_event` tokens each.
    pub fn schedule(&self, n: u64, begin_ns: u64, sources: &Sources, tokens_per_event: u64) -> Schedule {
        let cost = |tokens: u64, each: f64| tokens as f64 * each;
        let prefill = cost(sources.computed, self.computed_token_ns)
            + cost(sources.hbm, self.hbm_token_ns)
            + cost(sources.dram, self.dram_token_ns)
            + cost(sources.disk, self.disk_token_ns);
        let once = |tokens: u64, cost_ns: u64| if tokens > 0 { cost_ns } else { 0 };
        let loads_ns = once(sources.dram, self.dram_ns).saturating_add(once(sources.disk, self.disk_ns));
        let first_ns = begin_ns.saturating_add(self.ttft_ns).saturating_add(loads_ns);
        Schedule {
            first_ns: first_ns.saturating_add(prefill as u64),
            gap_ns: self.itl_ns.saturating_mul(tokens_per_event),
            jitter: self.jitter,
            seed: self.seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
    }
}

impl Schedule {
    /// When event `k`, counted from 0, is due.
    pub fn due_ns(&self, k: u64) -> u64 {
        let due = self.first_ns.saturating_add(self.gap_ns.saturating_mul(k));
        if self.jitter == 0.0 {
            return due;
        }
        // Half a gap to either side at most, so that events keep their order; never before the first one's own time.
        let share = (mixed(self.seed ^ k) >> 11) as f64 / (1_u64 << 53) as f64;
        due.saturating_add((share * self.jitter * self.gap_ns as f64) as u64)
    }
}

/// A well-mixed number from any number (splitmix64).
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_on_a_grid_that_starts_at_the_arrival() {
        let pace = Pace {
            ttft_ns: 20_000_000,
            itl_ns: 5_000_000,
            computed_token_ns: 100.0,
            dram_token_ns: 10.0,
            ..Pace::default()
        };
        let sources = Sources {
            hbm: 7,
            dram: 300,
            disk: 9,
            computed: 1000,
            blended: 0,
        };
        let schedule = pace.schedule(3, 1_000_000_000, &sources, 1);
        assert_eq!(schedule.due_ns(0), 1_020_103_000);
        assert_eq!(schedule.due_ns(100), 1_520_103_000);
        assert_eq!(pace.schedule(3, 0, &Sources::default(), 4).due_ns(2), 60_000_000);
    }

    #[test]
    fn a_load_has_a_fixed_cost_only_where_a_tier_supplies_tokens() {
        let pace = Pace {
            dram_token_ns: 10.0,
            dram_ns: 3_000_000,
            disk_ns: 20_000_000,
            ..Pace::default()
        };
        let first = |dram: u64, disk: u64| {
            let sources = Sources {
                hbm: 16,
                dram,
                disk,
                computed: 1,
                blended: 0,
            };
            pace.schedule(1, 0, &sources, 1).due_ns(0)
        };
        assert_eq!(first(0, 0), 0);
        assert_eq!(first(1, 0), 3_000_010);
        assert_eq!(first(512, 0), 3_005_120);
        assert_eq!(first(0, 256), 20_000_000);
        assert_eq!(first(256, 256), 23_002_560);
    }

    #[test]
    fn jitter_repeats_keeps_the_order_and_does_not_drift() {
        let pace = Pace {
            itl_ns: 1_000_000,
            jitter: 1.0,
            seed: 5,
            ..Pace::default()
        };
        let schedule = pace.schedule(1, 0, &Sources::default(), 1);
        let due: Vec<u64> = (0..1000).map(|k| schedule.due_ns(k)).collect();
        assert!(due.is_sorted());
        assert!((0..1000).all(|k| (k..=k + 1).contains(&(due[k as usize] / 1_000_000))));
        let again: Vec<u64> = (0..1000)
            .map(|k| pace.schedule(1, 0, &Sources::default(), 1).due_ns(k))
            .collect();
        assert_eq!(due, again);
        assert_ne!(due[7], pace.schedule(2, 0, &Sources::default(), 1).due_ns(7));
    }
}
