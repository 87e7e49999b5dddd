//! What the servers count: the engines' pages of metrics, and the LMCache server's if its address is known. They are read
//! between phases, never during one. A server without them is no error.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::discover::CacheServer;
use super::http::{Asker, BRIEF};
use super::lookups::LookupCounts;
use super::prompt_sources::{self, Counts};
use super::root;
use crate::engine::config::EngineConfig;
use crate::http::api_key::ApiKey;
use crate::http::prometheus::PAGE_BYTES_MAX;
use crate::ledger::balance::{Ledger, Settings, Usage};
use crate::ledger::counters::{Moment, Page};
use crate::ledger::tiers::stores_pending;
use crate::sys::signal;
use crate::units::bytes_text;
use crate::url::with_scheme;

/// LMCache counts a store some 200 ms after the answer. Two readings so far apart that agree are final.
const READINGS_APART: Duration = Duration::from_millis(250);
/// How long to wait for that.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// Of the pages of all engines together, which are in memory at once.
const PAGES_BYTES_MAX: usize = 4 * PAGE_BYTES_MAX;

/// Where to read.
#[derive(Clone, Debug)]
pub struct ServerCounters {
    engine_urls: Vec<String>,
    /// Only for the page beside the engine's API.
    engine_key: Option<ApiKey>,
    lmcache_url: Option<String>,
    lmcache_key: Option<ApiKey>,
    /// What `lookups` could not read; the next snapshot of all has it too.
    unread: RefCell<Vec<String>>,
}

/// The counters of both servers at one moment; `None` for a server that has no such page or did not answer.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub engine: Option<Counts>,
    pub cache: Option<Counts>,
    /// What the cache server has looked up.
    pub lookups: Option<LookupCounts>,
    /// What the ledger is made of.
    pub moment: Moment,
    /// Pages and counters that could not be read, each with its address and the cause.
    pub unanswered: Vec<String>,
    /// Whether these counts were still changing when they were last read.
    pub unsettled: bool,
}

impl ServerCounters {
    /// `key` is for the engine alone.
    pub fn new(config: &EngineConfig, key: &ApiKey, lmcache_key: Option<ApiKey>) -> ServerCounters {
        let urls = &config.tiers.metrics_urls;
        ServerCounters::at(
            &config.base_url(),
            key,
            urls,
            config.lmcache_url.as_deref(),
            lmcache_key,
        )
    }

    /// `base_url` is the one of requests, with `/v1`. `metrics_urls` take the place of its page.
    fn at(
        base_url: &str,
        key: &ApiKey,
        metrics_urls: &[String],
        lmcache_url: Option<&str>,
        lmcache_key: Option<ApiKey>,
    ) -> ServerCounters {
        let beside_api = metrics_urls.is_empty();
        let engine_urls = match beside_api {
            true => vec![page_url(root(base_url))],
            false => metrics_urls.iter().map(|url| page_url_of_flag(url)).collect(),
        };
        ServerCounters {
            engine_urls,
            engine_key: beside_api.then(|| key.clone()),
            lmcache_url: lmcache_url.filter(|url| !url.is_empty()).map(str::to_owned),
            lmcache_key,
            unread: RefCell::default(),
        }
    }

    /// Waits for each server for as long as `BRIEF` says.
    pub fn read(&self) -> Snapshot {
        let mut snapshot = self.ask(true, true);
        self.unread.take().into_iter().for_each(|why| snapshot.tell(why));
        snapshot
    }

    /// Reads from the servers that answered before, since only their counters give a difference.
    pub fn read_again(&self, before: &Snapshot) -> Snapshot {
        self.ask(before.engine.is_some(), before.cache.is_some())
    }

    /// Reads until the counts are final, `SETTLE_MAX` at most. They are if two readings agree and LMCache stores nothing any
    /// more; without LMCache they are once the engine has counted the prompts that were answered since `since`.
    pub fn read_settled(&self, since: Option<(&Snapshot, &Usage)>) -> Snapshot {
        let begun = Instant::now();
        let mut last = self.read();
        loop {
            let all_counted = match since {
                None => true,
                Some((before, usage)) => {
                    let counted = Ledger::between(&before.moment, &last.moment, usage, &Settings::default());
                    counted.others.is_some_and(|others| others >= 0)
                }
            };
            let has_pages = last.moment.engine.is_some() || last.moment.cache.is_some();
            if !has_pages || (last.moment.cache.is_none() && all_counted) {
                return last;
            }
            last.unsettled = true;
            if !signal::wait(READINGS_APART, || false) {
                return last;
            }
            let mut again = self.read();
            if last.moment.has_more_pages(&again.moment) {
                // A server went away. What it counted was read.
                again.unanswered.drain(..).for_each(|why| last.tell(why));
                return last;
            }
            let is_final = again.moment == last.moment && !self.is_storing();
            last.unanswered.drain(..).for_each(|why| again.tell(why));
            again.unsettled = !is_final && begun.elapsed() >= SETTLE_MAX;
            if is_final || again.unsettled {
                return again;
            }
            last = again;
        }
    }

    pub fn cache_server(&self) -> Option<CacheServer<'_>> {
        let url = self.lmcache_url.as_deref()?;
        Some(CacheServer {
            url,
            key: self.lmcache_key.as_ref(),
        })
    }

    /// What the cache server has looked up so far; `None` without its page. Why it could not be read is told by the next
    /// [`read`](ServerCounters::read).
    pub fn lookups(&self) -> Option<LookupCounts> {
        let snapshot = self.ask(false, true);
        self.unread.borrow_mut().extend(snapshot.unanswered);
        snapshot.lookups
    }

    /// The cache server's `/status` and `/config`, where it has them.
    pub fn cache_facts(&self) -> (Option<Value>, Option<Value>) {
        match self.cache_server() {
            Some(server) => (server.status().ok(), server.config().ok()),
            None => (None, None),
        }
    }

    /// Whether the cache server says that stores are on their way to L2.
    fn is_storing(&self) -> bool {
        let status = self.cache_server().and_then(|server| server.status().ok());
        let pending = status.as_ref().and_then(stores_pending);
        pending.is_some_and(|pending| pending > 0)
    }

    fn ask(&self, engine: bool, cache: bool) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut pages = Vec::new();
        let mut bytes_left = PAGES_BYTES_MAX;
        for url in self.engine_urls.iter().filter(|_| engine) {
            let answer = Asker::of_metrics(self.engine_key.as_ref(), BRIEF).get_page(url);
            if matches!(answer, Ok(None)) && self.engine_key.is_none() {
                // Many engines have none, but somebody named this one.
                snapshot.tell(format!("{url}: there is no such page; check --metrics-url"));
            }
            // The engine answers requests, so advice about its address would be wrong.
            let page = snapshot.page(url, answer.map_err(|why| why.cause), bytes_left);
            let Some(page) = page else {
                // An engine that did not answer would be missing in the sum, so the others need not be asked.
                pages.clear();
                break;
            };
            bytes_left -= page.len();
            pages.push((url.as_str(), page));
        }
        if !pages.is_empty() {
            let mut counts = Counts::new();
            for (url, page) in &pages {
                let page = snapshot.without_problems(url, prompt_sources::sources(page));
                prompt_sources::add(&mut counts, page);
            }
            snapshot.engine = Some(counts);
        }
        let url = self.lmcache_url.as_deref().filter(|_| cache).map(page_url);
        let cache = url.as_deref().and_then(|url| {
            let page = Asker::of_lmcache(self.lmcache_key.as_ref(), BRIEF).get_page(url);
            let page = snapshot.page(url, page.map_err(|why| why.to_string()), PAGE_BYTES_MAX)?;
            snapshot.cache = Some(snapshot.without_problems(url, prompt_sources::lookups(&page)));
            snapshot.lookups = Some(snapshot.without_problems(url, LookupCounts::of(&page)));
            Some((url, page))
        });
        let pages: Vec<Page> = pages.iter().map(|(url, text)| Page { url, text }).collect();
        let cache = cache.as_ref().map(|(url, text)| Page { url, text });
        let (moment, problems) = Moment::read(&pages, cache);
        snapshot.moment = moment;
        problems.into_iter().for_each(|why| snapshot.tell(why));
        snapshot
    }
}

/// The page of a server.
fn page_url(url: &str) -> String {
    format!("{}/metrics", with_scheme(url.trim_end_matches('/')))
}

/// The page that `--metrics-url` names: an address alone, or the page itself.
fn page_url_of_flag(url: &str) -> String {
    let full = with_scheme(url.trim_end_matches('/'));
    let has_path = full.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    if has_path { full } else { page_url(url) }
}

impl Snapshot {
    /// The page of an answer, if it came and is not too long.
    fn page(&mut self, url: &str, answer: Result<Option<String>, String>, bytes_left: usize) -> Option<String> {
        let why = match answer {
            Ok(Some(page)) if page.len() > PAGE_BYTES_MAX => {
                format!("it is longer than {}", bytes_text(PAGE_BYTES_MAX as u64))
            }
            Ok(Some(page)) if page.len() > bytes_left => {
                format!(
                    "all pages together are longer than {}",
                    bytes_text(PAGES_BYTES_MAX as u64)
                )
            }
            Ok(page) => return page,
            Err(why) => why,
        };
        self.tell(format!("{url}: {why}"));
        None
    }

    /// What was read on a page; why the rest was not is kept, each cause once.
    fn without_problems<T>(&mut self, url: &str, (read, problems): (T, Vec<String>)) -> T {
        problems.into_iter().for_each(|why| self.tell(format!("{url}: {why}")));
        read
    }

    /// Keeps a problem, each once.
    fn tell(&mut self, why: String) {
        if !self.unanswered.contains(&why) {
            self.unanswered.push(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_lie_beside_the_api_or_where_a_flag_says() {
        let key = ApiKey::stand_in("sk", "A_KEY");
        let counters = ServerCounters::at("http://h:1/v1", &key, &[], Some("h:2/"), None);
        assert_eq!(counters.engine_urls, ["http://h:1/metrics"]);
        assert!(counters.engine_key.is_some());
        let urls = [
            "a:1".to_owned(),
            "https://b/x/metrics".to_owned(),
            "http://c:9/".to_owned(),
        ];
        let counters = ServerCounters::at("http://h:1/v1", &key, &urls, None, None);
        assert_eq!(
            counters.engine_urls,
            ["http://a:1/metrics", "https://b/x/metrics", "http://c:9/metrics"]
        );
        // Whoever is named there may be another than the engine.
        assert!(counters.engine_key.is_none());
    }
}
