//! The `server` benchmark. `bench` tells the story of one run.

pub mod bench;
pub mod case;
pub mod checksum;
pub mod config;
pub mod device;
pub mod http;
pub mod memory;
pub mod progress;
pub mod rpc;
pub mod runner;
pub mod samples;
pub mod session;
pub mod shape;
pub mod summary;
pub mod tensors;
pub mod transport;
pub mod warning;
