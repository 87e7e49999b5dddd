//! How load is offered, for all commands: nothing here knows what a request is.

pub mod arrivals;
