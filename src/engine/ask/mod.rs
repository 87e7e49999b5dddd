//! Questions to servers outside the measured time: which models, which cache layout, what their counters say. Must never
//! send a benchmark request, and never fail a run for a server that does not know an answer it can do without.

pub mod discover;
pub mod http;
pub mod server_counters;
pub mod version;
