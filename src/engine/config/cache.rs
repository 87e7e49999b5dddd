//! What a run tells about cache tiers: what the flags of the group "KV cache" come to.

use crate::ledger::require::Requirement;
use crate::ledger::tiers::TierFlags;

/// The default reads the counters of the engine and of `--lmcache-url`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CacheConfig {
    /// Whether there is no ledger.
    pub no_ledger: bool,
    /// Pages of metrics in place of the one beside the engine's API.
    pub metrics_urls: Vec<String>,
    /// What `--kv-tiers` says.
    pub sizes: Option<TierFlags>,
    /// Whether a ledger that does not balance is an error.
    pub require_ledger: bool,
    pub require_hits: Vec<Requirement>,
    /// Whether the caches are emptied first.
    pub clear: bool,
}
