//! The `engine` benchmark. `bench` tells the story of one run.

pub mod bench;
pub mod workload;
