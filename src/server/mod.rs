//! The `server` benchmark. `bench` tells the story of one run.

pub mod bench;
pub mod http;
pub mod rpc;
