//! What the pages of metrics of the servers say at one moment: `engine` and `cache` know the names of each release, `page` holds
//! the sums of one page and what was counted between two readings of it.

use crate::http::prometheus::Families;

pub mod cache;
pub mod engine;
mod page;

pub use cache::CacheCounters;
pub use engine::{CacheConfig, EngineCounters, Naming};
pub use page::{Grown, TOKENS_PER_S_MAX, Void, VoidKind, key, label_of};

/// The text of one page of metrics, and the address that problems name.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    pub url: &'a str,
    pub text: &'a str,
}

/// The counters of both servers at one moment; `None` for one that has no page. Two moments are equal when every counter that the
/// ledger uses has the same value: nothing was on its way when the first was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moment {
    pub engine: Option<EngineCounters>,
    pub cache: Option<CacheCounters>,
}

impl Moment {
    /// Whether this has the counters of a server that `other` lacks.
    pub fn has_more_pages(&self, other: &Moment) -> bool {
        (self.engine.is_some() && other.engine.is_none()) || (self.cache.is_some() && other.cache.is_none())
    }

    /// `engines`: the pages of all engines behind the address of requests. Without a page of an LMCache server, one that runs
    /// inside the engines is looked for on theirs. Each problem names a page, and the counters that could not be read.
    pub fn read(engines: &[Page], cache: Option<Page>) -> (Moment, Vec<String>) {
        let mut problems = Vec::new();
        let mut parsed = Vec::new();
        for page in engines {
            parsed.push((page.url, Families::read(page.text, engine::names())));
        }
        let engine = EngineCounters::of(&parsed, &mut problems);
        let cache = match cache {
            Some(page) => {
                let families = Families::read(page.text, cache::names());
                Some(CacheCounters::of_server(page.url, &families, &mut problems))
            }
            None => CacheCounters::inside_engines(&parsed, &mut problems),
        };
        (Moment { engine, cache }, problems)
    }
}
