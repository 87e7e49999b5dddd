//! What people and scripts get to see: the display while a run goes on, the report's sections, its warnings, the files.

pub mod display;
pub mod jsonl;
pub mod outputs;
pub mod saved;
pub mod sections;
pub mod warning;
