//! The requests that clear caches, with the answers of the real servers:
//!
//! - vLLM 0.32.0: `POST /reset_prefix_cache`, only with VLLM_SERVER_DEV_MODE=1 in its environment. `success` is false while blocks are
//!   held, as by a running request. `reset_external=true` also asks the connector; LMCache's does so since 0.5.6, when it sends the
//!   cache server a clear of L1 that spares locked objects. Releases before have no `reset_cache`, which vLLM takes for a success.
//! - LMCache's server: `POST /cache/clear`, since 0.5.1 (0.5.0 has `/clear-cache`, without a body). It clears L1 and nothing else:
//!   any other tier is refused, and no release has a request that empties an L2 of the type `fs`. Chunks that left L1 so are
//!   counted as evicted. It is done when the answer comes. From 0.5.6 on locked objects stay unless `force` is given.
//! - SGLang: `/flush_cache`, which clears the device's and the host's part; the storage has a request of its own. 400 while
//!   requests run or wait.

use serde::Deserialize;

use super::http::{Head, Refusal};
use super::metrics::{Counters, MetricsOf};
use crate::ledger::simulate::PrefixCache;

/// An answer: status, type and text.
pub type Reply = (u16, &'static str, String);

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Clears what `head` asks for. `None` if it is no such request of this engine. `is_busy` says whether answers are being sent.
pub fn reply(
    of: MetricsOf,
    (head, body): (&Head, &[u8]),
    cache: &mut PrefixCache,
    counters: &mut Counters,
    is_busy: &dyn Fn() -> bool,
) -> Option<Result<Reply, Refusal>> {
    let is_sglang = of == MetricsOf::Sglang;
    let answered = match (head.method.as_str(), head.path.as_str()) {
        ("POST", "/reset_prefix_cache") if !is_sglang => prefix_cache(head, cache, counters, is_busy),
        ("POST", "/cache/clear") if !is_sglang => lmcache(body, cache, counters),
        ("POST" | "GET", "/flush_cache") if is_sglang => sglang(cache, counters, is_busy),
        (_, "/reset_prefix_cache" | "/cache/clear") if !is_sglang => {
            return Some(Err(Refusal(405, "Method Not Allowed".into())));
        }
        _ => return None,
    };
    Some(Ok(answered))
}

fn prefix_cache(head: &Head, cache: &mut PrefixCache, counters: &mut Counters, is_busy: &dyn Fn() -> bool) -> Reply {
    // The connector is asked in any case.
    if head.asks("reset_external") {
        counters.add_cleared(cache.clear_dram());
    }
    let success = head.asks("reset_running_requests") || !is_busy();
    if success {
        cache.clear_hbm();
    }
    (200, JSON, format!("{{\"success\":{success}}}"))
}

/// The body of a request to an LMCache server; without one it is the default.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ClearRequest {
    tier: Tier,
    #[serde(rename = "force")]
    _force: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Tier {
    #[default]
    L1,
    L2,
    All,
}

fn lmcache(body: &[u8], cache: &mut PrefixCache, counters: &mut Counters) -> Reply {
    let request = match body {
        [] => Ok(ClearRequest::default()),
        body => serde_json::from_slice(body),
    };
    let name = match request.map(|request: ClearRequest| request.tier) {
        Ok(Tier::L1) => {
            counters.add_cleared(cache.clear_dram());
            return (200, JSON, r#"{"status":"ok","cleared":{"tier":"l1"}}"#.into());
        }
        Ok(Tier::L2) => "l2",
        Ok(Tier::All) => "all",
        Err(_) => {
            let text =
                r#"{"detail":[{"type":"enum","loc":["body","tier"],"msg":"Input should be 'l1', 'l2' or 'all'"}]}"#;
            return (422, JSON, text.into());
        }
    };
    let text = format!("{{\"detail\":\"tier '{name}' not supported; only 'l1'\"}}");
    (400, JSON, text)
}

fn sglang(cache: &mut PrefixCache, counters: &mut Counters, is_busy: &dyn Fn() -> bool) -> Reply {
    if is_busy() {
        return (400, TEXT, "Flush cache failed.\n".into());
    }
    cache.clear_hbm();
    counters.add_cleared(cache.clear_dram());
    let text = "Cache flushed.\nPlease check backend logs for more details. (When there are running or waiting requests, the \
                operation will not be performed.)\n";
    (200, TEXT, text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::engine::config::Config;

    /// What a request is answered by an engine with three tiers that hold a prompt of 512 tokens, and what is still in HBM, in
    /// DRAM and on disk, in tokens of the same prompt.
    fn cleared(of: MetricsOf, target: &str, body: &str, is_busy: bool) -> (u16, String, [u64; 3]) {
        let mut settings = Config::default();
        let sizes = &mut settings.cache;
        (sizes.hbm_tokens, sizes.dram_tokens, sizes.disk_tokens) = (1024, 1024, 1024);
        let mut cache = PrefixCache::new(settings.cache);
        let prompt: Vec<u32> = (0..512).collect();
        cache.serve(&prompt);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let head = Head {
            method: "POST".into(),
            path: path.into(),
            query: query.into(),
            ..Head::default()
        };
        let mut counters = Counters::default();
        let answer = reply(of, (&head, body.as_bytes()), &mut cache, &mut counters, &|| is_busy);
        let (status, text) = match answer {
            None => (404, String::new()),
            Some(Ok((status, _, text))) => (status, text),
            Some(Err(Refusal(status, text))) => (status, text),
        };
        let (sources, lookup) = cache.serve(&prompt);
        (
            status,
            text,
            [sources.hbm, lookup.found_l1 * 256, lookup.found_l2 * 256],
        )
    }

    const VLLM: MetricsOf = MetricsOf::Vllm;

    #[test]
    fn vllm_clears_hbm_and_on_request_what_is_behind_its_connector() {
        let success = |is: bool| format!("{{\"success\":{is}}}");
        let path = "/reset_prefix_cache";
        assert_eq!(cleared(VLLM, path, "", false), (200, success(true), [0, 512, 0]));
        assert_eq!(cleared(VLLM, path, "", true), (200, success(false), [496, 512, 0]));
        let external = format!("{path}?reset_external=True");
        assert_eq!(cleared(VLLM, &external, "", false), (200, success(true), [0, 0, 512]));
        assert_eq!(cleared(VLLM, &external, "", true), (200, success(false), [496, 0, 512]));
        let running = format!("{path}?reset_external=false&reset_running_requests=1");
        assert_eq!(cleared(VLLM, &running, "", true), (200, success(true), [0, 512, 0]));
    }

    #[test]
    fn lmcache_clears_l1_and_no_other_tier() {
        for body in ["", "{}", r#"{"tier":"l1","force":true}"#] {
            let (status, text, left) = cleared(VLLM, "/cache/clear", body, true);
            assert_eq!((status, left), (200, [496, 0, 512]), "{body}");
            assert_eq!(text, r#"{"status":"ok","cleared":{"tier":"l1"}}"#);
        }
        let (status, text, left) = cleared(VLLM, "/cache/clear", r#"{"tier":"all"}"#, false);
        assert_eq!((status, left), (400, [496, 512, 0]));
        assert!(text.contains("tier 'all' not supported; only 'l1'"), "{text}");
        assert_eq!(cleared(VLLM, "/cache/clear", r#"{"tier":"l3"}"#, false).0, 422);
        assert_eq!(cleared(VLLM, "/cache/clear", "no json", false).0, 422);
    }

    #[test]
    fn sglang_clears_device_and_host_when_it_is_idle() {
        let (status, text, left) = cleared(MetricsOf::Sglang, "/flush_cache", "", false);
        assert_eq!((status, left), (200, [0, 0, 512]));
        assert!(text.starts_with("Cache flushed."), "{text}");
        let (status, _, left) = cleared(MetricsOf::Sglang, "/flush_cache", "", true);
        assert_eq!((status, left), (400, [496, 512, 0]));
    }

    #[test]
    fn an_engine_has_only_its_own_request() {
        assert_eq!(cleared(VLLM, "/flush_cache", "", false).0, 404);
        assert_eq!(cleared(MetricsOf::Sglang, "/reset_prefix_cache", "", false).0, 404);
        assert_eq!(cleared(MetricsOf::Sglang, "/cache/clear", "", false).0, 404);
    }
}
