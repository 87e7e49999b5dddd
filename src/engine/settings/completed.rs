//! A command line with its gaps filled: defaults, and what the engine and the LMCache server say.

use serde_json::Value;

use super::items::needs_cache_size;
use super::setup::check_address;
use crate::engine::args::EngineArgs;
use crate::engine::ask::discover::{self, CacheServer, Engine};
use crate::engine::config::{CacheFacts, EngineConfig, L1Memory, base_url};
use crate::engine::flags::TABLE;
use crate::error::Error;
use crate::http::api_key::ApiKey;
use crate::http::lmcache_key;

/// A command line with nothing left out.
pub struct Completed {
    pub args: EngineArgs,
    /// The key of the LMCache server, whose file may be a pipe that can be read only once.
    pub lmcache_key: Option<ApiKey>,
    /// The LMCache server's, where it was asked for the tokens per GB.
    status: Option<Value>,
}

/// Fills in the defaults, the model and the tokens per GB, and asks the servers for the last two.
pub fn completed(given: &EngineArgs, key: &ApiKey) -> Result<Completed, Error> {
    let mut args = given.clone().or(TABLE.presets());
    check_address("--engine-url", args.engine_url.as_deref())?;
    check_address("--lmcache-url", args.lmcache_url.as_deref())?;
    let lmcache_key = lmcache_key::for_url(args.lmcache_url.as_deref())?;
    let base_url = base_url(args.engine_url.as_deref().unwrap_or_default());
    let engine = Engine {
        base_url: &base_url,
        key,
    };
    if args.model.as_ref().is_none_or(|model| model.is_empty()) {
        args.model = Some(engine.first_model().map_err(Error::Environment)?);
    }
    let mut status = None;
    if args.tokens_per_gb_kvcache.is_none() && needs_cache_size(&args) {
        let server = CacheServer {
            url: args.lmcache_url.as_deref().unwrap_or_default(),
            key: lmcache_key.as_ref(),
        };
        let model = args.model.as_deref().unwrap_or_default();
        let (tokens, said) = asked_tokens(server, model, engine).map_err(Error::Environment)?;
        args.tokens_per_gb_kvcache = Some(tokens);
        status = Some(said);
    }
    Ok(Completed {
        args,
        lmcache_key,
        status,
    })
}

/// The tokens per GB from the LMCache server, and its status.
pub fn asked_tokens(server: CacheServer, model: &str, engine: Engine) -> Result<(i64, Value), String> {
    let status = server
        .status()
        .map_err(|why| format!("{why}, or give --tokens-per-gb-kvcache"))?;
    let tokens = server.tokens_per_gb(&status, model, engine)?;
    Ok((tokens, status))
}

impl Completed {
    /// The settings of a run. The LMCache server is asked about itself where the workload wants that.
    pub fn checked(&self) -> Result<EngineConfig, Error> {
        let wanted = self
            .args
            .workload
            .is_some_and(|name| name.descriptor().support.asks_cache);
        let cache = if wanted {
            self.cache_facts()
        } else {
            CacheFacts::default()
        };
        checked(&self.args, cache)
    }

    fn cache_facts(&self) -> CacheFacts {
        let url = self.args.lmcache_url.as_deref().filter(|url| !url.is_empty());
        let server = url.map(|url| CacheServer {
            url,
            key: self.lmcache_key.as_ref(),
        });
        let status = match (&self.status, server) {
            (Some(status), _) => return discover::cache_facts(status),
            (None, Some(server)) => server.status(),
            (None, None) => Err("there is no --lmcache-url".to_owned()),
        };
        status.map_or_else(
            |why| CacheFacts {
                l1: L1Memory::Unknown(why),
                blends: None,
            },
            |status| discover::cache_facts(&status),
        )
    }
}

/// The checked settings. `args` has nothing left out.
pub fn checked(args: &EngineArgs, cache: CacheFacts) -> Result<EngineConfig, Error> {
    let model = args.model.clone().unwrap_or_default();
    EngineConfig::resolve(args, model, args.tokens_per_gb_kvcache.unwrap_or_default(), cache)
}
