//! The workers of a service adapter: a thread each, with a connection of its own, fed from one queue.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::l2::adapter::{Completion, Item, Operation, Outcome};
use crate::sys::{limits, panic};

/// A TLS handshake is the deepest that a worker gets.
const STACK_BYTES: usize = 1 << 20;

/// What one worker does with keys, over a connection that nobody else uses.
pub trait Session: Send {
    /// Runs neighbouring keys of one task, at most a batch of them, and sets their outcomes and times.
    fn run(&mut self, operation: Operation, items: &mut [Item], created: Instant);
}

/// Where the jobs of one task come together. The last one makes the completion, so that the benchmark's thread wakes up once
/// for each task and not for each key: on a small machine it would take the service's core.
pub struct Gather {
    id: usize,
    operation: Operation,
    created: Instant,
    state: Mutex<(Vec<Option<Item>>, usize)>,
}

impl Gather {
    pub fn new(id: usize, operation: Operation, created: Instant, count: usize) -> Arc<Gather> {
        Arc::new(Gather {
            id,
            operation,
            created,
            state: Mutex::new(((0..count).map(|_| None).collect(), count)),
        })
    }

    /// Puts keys back into their task; the completion when they were the last ones.
    fn settle(&self, first: usize, items: Vec<Item>) -> Option<Completion> {
        // Nothing between lock and unlock can panic half-way.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 -= items.len();
        for (place, item) in state.0[first..].iter_mut().zip(items) {
            *place = Some(item);
        }
        (state.1 == 0).then(|| Completion {
            id: self.id,
            operation: self.operation,
            items: std::mem::take(&mut state.0).into_iter().flatten().collect(),
            created: self.created,
            submitted: self.created,
            completed: Instant::now(),
        })
    }
}

/// Some neighbouring keys of one task.
pub struct Job {
    pub task: Arc<Gather>,
    pub first: usize,
    pub items: Vec<Item>,
}

pub struct Pool {
    jobs: Option<Sender<Job>>,
    finished: Receiver<Completion>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// One thread per session. `batch` is how many keys a session takes at once.
    pub fn start(sessions: Vec<Box<dyn Session>>, batch: usize, cancelled: &Arc<AtomicBool>) -> Result<Pool, String> {
        let (jobs, inbox) = unbounded::<Job>();
        let (outbox, finished) = unbounded::<Completion>();
        let mut workers = Vec::with_capacity(sessions.len());
        for (index, session) in sessions.into_iter().enumerate() {
            let (inbox, outbox, cancelled) = (inbox.clone(), outbox.clone(), Arc::clone(cancelled));
            let worker = Builder::new()
                .name(format!("service-{index}"))
                .stack_size(STACK_BYTES)
                .spawn(move || work(session, batch.max(1), &cancelled, &inbox, &outbox))
                .map_err(|error| {
                    let told = limits::thread_with_advice(&error);
                    format!("could not start connection thread {index}: {told} (fewer workers)")
                })?;
            workers.push(worker);
        }
        Ok(Pool {
            jobs: Some(jobs),
            finished,
            workers,
        })
    }

    pub fn push(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("open until drop");
        jobs.send(job).expect("the workers live as long as this sender");
    }

    pub fn next(&self, timeout: Duration) -> Option<Completion> {
        self.finished.recv_timeout(timeout).ok()
    }
}

fn work(
    mut session: Box<dyn Session>,
    batch: usize,
    cancelled: &AtomicBool,
    inbox: &Receiver<Job>,
    outbox: &Sender<Completion>,
) {
    for mut job in inbox {
        for items in job.items.chunks_mut(batch) {
            if cancelled.load(Ordering::Relaxed) {
                items.iter_mut().for_each(|item| item.outcome = Outcome::Cancelled);
            } else {
                // Also keys whose work panicked come back, so that nobody waits for them.
                if panic::caught(|| session.run(job.task.operation, items, job.task.created)).is_none() {
                    let failed = || Outcome::Failed("this program has a fault, which it named".to_owned());
                    items.iter_mut().for_each(|item| item.outcome = failed());
                }
            }
        }
        let completion = job.task.settle(job.first, job.items);
        if completion.is_some_and(|completion| outbox.send(completion).is_err()) {
            return;
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for worker in self.workers.drain(..) {
            // A worker that panicked has already printed why; there is nothing to add while tearing down.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let pool = Pool::start(vec![Box::new(Faulty(1))], 1, &Arc::default()).unwrap();
        let now = Instant::now();
        for id in 0..2 {
            let items: Vec<Item> = (0..3).map(|key| Item::new(bench_key(key), None)).collect();
            let task = Gather::new(id, Operation::Lookup, now, items.len());
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
