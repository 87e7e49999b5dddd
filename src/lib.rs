//! The library behind `lmcache-bench`.
//!
//! Data flows one way: command line -> config -> run -> result -> report. What measures does not print; what prints does not
//! measure. docs/architecture.md shows the layers.

pub mod cli;
pub mod commands;
pub mod cuda;
pub mod engine;
pub mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod http;
pub mod l2;
pub mod ledger;
pub mod load;
pub mod mock;
pub mod python;
pub mod report;
pub mod result;
pub mod run;
pub mod saved;
pub mod server;
pub mod stats;
pub mod status;
pub mod sys;
#[cfg(test)]
mod testing;
pub mod text;
pub mod units;
pub mod url;
