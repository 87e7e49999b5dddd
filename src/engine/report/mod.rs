//! The output of `engine`: the live display, the report's sections, warnings, and files.

pub mod display;
pub mod expected;
pub mod jsonl;
pub mod ledger;
pub mod load;
pub mod outputs;
pub mod saved;
pub mod sections;
pub mod several;
pub mod slo;
pub mod staircase;
pub mod steps;
pub mod warning;
