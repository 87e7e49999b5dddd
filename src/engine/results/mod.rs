//! Computes figures from records: the reference's (`figures`), all others (`detail`), and the steady state (`steady`). The
//! results depend on the records alone.

pub mod detail;
pub mod figures;
pub mod steady;
