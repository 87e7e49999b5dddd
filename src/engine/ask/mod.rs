//! Questions to servers outside the measured time: which models, which cache layout, what their counters say.

pub mod discover;
pub mod http;
pub mod server_counters;
pub mod version;
