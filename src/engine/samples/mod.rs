//! The raw results of a run: one record per request, and the records of a phase. Everything that is computed over several
//! requests is in `results`.

pub mod access;
pub mod phase;
pub mod record;
pub mod series;
pub mod steadiness;
