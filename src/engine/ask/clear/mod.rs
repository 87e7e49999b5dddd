//! Emptying the caches of an engine and of an LMCache server before a run, through the requests that they have for it:
//!
//! - vLLM: `POST /reset_prefix_cache`, which exists only with VLLM_SERVER_DEV_MODE=1 in the engine's environment. It answers
//!   `{"success": bool}` (0.32.0; nothing before) and does nothing while blocks are held. `reset_external=true` has it ask its
//!   connector too: LMCache's clears L1 since 0.5.6, and releases before do nothing.
//! - SGLang: `POST /flush_cache`, for what is in HBM and in the host's memory; 400 while requests run or wait.
//! - LMCache: `POST /cache/clear` since 0.5.1, `/clear-cache` in 0.5.0, for L1 alone. Up to 0.5.5 it also drops what is locked, which
//!   may spoil a store or a load; from 0.5.6 on it leaves that. It has no request that empties an L2.

use std::thread;
use std::time::{Duration, Instant};

use ureq::http::StatusCode;

use super::discover::{CacheServer, Engine};
use crate::error::Error;
use crate::sys::signal;

pub(crate) mod engine;
pub(crate) mod lmcache;
#[cfg(test)]
mod testing;

/// The statuses of a server that does not have a request.
const ABSENT: [StatusCode; 2] = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];

/// How long to wait until what holds a cache has ended: answers, transfers, stores that go on to L2.
const WAIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// A cache that can be emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// The engine's own, and what its connector empties with it.
    Engine,
    /// The memory of the LMCache server.
    L1,
}

/// A cache that is empty now, and the address that was asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    pub cache: Cache,
    pub url: String,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clearing {
    pub cleared: Vec<Cleared>,
    /// Whole sentences about caches that keep what they have, with advice.
    pub left: Vec<String>,
}

/// Empties the engine's cache and, where its address is known, the L1 of the LMCache server. Waits until they are empty.
///
/// An error says which address refused, why, and what to do instead.
pub fn clear_caches(engine: Engine<'_>, lmcache: Option<CacheServer<'_>>) -> Result<Clearing, Error> {
    clear_within(engine, lmcache, WAIT)
}

fn clear_within(engine: Engine<'_>, lmcache: Option<CacheServer<'_>>, wait: Duration) -> Result<Clearing, Error> {
    let mut clearing = Clearing::default();
    let url = engine::clear(engine, &Patience::new(wait))?;
    clearing.cleared.push(Cleared {
        cache: Cache::Engine,
        url,
    });
    if let Some(server) = lmcache {
        let (url, l2) = lmcache::clear(server, &Patience::new(wait))?;
        clearing.left.extend(l2.map(|l2| lmcache::l2_stays(server.url, &l2)));
        clearing.cleared.push(Cleared { cache: Cache::L1, url });
    }
    Ok(clearing)
}

/// The time that is left for one server.
struct Patience {
    end: Instant,
    whole: Duration,
}

impl Patience {
    fn new(whole: Duration) -> Patience {
        Patience {
            end: Instant::now() + whole,
            whole,
        }
    }

    /// Waits a little; false when the time is over, or the run.
    fn pause(&self) -> bool {
        if Instant::now() >= self.end || signal::received().is_some() {
            return false;
        }
        thread::sleep(PAUSE.min(self.end.saturating_duration_since(Instant::now())));
        true
    }
}

fn failed(what: &str, why: impl std::fmt::Display) -> Error {
    Error::Environment(format!("could not empty {what}: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::testing::{clear, server};
    use super::*;
    use crate::engine::api_key::engine_key;
    use crate::engine::ask::http::{Asker, PATIENT};
    use crate::mock::engine as mock;
    use crate::python::json as python_json;

    #[test]
    fn the_caches_of_a_mock_are_empty_afterwards_and_its_disk_is_not() {
        let mut config = mock::config::Config::default();
        config.pace.ttft_ns = 0;
        config.tokens_per_gb = Some(4096);
        (config.cache.hbm_tokens, config.cache.dram_tokens) = (4096, 4096);
        for (disk_tokens, cached) in [(0, 0), (4096, 512)] {
            config.cache.disk_tokens = disk_tokens;
            let running = mock::start(config.clone()).unwrap();
            let url = format!("http://{}", running.address);
            let asker = Asker::of_engine(&engine_key(String::new()), PATIENT);
            let ask = || {
                let body = json!({"prompt": "hi ".repeat(600).trim(), "max_tokens": 1});
                let answer = asker.post_json(&format!("{url}/v1/completions"), &body, python_json::loads);
                answer.unwrap()["usage"]["prompt_tokens_details"]["cached_tokens"].clone()
            };
            assert_eq!((ask(), ask()), (json!(0), json!(592)));
            let clearing = clear(&url, Some(&url), 5000).unwrap();
            let done = |cache, path: &str| Cleared {
                cache,
                url: format!("{url}/{path}"),
            };
            let expected = [
                done(Cache::Engine, "reset_prefix_cache"),
                done(Cache::L1, "cache/clear"),
            ];
            assert_eq!(clearing.cleared, expected);
            assert_eq!(clearing.left.len(), usize::from(disk_tokens > 0), "{clearing:?}");
            assert_eq!(ask(), cached);
        }
    }

    #[test]
    fn an_sglang_is_asked_in_its_own_way() {
        let config = mock::config::Config {
            metrics: mock::metrics::MetricsOf::Sglang,
            ..mock::config::Config::default()
        };
        let running = mock::start(config).unwrap();
        let url = format!("http://{}", running.address);
        assert_eq!(
            clear(&url, None, 5000).unwrap().cleared[0].url,
            format!("{url}/flush_cache")
        );
    }

    #[test]
    fn a_server_without_the_request_is_named_with_what_to_do() {
        let config = mock::config::Config {
            resets: false,
            tokens_per_gb: Some(4096),
            ..mock::config::Config::default()
        };
        let running = mock::start(config).unwrap();
        let url = format!("http://{}", running.address);
        assert_eq!(
            clear(&url, None, 5000),
            Err(format!(
                "could not empty the engine's cache (--clear-cache): {url}/reset_prefix_cache answers 404 Not Found and \
                 {url}/flush_cache answers 404 Not Found; start vLLM with VLLM_SERVER_DEV_MODE=1 in its environment, or restart \
                 the engine instead"
            ))
        );
        let (engine, _) = server(|_, _| ("200 OK", String::new()));
        assert_eq!(
            clear(&engine, Some(&url), 5000),
            Err(format!(
                "could not empty the L1 of the LMCache server (--clear-cache): {url}/cache/clear answers 404 Not Found; give the \
                 HTTP address of the server as --lmcache-url, or restart it instead"
            ))
        );
    }
}
