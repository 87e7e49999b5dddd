//! Benchmark of an L2 storage adapter: storing, looking up and loading KV objects in rounds.

pub mod keys;
pub mod spec;
pub mod stamp;
pub mod verify;
