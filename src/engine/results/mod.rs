//! Records turned into figures: the reference's own, what stands beside them, and the steady part of a phase. Reads no
//! clock, socket or file, so that any run can be computed again from its records.

pub mod detail;
pub mod figures;
pub mod steady;
