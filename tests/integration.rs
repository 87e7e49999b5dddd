//! Drives the built binary as its users do. One test binary; the cases are grouped by what they show.

// A failed unwrap is a failed test, with a line number.
#![allow(clippy::unwrap_used)]

mod cases {
    mod adapters;
    mod bridge;
    mod cli;
    mod cuda;
    mod engine;
    mod engine_interactive;
    mod faults;
    mod files;
    mod hostile;
    mod measure;
    mod mock_engine;
    mod mock_engine_pages;
    mod mock_faults;
    mod mock_load;
    mod mock_server;
    mod network;
    mod raw_block;
    mod report;
    mod results;
    mod serde;
    mod server;
    mod server_gpu;
    mod signals;
    mod tidy;
}
mod support;
