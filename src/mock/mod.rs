//! Imitations of the peers with exact schedules, for trying out, for self-checks and for tests.

pub mod engine;
pub mod server;
