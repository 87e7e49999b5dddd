//! The `engine` benchmark. `bench` tells the story of one run.

pub mod api_key;
pub mod bench;
pub mod config;
pub mod discover;
mod http;
pub mod python_random;
pub mod settings;
#[cfg(test)]
mod testing;
pub mod tokens;
pub mod workload;
