//! What a run leaves behind, as plain values: one record per request, and a phase of them. Must never add up more than one
//! request; that is `results`' part.

pub mod phase;
pub mod record;
