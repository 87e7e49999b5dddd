//! Checks the flags of the group "KV cache" against one another.

use super::setup::check_address;
use crate::engine::args::EngineArgs;
use crate::engine::config::cache::CacheConfig;
use crate::error::Error;
use crate::ledger::require::Requirement;
use crate::ledger::tiers::TierFlags;

/// More engines than stand behind one balancer.
const METRICS_URLS_MAX: usize = 256;

/// `is_single`: whether one load is measured, not several.
pub fn resolve(args: &EngineArgs, is_single: bool) -> Result<CacheConfig, Error> {
    check_pairs(args, is_single)?;
    let metrics_urls = args.metrics_url.clone().unwrap_or_default();
    if metrics_urls.len() > METRICS_URLS_MAX {
        return Err(Error::Usage(format!(
            "--metrics-url was given {} times; give at most {METRICS_URLS_MAX}",
            metrics_urls.len()
        )));
    }
    for url in &metrics_urls {
        check_address("--metrics-url", Some(url))?;
    }
    let mut require_hits = Vec::new();
    for limits in args.require_hits.iter().flatten() {
        let limits = Requirement::parse_list(limits);
        require_hits.extend(limits.map_err(|cause| Error::Usage(format!("--require-hits: {cause}")))?);
    }
    let sizes = args.kv_tiers.as_deref().map(TierFlags::parse).transpose();
    let sizes = sizes.map_err(|cause| Error::Usage(format!("--kv-tiers: {cause}")))?;
    Ok(CacheConfig {
        no_ledger: args.no_ledger.unwrap_or(false),
        metrics_urls,
        sizes,
        require_ledger: args.require_ledger.unwrap_or(false),
        require_hits,
        clear: args.clear_cache.unwrap_or(false),
    })
}

/// Flags that exclude one another.
fn check_pairs(args: &EngineArgs, is_single: bool) -> Result<(), Error> {
    let asserts = args.require_hits.is_some() || args.require_ledger == Some(true);
    let conflicts = [
        (
            args.no_ledger == Some(true) && (asserts || args.kv_tiers.is_some() || args.metrics_url.is_some()),
            "--no-ledger leaves out what --metrics-url, --kv-tiers, --require-ledger and --require-hits are about; give one or the other",
        ),
        (
            asserts && !is_single,
            "--require-hits and --require-ledger are about one load; leave them out with --sweep, --find-max and --staircase",
        ),
        (
            args.kv_tiers.is_some() && !is_single && args.staircase != Some(true),
            "--kv-tiers is about what to expect of one load; leave it out with --sweep and --find-max",
        ),
    ];
    match conflicts.into_iter().find(|(conflict, _)| *conflict) {
        Some((_, sentence)) => Err(Error::Usage(sentence.into())),
        None => Ok(()),
    }
}
