//! Whether the LMCache server blends, by what it looked up in the warm-up sweep and in the measured phase, and what of that is not
//! known.

use super::warning::Warning;
use crate::engine::ask::lookups::{Family, Growth, LookupCounts};
use crate::engine::config::{CacheFacts, L1Memory};
use crate::engine::workload::Moment;
use crate::engine::workload::lookups::Lookups;
use crate::error::Error;
use crate::result::model::Entry;

#[derive(Debug)]
pub struct Watch {
    /// Whether there is a server to read from.
    pub has_server: bool,
    facts: CacheFacts,
    docs_per_request: u64,
    lookups: Lookups,
}

impl Watch {
    pub fn new(has_server: bool, facts: &CacheFacts, docs_per_request: u64) -> Watch {
        Watch {
            has_server,
            facts: facts.clone(),
            docs_per_request,
            lookups: Lookups::default(),
        }
    }

    /// Takes a reading. After a sweep that was looked up by prefix, requests of several documents are refused: a prefix cache
    /// would reuse next to nothing of them.
    pub fn take(&mut self, at: Moment, counts: Option<LookupCounts>) -> Result<(), Error> {
        self.lookups.take(at, counts);
        match self.lookups.in_warmup() {
            Some(Growth::Of(Family::Mp, tokens)) if at == Moment::AfterWarmup && self.docs_per_request > 1 => {
                Err(not_blending(self.docs_per_request, tokens.requested))
            }
            _ => Ok(()),
        }
    }

    /// See [`Lookups::entries`].
    pub fn entries(&self, requests: u64) -> Vec<Entry> {
        self.lookups.entries(requests)
    }

    /// Whether requests hold several documents and the server says that it cannot blend.
    pub fn cannot_blend(&self) -> bool {
        self.docs_per_request > 1 && self.facts.blends == Some(false)
    }

    /// What makes the run doubtful. A run that was ended early has no last reading.
    pub fn warnings(&self, partial: bool) -> Vec<Warning> {
        if !self.has_server {
            return vec![Warning::NoLmcacheUrl];
        }
        let several = self.docs_per_request > 1;
        let mut warnings = Vec::new();
        if let L1Memory::Unknown(why) = &self.facts.l1 {
            let why = why.clone();
            warnings.push(match self.facts.blends {
                None if several => Warning::NoStatus { why },
                _ => Warning::NoL1Capacity { why },
            });
        }
        if self.cannot_blend() {
            warnings.push(Warning::NoBlendModule);
        }
        if let Some(Growth::Unknown(why)) = self.lookups.in_warmup().filter(|_| several) {
            warnings.push(Warning::Unconfirmed(why));
        }
        match self.lookups.measured() {
            Growth::Of(Family::Mp, _) if several => warnings.push(Warning::NotBlended),
            Growth::Unknown(why) if !partial => warnings.push(Warning::NoLookupTokens(why)),
            _ => {}
        }
        warnings
    }
}

fn not_blending(docs_per_request: u64, tokens: f64) -> Error {
    Error::Environment(format!(
        "--ktp-docs-per-request {docs_per_request} needs a cache that blends, and the warmup was looked up by prefix: {tokens:.0} \
         tokens by lmcache_mp_lookup_requested_tokens_total, fewer by the counter of blending. Documents in another order would \
         not be found again; use a server with blending and CBKVConnector in the engine, or give --ktp-docs-per-request 1"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ask::lookups::Tokens;
    use crate::result::model::Value;
    use crate::result::warning::Warning as _;

    fn counts(mp: [f64; 2], blend: [f64; 2]) -> Option<LookupCounts> {
        let tokens = |[requested, hit]: [f64; 2]| Some(Tokens { requested, hit });
        Some(LookupCounts {
            mp: tokens(mp),
            blend: tokens(blend),
        })
    }

    fn watch(docs_per_request: u64) -> Watch {
        let facts = CacheFacts {
            l1: L1Memory::Gb(1.0),
            blends: Some(true),
        };
        Watch::new(true, &facts, docs_per_request)
    }

    fn codes(watch: &Watch) -> Vec<&'static str> {
        watch.warnings(false).iter().map(|warning| warning.code()).collect()
    }

    /// Takes three readings that no error follows.
    fn after(watch: &mut Watch, readings: [Option<LookupCounts>; 3]) -> Vec<&'static str> {
        let moments = [Moment::BeforeWarmup, Moment::AfterWarmup, Moment::AfterMeasured];
        for (at, counts) in moments.into_iter().zip(readings) {
            watch.take(at, counts).unwrap();
        }
        codes(watch)
    }

    fn shown(watch: &Watch, requests: u64) -> Vec<Value> {
        watch.entries(requests).into_iter().map(|entry| entry.value).collect()
    }

    /// The counters of the second recorded run, as its reference read them after the sweep and at the end.
    #[test]
    fn the_figures_are_the_references() {
        let mut watch = watch(4);
        let read = [
            counts([3.0, 3.0], [0.0, 0.0]),
            counts([7.0, 3.0], [400.0, 100.0]),
            counts([7.0, 3.0], [750.0, 312.0]),
        ];
        assert!(after(&mut watch, read).is_empty());
        let expected = [
            Value::count(212),
            Value::count(350),
            Value::number(30.3, 2),
            Value::number(60.57, 2),
        ];
        assert_eq!(shown(&watch, 7), expected);
    }

    #[test]
    fn a_sweep_that_was_not_blended_ends_the_run_of_several_documents() {
        let swept = [counts([1e6, 0.0], [0.0, 0.0]), counts([1e6 + 20.0, 0.0], [19.0, 0.0])];
        let mut several = watch(2);
        several.take(Moment::BeforeWarmup, swept[0]).unwrap();
        let refused = several.take(Moment::AfterWarmup, swept[1]).unwrap_err().to_string();
        assert!(refused.contains("looked up by prefix: 20 tokens"), "{refused}");
        assert!(refused.contains("--ktp-docs-per-request 1"), "{refused}");
        // What the server did before this run does not count, and one document is always a prefix.
        let blended = [counts([1e6, 0.0], [0.0, 0.0]), counts([1e6, 0.0], [20.0, 0.0])];
        assert_eq!(
            after(&mut watch(2), [blended[0], blended[1], blended[1]]),
            ["no-lookup-tokens"]
        );
        assert!(after(&mut watch(1), [swept[0], swept[1], counts([2e6, 9.0], [19.0, 0.0])]).is_empty());
    }

    #[test]
    fn what_is_not_known_is_warned_about() {
        let still = counts([5.0, 1.0], [0.0, 0.0]);
        assert_eq!(after(&mut watch(2), [still; 3]), ["unconfirmed", "no-lookup-tokens"]);
        assert_eq!(after(&mut watch(2), [None; 3]), ["unconfirmed", "no-lookup-tokens"]);
        assert_eq!(after(&mut watch(1), [None; 3]), ["no-lookup-tokens"]);
        let mut changing = watch(2);
        let blended = counts([0.0, 0.0], [9.0, 1.0]);
        let read = [counts([0.0; 2], [0.0; 2]), blended, counts([100.0, 7.0], [9.0, 1.0])];
        assert_eq!(after(&mut changing, read), ["not-blended"]);
        assert_eq!(shown(&changing, 2)[..2], [Value::count(7), Value::count(100)]);
        // A run that was ended in the warmup has no reading behind it.
        let mut ended = watch(2);
        ended.take(Moment::BeforeWarmup, still).unwrap();
        assert!(ended.warnings(true).is_empty());
        let mut back = watch(2);
        let read = [counts([0.0; 2], [0.0; 2]), counts([0.0; 2], [21.0, 4.0]), blended];
        assert_eq!(after(&mut back, read), ["no-lookup-tokens"]);
        assert!(back.warnings(true).is_empty());
    }

    #[test]
    fn a_reading_that_failed_is_told_apart_from_a_count_that_stood_still() {
        let still = counts([5.0, 1.0], [0.0, 0.0]);
        let fallen = counts([4.0, 1.0], [0.0, 0.0]);
        for (last, said) in [
            (still, "counted no tokens looked up during the measured phase"),
            (None, "could not be read both before and after the measured phase"),
            (fallen, "fell during the measured phase, as after a restart"),
        ] {
            let mut watch = watch(1);
            assert_eq!(after(&mut watch, [still, still, last]), ["no-lookup-tokens"]);
            let text = watch.warnings(false)[0].text();
            assert!(text.contains(said), "{text}");
        }
        for (first, said) in [
            (still, "counted no tokens looked up during the warmup"),
            (None, "could not be read both before and after the warmup"),
        ] {
            let mut watch = watch(2);
            after(&mut watch, [first, still, still]);
            let text = watch.warnings(false)[0].text();
            assert!(text.contains(said), "{text}");
        }
    }

    /// The reference counts since the start of the server then, and checks nothing.
    #[test]
    fn without_a_sweep_the_figures_are_those_of_the_measured_phase() {
        let mut watch = watch(2);
        watch
            .take(Moment::AfterWarmup, counts([900.0, 50.0], [0.0, 0.0]))
            .unwrap();
        watch
            .take(Moment::AfterMeasured, counts([910.0, 52.0], [0.0, 0.0]))
            .unwrap();
        assert_eq!(codes(&watch), ["not-blended"]);
        assert_eq!(
            shown(&watch, 4)[..3],
            [Value::count(2), Value::count(10), Value::number(0.5, 2)]
        );
    }

    #[test]
    fn what_the_server_did_not_say_of_itself_is_warned_about() {
        let read = [
            counts([0.0; 2], [0.0; 2]),
            counts([0.0; 2], [9.0, 1.0]),
            counts([0.0; 2], [29.0, 5.0]),
        ];
        let of = |docs, l1: L1Memory, blends| {
            let mut watch = Watch::new(true, &CacheFacts { l1, blends }, docs);
            after(&mut watch, read)
        };
        let unknown = || L1Memory::Unknown("it is away".into());
        assert_eq!(of(2, unknown(), None), ["no-status"]);
        assert_eq!(of(1, unknown(), None), ["no-l1-capacity"]);
        assert_eq!(of(2, unknown(), Some(false)), ["no-l1-capacity", "no-blend-module"]);
        assert!(of(1, L1Memory::Gb(1.0), Some(false)).is_empty());
        let none = Watch::new(false, &CacheFacts::default(), 2);
        assert_eq!((codes(&none), none.entries(1)), (vec!["no-lmcache-url"], Vec::new()));
        assert!(none.warnings(false)[0].text().contains("--lmcache-url"));
    }
}
