//! The `engine` benchmark. `bench` tells the story of one run.

pub mod answer;
pub mod api_key;
pub mod bench;
pub mod buffers;
pub mod certificate;
pub mod chunk;
pub mod config;
pub mod detail;
pub mod discover;
pub mod display;
pub mod exchange;
pub mod failure;
mod http;
pub mod jsonl;
pub mod lane;
pub mod line;
pub mod live;
pub mod outgoing;
pub mod outputs;
pub mod python_random;
pub mod record;
pub mod report;
pub mod results;
pub mod runner;
pub mod samples;
pub mod server_counters;
pub mod settings;
pub mod sse;
pub mod steady;
pub mod target;
#[cfg(test)]
mod testing;
pub mod timestamp;
pub mod tokens;
pub mod transport;
pub mod warning;
pub mod workload;
