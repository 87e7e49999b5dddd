//! Load generation that is independent of what a request is.

pub mod arrivals;
pub mod knee;
pub mod offer;
pub mod probe;
pub mod search;
pub mod series;
pub mod slo;
pub mod steady;
pub mod sweep;
