//! The `server` benchmark. `bench` tells the story of one run.

pub mod bench;
pub mod case;
pub mod checksum;
pub mod config;
pub mod memory;
pub mod rpc;
pub mod shape;
pub mod transport;
pub mod warning;
