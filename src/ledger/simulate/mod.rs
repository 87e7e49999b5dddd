//! What each tier of the KV cache serves of each prompt, by the rules of vLLM with LMCache or by those of the mock engine.
//! Events go in one by one (admitted, stored, freed, tick); when each happens is the caller's part.

mod chain;
mod exact;
mod hbm;
mod lmcache;
mod lookup;
mod lru;
mod order;
mod prompts;
mod stack;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

pub use exact::{CacheSizes, Kept, PrefixCache, Sources};
pub use lmcache::{Counts, Settings};
pub use lookup::Lookup;
pub use prompts::{Catalog, Entry, Prompt, Sent};
pub use stack::{Admitted, Exact, Missing, Served, Stack, Tier, Vllm};
