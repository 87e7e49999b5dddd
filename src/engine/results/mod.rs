//! Computes figures from records: the reference's (`figures`), all others (`detail`), load (`delivered`), objectives (`judged`), and the time with
//! nearly the highest concurrency (`steady`). The
//! results depend on the records alone.

pub mod by_source;
pub mod delivered;
pub mod detail;
pub mod evaluated;
pub mod figures;
pub mod judged;
pub mod steady;
pub mod step;
