//! The section `prompt_sources`: what the engine's own counters say of prompt tokens, under the names that scripts know. The ledger
//! has the same with every tier, cross-checked.

use std::collections::BTreeMap;

use super::server_counters::Snapshot;
use crate::http::prometheus;
use crate::ledger::counters::TOKENS_PER_S_MAX;
use crate::ledger::counters::cache::REQUESTED as LOOKED_UP;
use crate::ledger::counters::engine::BY_SOURCE;
use crate::result::model::{Entry, Section};

/// Label value or metric name at the server; key and label in the report.
type Row = (&'static str, &'static str, &'static str);

/// The label values of `BY_SOURCE`.
const SOURCES: [Row; 3] = [
    ("local_compute", "computed", "Computed by the engine"),
    ("local_cache_hit", "engine_cache", "From the engine's own cache"),
    ("external_kv_transfer", "external", "From a cache behind it"),
];
/// The counter of the cache server. What it found is in the ledger: it finds what the engine has too, so that is no source.
const LOOKUPS: [Row; 1] = [(LOOKED_UP, "lmcache_looked_up", "Looked up in LMCache")];

/// Counters at one moment, by their key in the report; `None` for one that could not be read. Those that a server does not have are
/// absent.
pub type Counts = BTreeMap<&'static str, Option<f64>>;

/// The sum of the counts of several pages. One that could not be read on a page has none.
pub fn add(sum: &mut Counts, page: Counts) {
    for (key, count) in page {
        let so_far = sum.entry(key).or_insert(Some(0.0));
        *so_far = so_far.zip(count).map(|(so_far, count)| so_far + count);
    }
}

/// The engine's counters, and why some of them cannot be read.
pub fn sources(page: &str) -> (Counts, Vec<String>) {
    counts(&SOURCES, |source| {
        prometheus::counter(page, BY_SOURCE, Some(("source", source)))
    })
}

/// The cache server's.
pub fn lookups(page: &str) -> (Counts, Vec<String>) {
    counts(&LOOKUPS, |name| prometheus::counter(page, name, None))
}

fn counts(rows: &[Row], read: impl Fn(&str) -> Result<Option<f64>, String>) -> (Counts, Vec<String>) {
    let (mut counts, mut problems) = (Counts::new(), Vec::new());
    for (what, key, _) in rows {
        match read(what) {
            Ok(count) => counts.extend(count.map(|count| (*key, Some(count)))),
            Err(why) => {
                counts.insert(*key, None);
                // One bad line can affect several counters.
                if !problems.contains(&why) {
                    problems.push(why);
                }
            }
        }
    }
    (counts, problems)
}

/// What was counted between two moments.
#[derive(Debug, Default)]
pub struct Counted {
    /// `None` when no server counts.
    pub section: Option<Section>,
    /// Counters that grew by more than any server can do, each with its growth; they are not in the section.
    pub impossible: Vec<String>,
}

impl Counted {
    /// `seconds` lie between the two moments.
    pub fn between(before: &Snapshot, after: &Snapshot, seconds: f64) -> Counted {
        let mut counted = Counted::default();
        let most = TOKENS_PER_S_MAX * seconds.max(1.0);
        let mut entries = counted.entries(&SOURCES, &before.engine, &after.engine, most);
        entries.extend(counted.entries(&LOOKUPS, &before.cache, &after.cache, most));
        if !entries.is_empty() {
            let section = Section::entries("prompt_sources", "Prompt Tokens, by the Servers", entries);
            // The ledger is what people are shown.
            counted.section = Some(section.for_programs());
        }
        counted
    }

    /// The entries of one server. Without both moments the difference is unknown.
    fn entries(
        &mut self,
        rows: &'static [Row],
        before: &Option<Counts>,
        after: &Option<Counts>,
        most: f64,
    ) -> Vec<Entry> {
        let (Some(before), Some(after)) = (before, after) else {
            return Vec::new();
        };
        let entry = |(_, key, label): &'static Row| {
            // A counter that appears during the phase began at 0.
            let grew = (*after.get(key)?)? - before.get(key).copied().unwrap_or(Some(0.0))?;
            if grew > most {
                self.impossible.push(format!("{key} {grew:.3e}"));
                return None;
            }
            // A server that was restarted in between counts from 0 again.
            (grew >= 0.0).then(|| Entry::count(*key, *label, grew.round() as u64))
        };
        rows.iter().filter_map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# TYPE vllm:prompt_tokens_by_source_total counter\n\
        vllm:prompt_tokens_by_source_total{engine=\"0\",model_name=\"a}b\",source=\"local_compute\"} 3524.0\n\
        vllm:prompt_tokens_by_source_total{engine=\"1\",model_name=\"m\",source=\"local_compute\"} 1e2 1700000000\n\
        vllm:prompt_tokens_by_source_total{engine=\"0\",model_name=\"m\",source=\"local_cache_hit\"} 7\n\
        vllm:prompt_tokens_by_source_created{source=\"local_compute\"} 5\n\
        lmcache_mp_lookup_requested_tokens_total 12\n";

    #[test]
    fn samples_are_added_over_engines_and_read_by_label() {
        let (counts, problems) = sources(PAGE);
        assert_eq!(
            counts,
            Counts::from([("computed", Some(3624.0)), ("engine_cache", Some(7.0))])
        );
        let mut sum = counts.clone();
        add(
            &mut sum,
            Counts::from([("computed", Some(1.0)), ("engine_cache", None), ("external", Some(2.0))]),
        );
        assert_eq!(
            sum,
            Counts::from([
                ("computed", Some(3625.0)),
                ("engine_cache", None),
                ("external", Some(2.0))
            ])
        );
        assert!(problems.is_empty(), "{problems:?}");
        let (counts, problems) = lookups(PAGE);
        assert_eq!(counts, Counts::from([("lmcache_looked_up", Some(12.0))]));
        assert!(problems.is_empty(), "{problems:?}");
        let (_, problems) = lookups(&format!("{PAGE}{LOOKED_UP}{{a=\"1\"}} NaN\n"));
        assert_eq!(problems, [format!("line 7 counts NaN for {LOOKED_UP}")]);
        let spoiled = format!("{PAGE}{BY_SOURCE}{{source=\"local_compute 5\n");
        let (counts, problems) = sources(&spoiled);
        assert!(
            counts.values().all(Option::is_none) && problems.len() == 1,
            "{counts:?} {problems:?}"
        );
        // What it counted since it was started is not what it counted meanwhile.
        let moment = |page: &str| Snapshot {
            engine: Some(sources(page).0),
            ..Snapshot::default()
        };
        assert!(
            Counted::between(&moment(&spoiled), &moment(PAGE), 1.0)
                .section
                .is_none()
        );
    }

    #[test]
    fn only_what_was_counted_in_between_is_shown() {
        let before = Snapshot {
            engine: Some(sources(PAGE).0),
            cache: Some(Counts::new()),
            ..Snapshot::default()
        };
        let mut after = before.clone();
        after.cache = Some(lookups(PAGE).0);
        let counts = after.engine.as_mut().unwrap();
        counts.insert("computed", Some(3700.0));
        counts.insert("engine_cache", Some(3.0));
        let shown = format!("{:?}", Counted::between(&before, &after, 1.0).section.unwrap());
        assert!(shown.contains("76") && shown.contains("lmcache_looked_up"), "{shown}");
        assert!(
            !shown.contains("engine_cache") && !shown.contains("external"),
            "{shown}"
        );
    }

    #[test]
    fn counters_that_grew_by_more_than_can_be_are_named_and_not_shown() {
        let before = Snapshot {
            engine: Some(sources(PAGE).0),
            ..Snapshot::default()
        };
        let mut after = before.clone();
        let counts = after.engine.as_mut().unwrap();
        counts.insert("computed", Some(9.3e18));
        counts.insert("engine_cache", Some(17.0));
        let counted = Counted::between(&before, &after, 2.0);
        let shown = format!("{:?}", counted.section.unwrap());
        assert!(shown.contains("engine_cache") && !shown.contains("computed"), "{shown}");
        assert_eq!(counted.impossible, ["computed 9.300e18"]);
    }

    /// Its first counters would be everything since it was started.
    #[test]
    fn a_server_that_missed_one_question_says_nothing() {
        let read = Snapshot {
            engine: Some(sources(PAGE).0),
            cache: Some(lookups(PAGE).0),
            ..Snapshot::default()
        };
        for (before, after) in [(Snapshot::default(), read.clone()), (read.clone(), Snapshot::default())] {
            assert!(Counted::between(&before, &after, 1.0).section.is_none());
        }
    }
}
