//! The command line of `l2` as typed values. Must never check a value against another, a range or the machine: that is
//! the config's part.

use std::path::PathBuf;

use super::Format;
use super::python_number::quoted;

mod page;
mod table;

pub use page::page;
pub use table::TABLE;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Store,
    Lookup,
    Load,
}

/// Which I/O path the fs adapter takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoEngine {
    /// The faster one for the phase at hand.
    #[default]
    Auto,
    Threads,
    Uring,
}

/// The command line of `l2` as typed.
#[derive(Clone, Debug, PartialEq)]
pub struct L2Args {
    pub l2_adapter: Vec<String>,
    pub num_keys: i64,
    pub in_flight: i64,
    pub data_size_kb: i64,
    pub l1_align_bytes: i64,
    pub l1_use_hugepages: bool,
    pub rounds: i64,
    pub warmup_rounds: i64,
    pub lookup_max_hit_rate: f64,
    pub skip_verify: bool,
    pub only: Option<Operation>,
    pub format: Format,
    pub output: Option<PathBuf>,
    pub quiet: bool,
    pub cold: bool,
    pub seed: u64,
    pub round_timeout_s: Option<f64>,
    pub io_engine: IoEngine,
    pub io_depth: i64,
    pub fdatasync: bool,
    pub probe: bool,
}

impl Default for L2Args {
    /// What a command line without flags means.
    fn default() -> L2Args {
        let mut args = L2Args {
            l2_adapter: Vec::new(),
            num_keys: 0,
            in_flight: 0,
            data_size_kb: 0,
            l1_align_bytes: 0,
            l1_use_hugepages: false,
            rounds: 0,
            warmup_rounds: 0,
            lookup_max_hit_rate: 0.0,
            skip_verify: false,
            only: None,
            format: Format::default(),
            output: None,
            quiet: false,
            cold: false,
            seed: 0,
            round_timeout_s: None,
            io_engine: IoEngine::default(),
            io_depth: 0,
            fdatasync: false,
            probe: false,
        };
        TABLE
            .apply_presets(&mut args)
            .expect("a test hands every default to its setter");
        args
    }
}

impl Operation {
    fn from_text(text: &str) -> Result<Operation, String> {
        match text {
            "store" => Ok(Operation::Store),
            "lookup" => Ok(Operation::Lookup),
            "load" => Ok(Operation::Load),
            other => Err(format!("unknown operation {}", quoted(other))),
        }
    }
}

impl IoEngine {
    fn from_text(text: &str) -> Result<IoEngine, String> {
        match text {
            "auto" => Ok(IoEngine::Auto),
            "threads" => Ok(IoEngine::Threads),
            "uring" => Ok(IoEngine::Uring),
            other => Err(format!("unknown I/O engine {}", quoted(other))),
        }
    }
}
