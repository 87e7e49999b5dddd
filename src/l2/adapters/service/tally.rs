//! Counts retries and redirections of all workers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::l2::warning::{Repetitions, Warning};

#[derive(Default)]
pub struct Tally {
    repeated: AtomicU64,
    redirected: AtomicU64,
    /// The first reason for a repeated request.
    reason: Mutex<Option<String>>,
}

impl Tally {
    /// Counts a request that is sent again, and keeps the first reason.
    pub fn repeat(&self, reason: impl FnOnce() -> String) {
        self.repeated.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut kept) = self.reason.lock() {
            kept.get_or_insert_with(reason);
        }
    }

    /// Counts a request that was redirected to another node.
    pub fn redirect(&self) {
        self.redirected.fetch_add(1, Ordering::Relaxed);
    }

    pub fn warning(&self) -> Option<Warning> {
        let (repeated, redirected) = (
            self.repeated.load(Ordering::Relaxed),
            self.redirected.load(Ordering::Relaxed),
        );
        let reason = self.reason.lock().ok().and_then(|reason| reason.clone());
        let repetitions = Repetitions {
            repeated,
            redirected,
            reason,
        };
        (repeated + redirected > 0).then_some(Warning::RequestsRepeated(repetitions))
    }
}
