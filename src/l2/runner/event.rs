//! Progress events of a run. The caller prints them.

use std::time::Duration;

use crate::l2::adapter::Operation;

/// Rounds are counted from 1, warmup included; `keys` are those of the round, `success` those that succeeded.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    PhaseBegins {
        operation: Operation,
    },
    RoundEnds {
        operation: Operation,
        round: u64,
        duration: Duration,
        success: u64,
        keys: u64,
    },
    RoundTimedOut {
        operation: Operation,
        round: u64,
        tasks_done: usize,
        tasks: usize,
        success: u64,
        keys: u64,
    },
    PhaseEnds,
}
