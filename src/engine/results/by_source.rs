//! TTFT by where most of a prompt came from, so that what a tier gains is a number.

use super::detail::Distribution;

/// What served more of a prompt's tokens than anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mostly {
    Computed,
    Hbm,
    L1,
    L2,
    /// From a cache, where nothing tells which.
    Cached,
}

impl Mostly {
    pub const ALL: [Mostly; 5] = [Mostly::Computed, Mostly::Hbm, Mostly::L1, Mostly::L2, Mostly::Cached];

    pub fn key(self) -> &'static str {
        match self {
            Mostly::Computed => "computed",
            Mostly::Hbm => "hbm",
            Mostly::L1 => "lmcache_l1",
            Mostly::L2 => "lmcache_l2",
            Mostly::Cached => "cached",
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Mostly::Computed => "Computed",
            Mostly::Hbm => "HBM",
            Mostly::L1 => "LMCache L1",
            Mostly::L2 => "LMCache L2",
            Mostly::Cached => "Any cache",
        }
    }
}

/// The tokens of one prompt by source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub computed: u64,
    pub hbm: u64,
    pub l1: u64,
    pub l2: u64,
}

impl Tokens {
    /// Of equal shares the faster tier's.
    fn mostly(self) -> Mostly {
        let parts = [
            (self.hbm, Mostly::Hbm),
            (self.l1, Mostly::L1),
            (self.l2, Mostly::L2),
            (self.computed, Mostly::Computed),
        ];
        let first = parts
            .into_iter()
            .reduce(|most, part| if part.0 > most.0 { part } else { most });
        first.map_or(Mostly::Computed, |(_, mostly)| mostly)
    }
}

/// One request that succeeded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served {
    pub ttft_s: f64,
    pub prompt_tokens: Option<u64>,
    /// By the answer.
    pub cached_tokens: Option<u64>,
    /// By the simulator.
    pub expected: Option<Tokens>,
}

impl Served {
    /// `None` where nothing is known of it. An answer that says something else than the simulator is right, and then its tier is
    /// not known.
    pub fn mostly(&self) -> Option<Mostly> {
        let by_answer = self.prompt_tokens.zip(self.cached_tokens).map(|(prompt, cached)| {
            let computed = prompt.saturating_sub(cached);
            (
                cached,
                if cached > computed {
                    Mostly::Cached
                } else {
                    Mostly::Computed
                },
            )
        });
        match (self.expected, by_answer) {
            (Some(expected), Some((cached, mostly))) if expected.hbm + expected.l1 + expected.l2 != cached => {
                Some(mostly)
            }
            (Some(expected), _) => Some(expected.mostly()),
            (None, by_answer) => by_answer.map(|(_, mostly)| mostly),
        }
    }
}

/// A row for each source that served a request, in the order of [`Mostly::ALL`].
pub fn ttft_ms(served: &[Served]) -> Vec<(Mostly, Distribution)> {
    let row = |mostly| {
        let of_it = served.iter().filter(|served| served.mostly() == Some(mostly));
        (mostly, Distribution::of(of_it.map(|served| served.ttft_s), 1e3))
    };
    let rows = Mostly::ALL.into_iter().map(row);
    rows.filter(|(_, distribution)| distribution.count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(ttft_ms: f64, cached: Option<u64>, expected: Option<[u64; 4]>) -> Served {
        Served {
            ttft_s: ttft_ms / 1e3,
            prompt_tokens: Some(1000),
            cached_tokens: cached,
            expected: expected.map(|[computed, hbm, l1, l2]| Tokens { computed, hbm, l1, l2 }),
        }
    }

    #[test]
    fn a_request_belongs_to_what_served_most_of_it() {
        for (cached, expected, mostly) in [
            (Some(0), Some([1000, 0, 0, 0]), Mostly::Computed),
            (Some(900), Some([100, 300, 500, 100]), Mostly::L1),
            (Some(900), Some([100, 100, 300, 500]), Mostly::L2),
            (Some(800), Some([200, 400, 400, 0]), Mostly::Hbm),
            (None, Some([100, 900, 0, 0]), Mostly::Hbm),
            // The answer says something else.
            (Some(100), Some([100, 900, 0, 0]), Mostly::Computed),
            (Some(600), Some([1000, 0, 0, 0]), Mostly::Cached),
            (Some(600), None, Mostly::Cached),
            (Some(500), None, Mostly::Computed),
        ] {
            assert_eq!(
                served(1.0, cached, expected).mostly(),
                Some(mostly),
                "{cached:?} {expected:?}"
            );
        }
        assert_eq!(served(1.0, None, None).mostly(), None);
    }

    #[test]
    fn each_source_has_its_own_times() {
        let all = [
            served(100.0, Some(0), None),
            served(300.0, Some(0), None),
            served(10.0, Some(900), None),
        ];
        let rows = ttft_ms(&all);
        let shown: Vec<(Mostly, usize, f64)> = rows
            .iter()
            .map(|(mostly, of_it)| (*mostly, of_it.count, of_it.spread.mean))
            .collect();
        assert_eq!(shown, [(Mostly::Computed, 2, 200.0), (Mostly::Cached, 1, 10.0)]);
    }
}
