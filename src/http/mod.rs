//! What all clients of HTTP services, and the mocks of such services, share.

pub mod answer;
pub mod api_key;
pub mod client;
pub mod encoding;
pub mod error_body;
pub mod head;
pub mod lmcache_key;
pub mod prometheus;
#[cfg(test)]
pub mod testing;
pub mod trust;
