//! Objects handled by plain threads, one object at a time each. Buffered transfers are memory copies, so threads are the
//! only way to use more than one core for them; O_DIRECT stores spend much of their time in create and rename, which a ring
//! would hand to kernel threads anyway.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::layout::Layout;
use super::object::{self, Paths};
use crate::l2::adapter::{Item, Operation, Outcome};

/// Enough for a few system calls and their paths; the default of 8 MiB each would be address space for nothing.
const STACK_BYTES: usize = 256 << 10;

/// Some neighbouring keys of one task: one for transfers, a whole task for lookups, which are shorter than a hand-over.
pub struct Job {
    pub task: usize,
    pub first: usize,
    pub items: Vec<Item>,
    pub operation: Operation,
    pub created: Instant,
}

pub struct Threads {
    jobs: Option<Sender<Job>>,
    finished: Receiver<Job>,
    workers: Vec<JoinHandle<()>>,
}

impl Threads {
    pub fn start(count: usize, layout: &Arc<Layout>, cancelled: &Arc<AtomicBool>) -> Result<Threads, String> {
        let (jobs, inbox) = unbounded::<Job>();
        let (outbox, finished) = unbounded::<Job>();
        let mut workers = Vec::with_capacity(count);
        for index in 0..count.max(1) {
            let (inbox, outbox) = (inbox.clone(), outbox.clone());
            let (layout, cancelled) = (Arc::clone(layout), Arc::clone(cancelled));
            let worker = Builder::new()
                .name(format!("fs-{index}"))
                .stack_size(STACK_BYTES)
                .spawn(move || work(&layout, &cancelled, &inbox, &outbox))
                .map_err(|error| format!("could not start {count} I/O threads: {error}; lower --io-depth"))?;
            workers.push(worker);
        }
        Ok(Threads {
            jobs: Some(jobs),
            finished,
            workers,
        })
    }

    pub fn count(&self) -> usize {
        self.workers.len()
    }

    pub fn push(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("open until drop");
        jobs.send(job).expect("the workers live as long as this sender");
    }

    pub fn next(&self, timeout: Duration) -> Option<Job> {
        self.finished.recv_timeout(timeout).ok()
    }
}

fn work(layout: &Layout, cancelled: &AtomicBool, inbox: &Receiver<Job>, outbox: &Sender<Job>) {
    let mut paths = Paths::default();
    for mut job in inbox {
        for item in &mut job.items {
            if cancelled.load(Ordering::Relaxed) {
                item.outcome = Outcome::Cancelled;
            } else {
                object::run(layout, job.operation, item, job.created, &mut paths);
            }
        }
        if outbox.send(job).is_err() {
            return;
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.jobs = None;
        for worker in self.workers.drain(..) {
            // A worker that panicked has already printed why; there is nothing to add while tearing down.
            let _ = worker.join();
        }
    }
}
