//! The `server` benchmark. `bench` tells the story of one run.

pub mod bench;
pub mod checksum;
pub mod memory;
pub mod shape;
