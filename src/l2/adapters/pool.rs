//! Threads that take jobs from one queue and give them back done. What a job is, and what may be shared, is the caller's.

use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

/// Enough for a few system calls and their paths; the default of 8 MiB each would be address space for nothing.
const STACK_BYTES: usize = 256 << 10;

pub struct Pool<Job> {
    jobs: Option<Sender<Job>>,
    finished: Receiver<Job>,
    workers: Vec<JoinHandle<()>>,
}

impl<Job: Send + 'static> Pool<Job> {
    /// Starts `count` threads (at least one). `worker` makes what each of them runs on its jobs.
    pub fn start<Work>(count: usize, name: &str, mut worker: impl FnMut() -> Work) -> Result<Pool<Job>, String>
    where
        Work: FnMut(&mut Job) + Send + 'static,
    {
        let (jobs, inbox) = unbounded::<Job>();
        let (outbox, finished) = unbounded::<Job>();
        let mut workers = Vec::with_capacity(count);
        for index in 0..count.max(1) {
            let (inbox, outbox) = (inbox.clone(), outbox.clone());
            let mut work = worker();
            let run = move || {
                for mut job in inbox {
                    work(&mut job);
                    if outbox.send(job).is_err() {
                        return;
                    }
                }
            };
            let worker = Builder::new()
                .name(format!("{name}-{index}"))
                .stack_size(STACK_BYTES)
                .spawn(run)
                .map_err(|error| format!("could not start {count} I/O threads: {error}; lower --io-depth"))?;
            workers.push(worker);
        }
        Ok(Pool {
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

    /// The next finished job, waiting at most `timeout`.
    pub fn next(&self, timeout: Duration) -> Option<Job> {
        self.finished.recv_timeout(timeout).ok()
    }
}

impl<Job> Drop for Pool<Job> {
    fn drop(&mut self) {
        self.jobs = None;
        for worker in self.workers.drain(..) {
            // A worker that panicked has already printed why; there is nothing to add while tearing down.
            let _ = worker.join();
        }
    }
}
