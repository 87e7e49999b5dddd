//! Threads that take jobs from one queue and return their results. The caller defines the jobs and what they share. The end of
//! a run does not wait for a thread that hangs in a system call.

use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::sys::deadline::closing_time;
use crate::sys::{limits, panic};

/// Enough for the deepest job, a TLS handshake.
pub(super) const STACK_BYTES: usize = 1 << 20;
/// How long the end of a run waits for threads in a system call. A lost server of a network file system would block them
/// forever.
const STOP_GRACE: Duration = Duration::from_secs(5);

pub struct Pool<Job, Done = Job> {
    jobs: Option<Sender<Job>>,
    finished: Receiver<Done>,
    workers: Vec<JoinHandle<()>>,
}

impl<Job: Send + 'static, Done: Send + 'static> Pool<Job, Done> {
    /// Starts `count` threads (at least one). `worker` creates what each of them runs on its jobs, and `collect` turns a
    /// job that was run into what [`Pool::next`] returns, if anything.
    pub fn start<Work>(
        count: usize,
        name: &str,
        mut worker: impl FnMut() -> Work,
        collect: fn(Job) -> Option<Done>,
    ) -> Result<Pool<Job, Done>, String>
    where
        Work: FnMut(&mut Job) + Send + 'static,
    {
        let (jobs, inbox) = unbounded::<Job>();
        let (outbox, finished) = unbounded::<Done>();
        let mut workers = Vec::with_capacity(count);
        for index in 0..count.max(1) {
            let (inbox, outbox) = (inbox.clone(), outbox.clone());
            let mut work = worker();
            let run = move || {
                for mut job in inbox {
                    // Also a job whose work panicked comes back, so that no task waits for it.
                    panic::caught(|| work(&mut job));
                    if collect(job).is_some_and(|done| outbox.send(done).is_err()) {
                        return;
                    }
                }
            };
            let worker = Builder::new()
                .name(format!("{name}-{index}"))
                .stack_size(STACK_BYTES)
                .spawn(run)
                .map_err(|error| {
                    format!(
                        "could not start {count} I/O threads: {} (lower --io-depth or the adapter's workers)",
                        limits::thread_with_advice(&error)
                    )
                })?;
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

    /// What came of the next job, waiting at most `timeout`.
    pub fn next(&self, timeout: Duration) -> Option<Done> {
        self.finished.recv_timeout(timeout).ok()
    }
}

impl<Job, Done> Pool<Job, Done> {
    /// Takes no more jobs and waits for the threads, at most `grace`. A thread that still works then is left running: it
    /// owns all that it uses.
    fn stop(&mut self, grace: Duration) {
        self.jobs = None;
        let deadline = Instant::now() + grace;
        loop {
            match self.finished.recv_deadline(deadline) {
                Ok(done) => drop(done),
                // Each thread holds a sender, so all of them are at their end.
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return,
            }
        }
        for worker in self.workers.drain(..) {
            // Its panic, if any, was reported already.
            let _ = worker.join();
        }
    }
}

impl<Job, Done> Drop for Pool<Job, Done> {
    fn drop(&mut self) {
        self.stop(closing_time(STOP_GRACE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One thread whose work on a job lasts until something is sent, or the sender is gone.
    fn held() -> (Pool<u32>, Sender<()>) {
        let (release, held) = unbounded::<()>();
        let worker = || {
            let held = held.clone();
            move |job: &mut u32| {
                *job += 1;
                let _ = held.recv();
            }
        };
        (Pool::start(1, "held", worker, Some).unwrap(), release)
    }

    #[test]
    fn a_job_comes_back_done() {
        let (pool, release) = held();
        pool.push(1);
        release.send(()).unwrap();
        assert_eq!(pool.next(Duration::from_secs(60)), Some(2));
    }

    #[test]
    fn a_thread_that_hangs_does_not_hold_the_end() {
        let (mut pool, release) = held();
        pool.push(1);
        pool.stop(Duration::from_millis(10));
        assert_eq!(pool.workers.len(), 1, "it was not waited for");
        drop(release);
        pool.stop(Duration::from_secs(60));
        assert!(pool.workers.is_empty(), "it ended and was waited for");
    }
}
