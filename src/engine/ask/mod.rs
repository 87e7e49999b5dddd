//! Small requests to servers outside the measured time: models, cache layout, counters. A run does not fail because of an
//! answer that it can do without.

pub mod discover;
pub mod http;
pub mod lookups;
pub mod server_counters;
pub mod version;
