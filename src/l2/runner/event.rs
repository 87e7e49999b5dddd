//! What a run tells while it goes on. Whoever wants to show it writes it; nothing here does.

use std::time::Duration;

use crate::l2::adapter::Operation;

/// What happens on the way.
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
