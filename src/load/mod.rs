//! Load generation that is independent of what a request is.

pub mod arrivals;
pub mod offer;
pub mod series;
pub mod slo;
pub mod steady;
