//! The `engine` benchmark. `bench` tells the story of one run.
//!
//! From the ground up: `api_key`, `trust`, `failure`, `timestamp` and `python_random`, then `config`, `ask`, `settings`, `tokens`,
//! `workload`, `stream`, `samples`, `wire`, `run`, `results`, `report`, `bench`. Each may use those before it and none
//! after it, which tests/cases/tidy.rs checks.

pub mod api_key;
pub mod ask;
pub mod bench;
pub mod config;
pub mod failure;
pub mod python_random;
pub mod report;
pub mod results;
pub mod run;
pub mod samples;
pub mod settings;
pub mod stream;
#[cfg(test)]
mod testing;
pub mod timestamp;
pub mod tokens;
pub mod trust;
pub mod wire;
pub mod workload;
