//! Benchmark of an L2 storage adapter: storing, looking up and loading KV objects in rounds.

pub mod adapter;
pub mod adapters;
pub mod bench;
mod blake2b;
pub mod config;
pub mod device;
pub mod keys;
pub mod payload;
pub mod runner;
pub mod samples;
pub mod spec;
pub mod stamp;
pub mod summary;
pub mod verify;
