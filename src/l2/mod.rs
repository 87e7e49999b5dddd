//! Measuring an L2 adapter: keys, adapter specs, adapters, runner, verification.

pub mod keys;
