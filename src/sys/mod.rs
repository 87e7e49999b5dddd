//! Thin wrappers around the operating system. Besides `cuda` the only module that may use `unsafe`; tests/cases/tidy.rs lists
//! the files.

pub mod arena;
mod connect;
pub mod counters;
pub mod deadline;
pub mod detached;
pub mod ending;
pub mod file_map;
pub mod files;
pub mod limits;
pub mod machine;
pub mod mapping;
pub mod panic;
pub mod parallel;
pub mod poll;
pub mod queue;
pub mod shm;
pub mod signal;
pub mod socket;
pub mod storage;
pub mod stream;
mod tcp;
pub mod terminal;
pub mod uring;
pub mod whole_file;
