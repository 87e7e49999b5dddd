//! Objects handled by plain threads, one at a time each. Buffered transfers are memory copies, which only threads spread over
//! several cores; O_DIRECT stores spend much of their time in create and rename, which a ring would hand to kernel threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::layout::Layout;
use super::object::{self, Paths};
use crate::l2::adapter::{Item, Operation, Outcome};
use crate::l2::adapters::pool::Pool;
use crate::l2::adapters::tasks::Place;

/// Consecutive keys of one task: one for transfers, a whole task for lookups, which take less time than a hand-over.
pub struct Job {
    pub place: Place,
    pub items: Vec<Item>,
    pub operation: Operation,
    pub created: Instant,
}

pub fn start(count: usize, layout: &Arc<Layout>, cancelled: &Arc<AtomicBool>) -> Result<Pool<Job>, String> {
    let worker = || {
        let (layout, cancelled) = (Arc::clone(layout), Arc::clone(cancelled));
        let mut paths = Paths::default();
        move |job: &mut Job| {
            for item in &mut job.items {
                if cancelled.load(Ordering::Relaxed) {
                    item.outcome = Outcome::Cancelled;
                } else {
                    object::run(&layout, job.operation, item, job.created, &mut paths);
                }
            }
        }
    };
    Pool::start(count, "fs", worker, Some)
}
