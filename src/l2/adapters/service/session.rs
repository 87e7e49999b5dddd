//! What one worker of a service adapter does with keys, and the pool of those workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::l2::adapter::{Completion, Item, Operation, Outcome};
use crate::l2::adapters::pool::Pool;
use crate::l2::adapters::tasks::SharedTask;
use crate::sys::panic;

/// A worker's connection, or its part of a set of connections.
pub trait Session: Send {
    /// Runs neighbouring keys of one task, at most a batch of them, and sets their outcomes and times.
    fn run(&mut self, operation: Operation, items: &mut [Item], created: Instant);
}

/// Some neighbouring keys of one task.
pub struct Job {
    pub task: Arc<SharedTask>,
    /// Position of the first key in the task.
    pub first: usize,
    pub items: Vec<Item>,
}

pub type SessionPool = Pool<Job, Completion>;

/// One thread per session. `batch` is how many keys a session takes at once.
pub fn start(
    sessions: Vec<Box<dyn Session>>,
    batch: usize,
    cancelled: &Arc<AtomicBool>,
) -> Result<SessionPool, String> {
    let count = sessions.len();
    let mut sessions = sessions.into_iter();
    let worker = || {
        let mut session = sessions.next();
        let cancelled = Arc::clone(cancelled);
        move |job: &mut Job| {
            for items in job.items.chunks_mut(batch.max(1)) {
                let (operation, created) = (job.task.operation, job.task.created);
                let outcome = match &mut session {
                    Some(session) if !cancelled.load(Ordering::Relaxed) => {
                        // Also keys whose work panicked come back, so that no task waits for them.
                        match panic::caught(|| session.run(operation, items, created)) {
                            Some(()) => continue,
                            None => Outcome::Failed("this program has a fault, which it named".to_owned()),
                        }
                    }
                    _ => Outcome::Cancelled,
                };
                items.iter_mut().for_each(|item| item.outcome = outcome.clone());
            }
        }
    };
    Pool::start(count, "service", worker, |job| job.task.settle(job.first, job.items))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::l2::adapter::Task;
    use crate::l2::keys::bench_key;

    /// Panics at the key with this number.
    struct Faulty(u64);

    impl Session for Faulty {
        fn run(&mut self, _operation: Operation, items: &mut [Item], _created: Instant) {
            for item in items {
                assert!(item.key != bench_key(self.0), "a fault on purpose");
                item.outcome = Outcome::Found;
            }
        }
    }

    #[test]
    fn a_task_whose_work_panics_comes_back() {
        let pool = start(vec![Box::new(Faulty(1))], 1, &Arc::default()).unwrap();
        let now = Instant::now();
        for id in 0..2 {
            let items: Vec<Item> = (0..3).map(|key| Item::new(bench_key(key), None)).collect();
            let (task, items) = SharedTask::begin(Task {
                id,
                operation: Operation::Lookup,
                items,
                created: now,
            });
            let task = Arc::new(task);
            pool.push(Job { task, first: 0, items });
            let completion = pool.next(Duration::from_secs(60)).unwrap();
            let outcomes: Vec<_> = completion.items.iter().map(|item| &item.outcome).collect();
            assert!(
                matches!(outcomes[..], [Outcome::Found, Outcome::Failed(_), Outcome::Found]),
                "{outcomes:?}"
            );
        }
    }
}
