//! How many tokens an LMCache server has looked up, and how many of them it had. It counts in one of two families: `mp` for
//! lookups by prefix, `blend` for those of the module for blending, which finds text behind any other. Servers of 0.5.6 and
//! 0.5.7 export both.

use crate::http::prometheus;

const MP: [&str; 2] = [
    "lmcache_mp_lookup_requested_tokens_total",
    "lmcache_mp_lookup_hit_tokens_total",
];
const BLEND: [&str; 2] = [
    "lmcache_blend_lookup_requested_tokens_total",
    "lmcache_blend_lookup_hit_tokens_total",
];

/// Tokens of one family: either since the server was started, or between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tokens {
    pub requested: f64,
    pub hit: f64,
}

/// The tokens of both families; `None` for one that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LookupCounts {
    pub mp: Option<Tokens>,
    pub blend: Option<Tokens>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Mp,
    Blend,
}

/// What two readings say was looked up between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Growth {
    /// The family in which more was looked up, and its tokens.
    Of(Family, Tokens),
    Unknown(Unknown),
}

/// Why it is not known what was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Both families were read twice, and neither grew.
    NotCounted,
    /// The page, or a counter on it, could not be read.
    Unread,
    /// A counter fell, as after a restart of the server.
    Fell,
}

impl Unknown {
    /// The beginning of a sentence about a phase.
    pub fn sentence(self, phase: &str) -> String {
        match self {
            Unknown::NotCounted => format!("The LMCache server counted no tokens looked up during {phase}"),
            Unknown::Unread => {
                format!("The LMCache server's counters of lookups could not be read both before and after {phase}")
            }
            Unknown::Fell => {
                format!("The LMCache server's counters of lookups fell during {phase}, as after a restart")
            }
        }
    }
}

impl Growth {
    /// `None` stands for a page that could not be read.
    pub fn between(before: Option<LookupCounts>, after: Option<LookupCounts>) -> Growth {
        let (Some(before), Some(after)) = (before, after) else {
            return Growth::Unknown(Unknown::Unread);
        };
        let grown = after.since(&before);
        if let Some((family, tokens)) = grown.larger() {
            return Growth::Of(family, tokens);
        }
        Growth::Unknown(if grown.is_whole() {
            Unknown::NotCounted
        } else if before.is_whole() && after.is_whole() {
            Unknown::Fell
        } else {
            Unknown::Unread
        })
    }

    pub fn known(self) -> Option<(Family, Tokens)> {
        match self {
            Growth::Of(family, tokens) => Some((family, tokens)),
            Growth::Unknown(_) => None,
        }
    }
}

impl LookupCounts {
    /// The counters of a page, and why some cannot be read. One that the page does not have is 0.
    pub fn of(page: &str) -> (LookupCounts, Vec<String>) {
        let mut problems = Vec::new();
        let mut count = |name: &str| match prometheus::counter(page, name, None) {
            Ok(count) => Some(count.unwrap_or(0.0)),
            Err(why) => {
                problems.push(why);
                None
            }
        };
        let mut family = |[requested, hit]: [&str; 2]| {
            let (requested, hit) = (count(requested), count(hit));
            Some(Tokens {
                requested: requested?,
                hit: hit?,
            })
        };
        let counts = LookupCounts {
            mp: family(MP),
            blend: family(BLEND),
        };
        (counts, problems)
    }

    /// What was counted since an earlier moment, each family by itself. A family that went back, as after a restart of the
    /// server, is unknown.
    pub fn since(&self, earlier: &LookupCounts) -> LookupCounts {
        let grown = |now: Option<Tokens>, before: Option<Tokens>| {
            let (now, before) = (now?, before?);
            let grown = Tokens {
                requested: now.requested - before.requested,
                hit: now.hit - before.hit,
            };
            (grown.requested >= 0.0 && grown.hit >= 0.0).then_some(grown)
        };
        LookupCounts {
            mp: grown(self.mp, earlier.mp),
            blend: grown(self.blend, earlier.blend),
        }
    }

    fn is_whole(&self) -> bool {
        self.mp.is_some() && self.blend.is_some()
    }

    /// The family in which more was looked up, `mp` if both are equal. `None` where nothing was.
    pub fn larger(&self) -> Option<(Family, Tokens)> {
        let families = [(Family::Mp, self.mp), (Family::Blend, self.blend)];
        let known = families
            .into_iter()
            .filter_map(|(family, tokens)| Some((family, tokens?)));
        known
            .filter(|(_, tokens)| tokens.requested > 0.0)
            .reduce(|first, second| {
                if second.1.requested > first.1.requested {
                    second
                } else {
                    first
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Lines that the reference drops although they are samples, with what they count; and one that counts no number.
    const READ_HERE: [(&str, f64, f64); 2] = [
        (
            "lmcache_mp_lookup_requested_tokens_total 10 1700000000\nlmcache_mp_lookup_hit_tokens_total{m=\"a b\"} 4\n",
            10.0,
            4.0,
        ),
        (
            "lmcache_mp_lookup_hit_tokens_created 99\nlmcache_mp_lookup_hit_tokens 98\n lmcache_mp_lookup_requested_tokens_total 7\n",
            7.0,
            0.0,
        ),
    ];

    #[test]
    fn pages_are_read_as_the_reference_reads_them_and_better() {
        let vectors = include_str!("../../../tests/golden/engine/kv-tier-pressure-vectors.json");
        let vectors: Value = serde_json::from_str(vectors).unwrap();
        let mut differences = 0;
        for case in vectors["metrics"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let (counts, problems) = LookupCounts::of(text);
            if let Some((_, requested, hit)) = READ_HERE.iter().find(|(page, ..)| *page == text) {
                differences += 1;
                let tokens = Tokens {
                    requested: *requested,
                    hit: *hit,
                };
                assert_eq!(counts.larger(), Some((Family::Mp, tokens)), "{text}");
                continue;
            }
            if case["requested"] == "NaN" {
                assert_eq!((counts.mp, problems.len()), (None, 1), "{text}");
            }
            let family = match counts.larger() {
                None => "",
                Some((Family::Mp, _)) => "mp",
                Some((Family::Blend, _)) => "blend",
            };
            assert_eq!(family, case["family"], "{text}");
            if let Some((_, tokens)) = counts.larger() {
                assert_eq!(
                    (tokens.requested, tokens.hit),
                    (case["requested"].as_f64().unwrap(), case["hit"].as_f64().unwrap())
                );
            }
        }
        assert_eq!(differences, READ_HERE.len());
    }

    #[test]
    fn families_are_never_mixed() {
        let counts = |mp: [f64; 2], blend: [f64; 2]| {
            let tokens = |[requested, hit]: [f64; 2]| Some(Tokens { requested, hit });
            LookupCounts {
                mp: tokens(mp),
                blend: tokens(blend),
            }
        };
        let before = counts([1000.0, 500.0], [10.0, 1.0]);
        let after = counts([1005.0, 502.0], [210.0, 101.0]);
        let (family, tokens) = after.since(&before).larger().unwrap();
        assert_eq!(
            (family, tokens),
            (
                Family::Blend,
                Tokens {
                    requested: 200.0,
                    hit: 100.0
                }
            )
        );
        assert_eq!(before.since(&before).larger(), None);
        // A restarted server has counted from 0 again.
        let restarted = counts([400.0, 300.0], [0.0, 0.0]);
        assert_eq!(restarted.since(&before), LookupCounts::default());
        assert_eq!(after.since(&LookupCounts::default()).larger(), None);
    }

    #[test]
    fn what_could_not_be_read_is_not_what_did_not_grow() {
        let counts = |requested: Option<f64>, blend: f64| {
            let tokens = |requested| Tokens { requested, hit: 0.0 };
            Some(LookupCounts {
                mp: requested.map(tokens),
                blend: Some(tokens(blend)),
            })
        };
        let unknown = |before, after| match Growth::between(before, after) {
            Growth::Unknown(why) => why,
            Growth::Of(..) => panic!("it is known"),
        };
        let read = counts(Some(5.0), 0.0);
        assert_eq!(unknown(read, read), Unknown::NotCounted);
        for (before, after) in [
            (None, read),
            (read, None),
            (counts(None, 0.0), read),
            (read, counts(None, 0.0)),
        ] {
            assert_eq!(unknown(before, after), Unknown::Unread, "{before:?} {after:?}");
        }
        assert_eq!(unknown(read, counts(Some(4.0), 0.0)), Unknown::Fell);
        // One family is enough.
        let grown = Growth::between(counts(None, 1.0), counts(None, 3.0)).known();
        assert_eq!(
            grown.map(|(family, tokens)| (family, tokens.requested)),
            Some((Family::Blend, 2.0))
        );
    }
}
