//! The rows that LMCache's counters give: what it gave the engine, by tier, and its own work. Its hits are of lookups, which ask
//! for all whole chunks of a prompt, also for those that the engine has; so they are upper bounds of what was loaded.

use std::collections::BTreeSet;

use super::engine_rows::Given;
use super::{Item, Ledger, Prefetch, Range, Settings, Shared, Split, Usage};
use crate::ledger::counters::cache::{
    BLEND_HIT, BLEND_REQUESTED, DROPPED, EARLY_EXITS, HIT, HIT_L1, HIT_L2, INSIDE_FOUND, INSIDE_HIT, INSIDE_LOOKED_UP,
    INSIDE_REQUESTED, L1_EVICTED, L1_REFUSED, L1_UNREADABLE, L1_WRITTEN, L2_FAILED, L2_LOADED, L2_STORED, LOADED,
    LOOKUPS, MODEL, REQUESTED, RETRIEVES,
};
use crate::ledger::counters::{Grown, key, label_of};

/// Hits of lookups by tier.
struct Found {
    l1: u64,
    l2: u64,
    blended: u64,
}

/// Counts of one model, or of all together.
struct OfModels<'a> {
    grown: &'a Grown,
    ours: Option<Vec<&'a str>>,
}

impl OfModels<'_> {
    fn count(&self, family: &str) -> Option<u64> {
        let Some(ours) = &self.ours else {
            return self.grown.total_or_0(family);
        };
        // Samples without the name of a model are of a server with one.
        let is_ours =
            |counter: &str| counter == family || ours.iter().any(|model| key(family, MODEL, model) == counter);
        let counts = self.grown.parts(family).filter(|(counter, _)| is_ours(counter));
        let sum = counts.fold(0_u64, |sum, (_, count)| sum.saturating_add(count));
        self.grown.is_read(family).then_some(sum)
    }
}

impl Ledger {
    /// A connector's tokens, where no LMCache is known.
    pub(super) fn add_external(&mut self, given: Option<Given>) {
        if let Some(Given { range, from }) = given {
            self.put(Item::External, range, from);
        }
    }

    /// `given` is what the engine got through its connector.
    pub(super) fn add_cache(
        &mut self,
        grown: &Grown,
        is_inside: bool,
        given: Option<Given>,
        engine: Option<&Grown>,
        usage: &Usage,
        settings: &Settings,
    ) {
        let range = given.as_ref().map(|given| given.range);
        if let Some(Given { range, from }) = given {
            self.put(Item::Lmcache, range, from);
        }
        if is_inside {
            self.add_inside(grown, range);
            return;
        }
        self.dropped_events = grown.total_or_0(DROPPED).unwrap_or(0);
        let counts = self.of_our_model(grown, settings);
        let looked_up = counts.count(REQUESTED).zip(counts.count(BLEND_REQUESTED));
        let looked_up = looked_up.map(|(mp, blend)| mp.saturating_add(blend));
        self.put_counter(Item::LookedUp, looked_up, REQUESTED);
        self.note_foreign(looked_up, engine);
        let found = self.add_found(&counts, settings);
        self.split(range, found);
        self.add_lookups(&counts, engine, usage);
        self.add_chunks(&counts, settings);
        self.add_reloads(&counts, settings);
    }

    /// LMCache in the engine tells no tiers.
    fn add_inside(&mut self, grown: &Grown, given: Option<Range>) {
        let first = |names: [[&'static str; 2]; 2]| {
            let found = names
                .into_iter()
                .flatten()
                .find_map(|name| Some((name, grown.total(name)?)));
            found.unwrap_or((names[0][0], 0))
        };
        let (name, count) = first([INSIDE_LOOKED_UP, INSIDE_REQUESTED]);
        self.put_count(Item::LookedUp, count, name);
        let (name, count) = first([INSIDE_FOUND, INSIDE_HIT]);
        self.put_count(Item::Found, count, name);
        if let Some(rest) = given.and_then(|given| count.checked_sub(given.max)) {
            self.put_count(Item::FoundNotLoaded, rest, format!("{name} - lmcache"));
        }
        if given.is_some_and(|given| given.max > 0) {
            let why = "LMCache inside the engine does not count its tiers";
            self.split = Split::Unknown(why.to_owned());
        }
    }

    /// Lookups have the name of the model, by which those of other engines can be left out.
    fn of_our_model<'a>(&mut self, grown: &'a Grown, settings: &'a Settings) -> OfModels<'a> {
        let of_model = |model: &str| {
            let parts = [REQUESTED, BLEND_REQUESTED];
            let counts = parts.iter().map(|family| grown.of(family, MODEL, model).unwrap_or(0));
            counts.fold(0_u64, u64::saturating_add)
        };
        let known = |model: &&String| of_model(model) > 0;
        let ours: Vec<&str> = settings.models.iter().filter(known).map(String::as_str).collect();
        let is_ours = |counter: &str, family: &str| ours.iter().any(|model| key(family, MODEL, model) == counter);
        let mut others = BTreeSet::new();
        let mut tokens = 0_u64;
        for family in [REQUESTED, BLEND_REQUESTED] {
            let foreign = grown
                .parts(family)
                .filter(|(counter, count)| *count > 0 && !is_ours(counter, family));
            for (counter, count) in foreign {
                if let Some(model) = label_of(counter) {
                    others.insert(model.to_owned());
                    tokens = tokens.saturating_add(count);
                }
            }
        }
        let all = OfModels { grown, ours: None };
        if ours.is_empty() {
            if others.len() > 1 {
                let shared = Shared {
                    looked_up: 0,
                    models: others.into_iter().collect(),
                    is_separate: false,
                };
                self.shared = Some(shared);
            }
            return all;
        }
        if others.is_empty() {
            return all;
        }
        self.shared = Some(Shared {
            looked_up: tokens,
            models: others.into_iter().collect(),
            is_separate: true,
        });
        OfModels {
            grown,
            ours: Some(ours),
        }
    }

    /// The engine cannot have asked for more tokens than it looked up in its own cache, unless preempted requests asked again.
    fn note_foreign(&mut self, looked_up: Option<u64>, engine: Option<&Grown>) {
        let queries = engine.and_then(|grown| self.queries(grown));
        if self.count(Item::Preemptions) != Some(0) {
            return;
        }
        let beyond = looked_up.zip(queries).and_then(|(asked, most)| asked.checked_sub(most));
        if let Some(beyond) = beyond.filter(|beyond| *beyond > 0) {
            let shared = self.shared.get_or_insert_default();
            shared.looked_up = shared.looked_up.saturating_add(beyond);
            shared.is_separate = false;
        }
    }

    fn add_found(&mut self, counts: &OfModels, settings: &Settings) -> Option<Found> {
        let blended = self.add_found_blended(counts);
        let grown = counts.grown;
        let is_early = grown.total(REQUESTED).is_some()
            && [HIT_L1, LOOKUPS]
                .iter()
                .all(|family| grown.total(family).is_none() && grown.is_read(family));
        if is_early {
            return self.add_found_early(counts, blended?, settings);
        }
        let l1 = self.put_counter(Item::FoundL1, counts.count(HIT_L1), HIT_L1);
        let l2 = self.put_counter(Item::FoundL2, counts.count(HIT_L2), HIT_L2);
        Some(Found {
            l1: l1?,
            l2: l2?,
            blended: blended?,
        })
    }

    fn add_found_blended(&mut self, counts: &OfModels) -> Option<u64> {
        let (asked, found) = (counts.count(BLEND_REQUESTED), counts.count(BLEND_HIT));
        if asked == Some(0) && found == Some(0) {
            return found;
        }
        self.put_counter(Item::FoundBlended, found, BLEND_HIT)
    }

    /// Before 0.5.5 only loads from L2 tell the tiers apart.
    fn add_found_early(&mut self, counts: &OfModels, blended: u64, settings: &Settings) -> Option<Found> {
        let hit = counts.count(HIT);
        let loaded = counts.grown.total_or_0(L2_LOADED);
        let l2 = match (loaded, settings.chunk_tokens) {
            (Some(0), _) => Some(0),
            (Some(objects), Some(tokens)) => Some(settings.chunks(objects).saturating_mul(tokens)),
            _ => None,
        };
        let (Some(hit), Some(l2)) = (hit, l2) else {
            self.put_counter(Item::Found, hit, HIT);
            return None;
        };
        let l2 = l2.min(hit);
        self.put_count(Item::FoundL1, hit - l2, format!("{HIT} - {L2_LOADED} * chunk"));
        self.put_count(Item::FoundL2, l2, format!("{L2_LOADED} * chunk"));
        Some(Found {
            l1: hit - l2,
            l2,
            blended,
        })
    }

    /// Each tier gave at most what was found in it, and all together what the engine got.
    fn split(&mut self, given: Option<Range>, found: Option<Found>) {
        let Some(given) = given else { return };
        let Some(mut found) = found else {
            if given.max > 0 {
                self.split = Split::Unknown("the LMCache server's counters of hits are not all there".to_owned());
            }
            return;
        };
        let sum = found.l1.saturating_add(found.l2).saturating_add(found.blended);
        if sum >= given.max {
            let rest = Range {
                min: sum - given.max,
                max: sum - given.min,
            };
            self.put(Item::FoundNotLoaded, rest, format!("{HIT_L1} + {HIT_L2} - lmcache"));
        }
        if self.dropped_events > 0 {
            // A hit that was not counted may be of either tier.
            (found.l1, found.l2) = (given.max, given.max);
        }
        let Some([l1, l2, blended]) = given.parts([found.l1, found.l2, found.blended]) else {
            let why = "the engine got more tokens through its connector than the LMCache server says it found";
            self.split = Split::Unknown(why.to_owned());
            return;
        };
        let from = |counter: &str| format!("lmcache, at most {counter}");
        self.put(Item::LmcacheL1, l1, from(HIT_L1));
        self.put(Item::LmcacheL2, l2, from(HIT_L2));
        if found.blended > 0 {
            self.put(Item::Blended, blended, from(BLEND_HIT));
        }
        self.split = match [l1, l2, blended].into_iter().all(Range::is_exact) {
            true => Split::Exact,
            false => Split::Interval,
        };
    }

    /// One lookup for each request that the engine admits, and another after each preemption.
    fn add_lookups(&mut self, counts: &OfModels, engine: Option<&Grown>, usage: &Usage) {
        let is_counted = counts.grown.total(LOOKUPS).is_some() || counts.grown.total(REQUESTED).is_none();
        let Some(lookups) = counts.count(LOOKUPS).filter(|_| is_counted) else {
            self.missing.push(LOOKUPS.to_owned());
            return;
        };
        self.put_count(Item::Lookups, lookups, LOOKUPS);
        let exits = counts.count(EARLY_EXITS).filter(|exits| *exits > 0);
        if let Some(exits) = exits {
            self.put_count(Item::EarlyExits, exits, EARLY_EXITS);
        }
        if self.shared.as_ref().is_some_and(|shared| !shared.is_separate) {
            return;
        }
        let (requests, name) = match Ledger::ended(engine) {
            Some(requests) => (requests, "requests that ended"),
            None => (usage.requests, "our answers"),
        };
        // A request that was cut off is looked up, and may be missing among those that ended.
        let again = match self.count(Item::Preemptions) {
            Some(0) => Range::exact(0),
            _ => Range {
                min: lookups.saturating_sub(requests.saturating_add(usage.failed)),
                max: lookups.saturating_sub(requests),
            },
        };
        self.put(Item::LookupsAgain, again, format!("{LOOKUPS} - {name}"));
        if lookups < requests {
            self.put_count(Item::NotLookedUp, requests - lookups, format!("{name} - {LOOKUPS}"));
        }
    }

    fn add_chunks(&mut self, counts: &OfModels, settings: &Settings) {
        let grown = counts.grown;
        self.put_counter(Item::ChunksLoaded, counts.count(LOADED), LOADED);
        let (written, evicted) = (grown.total_or_0(L1_WRITTEN), grown.total_or_0(L1_EVICTED));
        let from_l2 = grown.total_or_0(L2_LOADED);
        // Loads from L2 are written to L1 too.
        let stored = written
            .zip(from_l2)
            .map(|(written, loaded)| written.saturating_sub(loaded));
        self.put_counter(Item::ChunksStored, stored, format!("{L1_WRITTEN} - {L2_LOADED}"));
        self.put_counter(Item::ChunksStoredL2, grown.total_or_0(L2_STORED), L2_STORED);
        match evicted.zip(from_l2) {
            Some((evicted, loaded)) => {
                let without = evicted.saturating_sub(loaded);
                let (range, from) = match settings.prefetch {
                    Prefetch::Dropped => (Range::exact(without), format!("{L1_EVICTED} - {L2_LOADED}")),
                    Prefetch::Retained => (Range::exact(evicted), L1_EVICTED.to_owned()),
                    Prefetch::Unknown => {
                        let range = Range {
                            min: without,
                            max: evicted,
                        };
                        (range, format!("{L1_EVICTED}, with or without {L2_LOADED}"))
                    }
                };
                self.put(Item::ChunksEvicted, range, from);
            }
            None => self.missing.push(L1_EVICTED.to_owned()),
        }
        let labelled = |family: &str, label, value| {
            let count = grown.of(family, label, value).unwrap_or(0);
            (grown.is_read(family).then_some(count), key(family, label, value))
        };
        let (count, from) = labelled(L1_REFUSED, "during", "l1_store");
        self.put_counter(Item::ChunksRefused, count, from);
        let (refused, from) = labelled(L2_FAILED, "reason", "l1_oom");
        self.put_counter(Item::LoadsRefused, refused, from);
        let failed = grown.total_or_0(L2_FAILED).zip(refused);
        let failed = failed.map_or(0, |(all, refused)| all.saturating_sub(refused));
        if failed > 0 {
            self.put_count(Item::LoadsFailed, failed, format!("{L2_FAILED}, other reasons"));
        }
        if let Some(count) = grown.total_or_0(L1_UNREADABLE).filter(|count| *count > 0) {
            self.put_count(Item::ReadFailures, count, L1_UNREADABLE);
        }
    }

    /// Chunks loaded beyond those of first admissions, which the engine counts nowhere. A load begins with the chunk in which
    /// the engine's own hit ends, so each can have up to a chunk more than the engine gains.
    fn add_reloads(&mut self, counts: &OfModels, settings: &Settings) {
        let preemptions = self.count(Item::Preemptions);
        if preemptions == Some(0) {
            self.put_count(Item::ChunksReloaded, 0, "no preemptions");
            return;
        }
        let known = (
            self.count(Item::ChunksLoaded),
            self.count(Item::Lmcache),
            settings.chunk_tokens,
        );
        let (Some(loaded), Some(given), Some(chunk), Some(_)) = (known.0, known.1, known.2, preemptions) else {
            return;
        };
        let loaded = settings.chunks(loaded);
        let retrieves = counts.grown.total_or_0(RETRIEVES).unwrap_or(u64::MAX);
        let slack = retrieves.saturating_mul(chunk.saturating_sub(1));
        let surplus = loaded.saturating_mul(chunk).saturating_sub(given);
        let max = surplus / chunk.max(1);
        let min = surplus.saturating_sub(slack).div_ceil(chunk.max(1)).min(max);
        self.put(
            Item::ChunksReloaded,
            Range { min, max },
            format!("{LOADED} * chunk - lmcache"),
        );
    }
}
