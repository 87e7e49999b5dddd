//! Where prompt tokens came from, by the servers' own counters: vLLM's page of metrics, and the LMCache server's if its
//! address is known. They are read before and after the measured phase, not during it. A server without them is no error.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::http::{Asker, BRIEF};
use super::lookups::LookupCounts;
use crate::http::api_key::ApiKey;
use crate::http::prometheus::{self, PAGE_BYTES_MAX};
use crate::result::model::{Entry, Section};
use crate::units::bytes_text;
use crate::url::with_scheme;

const BY_SOURCE: &str = "vllm:prompt_tokens_by_source_total";
const LOOKED_UP: &str = "lmcache_mp_lookup_requested_tokens_total";
const HIT_L1: &str = "lmcache_mp_lookup_hit_l1_tokens_total";
const HIT_L2: &str = "lmcache_mp_lookup_hit_l2_tokens_total";
/// More than all servers together look up or compute.
const TOKENS_PER_S_MAX: f64 = 1e9;
/// Label value or metric name at the server; key and label in the report.
type Row = (&'static str, &'static str, &'static str);

/// The label values of `BY_SOURCE`.
const SOURCES: [Row; 3] = [
    ("local_compute", "computed", "Computed by the engine"),
    ("local_cache_hit", "engine_cache", "From the engine's own cache"),
    ("external_kv_transfer", "external", "From a cache behind it"),
];
/// The counters of the cache server.
const TIERS: [Row; 3] = [
    (LOOKED_UP, "lmcache_looked_up", "Looked up in LMCache"),
    (HIT_L1, "lmcache_l1", "Found in its memory (L1)"),
    (HIT_L2, "lmcache_l2", "Found on its L2"),
];

/// Where to read.
#[derive(Debug)]
pub struct ServerCounters {
    engine_url: String,
    key: ApiKey,
    lmcache_url: Option<String>,
    lmcache_key: Option<ApiKey>,
    /// What `lookups` could not read; the next snapshot of all has it too.
    unread: RefCell<Vec<String>>,
}

/// Counters at one moment, by their key in the report. Those that a server does not have are absent.
pub(crate) type Counts = BTreeMap<&'static str, f64>;

/// The counters of both servers at one moment; `None` for a server that has no such page or did not answer.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    engine: Option<Counts>,
    cache: Option<Counts>,
    /// What the cache server has looked up.
    pub lookups: Option<LookupCounts>,
    /// Pages and counters that could not be read, each with its address and the cause.
    pub unanswered: Vec<String>,
}

impl ServerCounters {
    /// `base_url` is the one of requests, with `/v1`, and `key` is for it alone.
    pub fn new(base_url: &str, key: &ApiKey, lmcache_url: Option<&str>, lmcache_key: Option<ApiKey>) -> ServerCounters {
        let metrics = |url: &str| format!("{}/metrics", with_scheme(url.trim_end_matches('/')));
        ServerCounters {
            engine_url: metrics(base_url.strip_suffix("/v1").unwrap_or(base_url)),
            key: key.clone(),
            lmcache_url: lmcache_url.filter(|url| !url.is_empty()).map(metrics),
            lmcache_key,
            unread: RefCell::default(),
        }
    }

    /// Waits for each server for as long as `BRIEF` says.
    pub fn read(&self) -> Snapshot {
        let mut snapshot = self.ask(true, true);
        for why in self.unread.take() {
            if !snapshot.unanswered.contains(&why) {
                snapshot.unanswered.push(why);
            }
        }
        snapshot
    }

    /// Reads from the servers that answered before, since only their counters give a difference.
    pub fn read_again(&self, before: &Snapshot) -> Snapshot {
        self.ask(before.engine.is_some(), before.cache.is_some())
    }

    /// What the cache server has looked up so far; `None` without its page. Why it could not be read is told by the next
    /// [`read`](ServerCounters::read).
    pub fn lookups(&self) -> Option<LookupCounts> {
        let snapshot = self.ask(false, true);
        self.unread.borrow_mut().extend(snapshot.unanswered);
        snapshot.lookups
    }

    fn ask(&self, engine: bool, cache: bool) -> Snapshot {
        let mut snapshot = Snapshot::default();
        if engine {
            let page = Asker::of_engine(&self.key, BRIEF).get_page(&self.engine_url);
            // The engine answers requests, so advice about its address would be wrong.
            let page = page.map_err(|why| why.cause);
            let page = snapshot.page(&self.engine_url, page);
            snapshot.engine = page.map(|page| snapshot.without_problems(&self.engine_url, sources(&page)));
        }
        if let Some(url) = self.lmcache_url.as_deref().filter(|_| cache) {
            let page = Asker::of_lmcache(self.lmcache_key.as_ref(), BRIEF).get_page(url);
            let page = page.map_err(|why| why.to_string());
            if let Some(page) = snapshot.page(url, page) {
                snapshot.cache = Some(snapshot.without_problems(url, tiers(&page)));
                snapshot.lookups = Some(snapshot.without_problems(url, LookupCounts::of(&page)));
            }
        }
        snapshot
    }
}

impl Snapshot {
    /// The page of an answer, if it came and is not too long.
    fn page(&mut self, url: &str, answer: Result<Option<String>, String>) -> Option<String> {
        let why = match answer {
            Ok(page) if page.as_ref().is_none_or(|page| page.len() <= PAGE_BYTES_MAX) => return page,
            Ok(_) => format!("it is longer than {}", bytes_text(PAGE_BYTES_MAX as u64)),
            Err(why) => why,
        };
        self.unanswered.push(format!("{url}: {why}"));
        None
    }

    /// What was read on a page; why the rest was not is kept, each cause once.
    fn without_problems<T>(&mut self, url: &str, (read, problems): (T, Vec<String>)) -> T {
        for why in problems {
            let why = format!("{url}: {why}");
            if !self.unanswered.contains(&why) {
                self.unanswered.push(why);
            }
        }
        read
    }
}

/// The engine's counters, and why some of them cannot be read.
pub(crate) fn sources(page: &str) -> (Counts, Vec<String>) {
    counts(SOURCES, |source| {
        prometheus::counter(page, BY_SOURCE, Some(("source", source)))
    })
}

/// The cache server's.
pub(crate) fn tiers(page: &str) -> (Counts, Vec<String>) {
    counts(TIERS, |name| prometheus::counter(page, name, None))
}

fn counts(rows: [Row; 3], read: impl Fn(&str) -> Result<Option<f64>, String>) -> (Counts, Vec<String>) {
    let (mut counts, mut problems) = (Counts::new(), Vec::new());
    for (what, key, _) in rows {
        match read(what) {
            Ok(count) => counts.extend(count.map(|count| (key, count))),
            // One bad line can affect several counters.
            Err(why) if problems.contains(&why) => {}
            Err(why) => problems.push(why),
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
        entries.extend(counted.entries(&TIERS, &before.cache, &after.cache, most));
        if !entries.is_empty() {
            let section = Section::entries("prompt_sources", "Prompt Tokens, by the Servers", entries);
            counted.section = Some(section);
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
            let grew = after.get(key)? - before.get(key).unwrap_or(&0.0);
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
        lmcache_mp_lookup_hit_l1_tokens_total 12\n\
        lmcache_mp_lookup_hit_l2_tokens_total NaN\n";

    #[test]
    fn samples_are_added_over_engines_and_read_by_label() {
        let (counts, problems) = sources(PAGE);
        assert_eq!(counts, Counts::from([("computed", 3624.0), ("engine_cache", 7.0)]));
        assert!(problems.is_empty(), "{problems:?}");
        let (counts, problems) = tiers(PAGE);
        assert_eq!(counts, Counts::from([("lmcache_l1", 12.0)]));
        assert_eq!(problems, [format!("line 7 counts NaN for {HIT_L2}")]);
        let spoiled = format!("{PAGE}{BY_SOURCE}{{source=\"local_compute 5\n");
        let (counts, problems) = sources(&spoiled);
        assert!(counts.is_empty() && problems.len() == 1, "{counts:?} {problems:?}");
    }

    #[test]
    fn only_what_was_counted_in_between_is_shown() {
        let before = Snapshot {
            engine: Some(sources(PAGE).0),
            cache: Some(Counts::new()),
            ..Snapshot::default()
        };
        let mut after = before.clone();
        after.cache = Some(tiers(PAGE).0);
        let counts = after.engine.as_mut().unwrap();
        counts.insert("computed", 3700.0);
        counts.insert("engine_cache", 3.0);
        let shown = format!("{:?}", Counted::between(&before, &after, 1.0).section.unwrap());
        assert!(shown.contains("76") && shown.contains("lmcache_l1"), "{shown}");
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
        counts.insert("computed", 9.3e18);
        counts.insert("engine_cache", 17.0);
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
            cache: Some(tiers(PAGE).0),
            ..Snapshot::default()
        };
        for (before, after) in [(Snapshot::default(), read.clone()), (read.clone(), Snapshot::default())] {
            assert!(Counted::between(&before, &after, 1.0).section.is_none());
        }
    }

    #[test]
    fn pages_lie_beside_the_api() {
        let key = ApiKey::stand_in("sk", "A_KEY");
        let counters = ServerCounters::new("http://h:1/v1", &key, Some("h:2/"), None);
        assert_eq!(counters.engine_url, "http://h:1/metrics");
        assert_eq!(counters.lmcache_url.as_deref(), Some("http://h:2/metrics"));
    }
}
