//! A worker: one thread that owns one connection and sends one request at a time. It takes jobs and reports records.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crate::engine::failure::{Failure, FailureClass};
use crate::engine::samples::record::Record;
use crate::engine::timestamp::Stamp;
use crate::engine::wire::exchange::Exchanger;
use crate::engine::workload::Request;
use crate::sys::panic;
use crate::sys::queue::Queue;

/// Enough for TLS; only the pages that are touched cost memory.
const STACK_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub enum Job {
    /// Open the connection in advance.
    Open,
    Send {
        request: Request,
        scheduled: Stamp,
    },
}

/// The outcome of a job; `worker` is the worker's number.
#[derive(Debug)]
pub enum Report {
    Opened {
        worker: usize,
        outcome: Result<u64, Failure>,
    },
    /// No record: the run was interrupted before the answer ended.
    Ended {
        worker: usize,
        id: String,
        record: Option<Box<Record>>,
    },
}

/// Handle to a worker's thread; dropping it ends the thread.
#[derive(Debug)]
pub struct Worker {
    jobs: Arc<Queue<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub fn start(number: usize, exchanger: Exchanger, reports: Arc<Queue<Report>>) -> io::Result<Worker> {
        let jobs = Arc::new(Queue::default());
        let queue = Arc::clone(&jobs);
        let thread = Builder::new()
            .name("worker".into())
            .stack_size(STACK_BYTES)
            .spawn(move || serve(number, exchanger, &queue, &reports))?;
        Ok(Worker {
            jobs,
            thread: Some(thread),
        })
    }

    /// Gives an idle worker its next job.
    pub fn assign(&self, job: Job) {
        self.jobs.push(job);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(worker: usize, mut exchanger: Exchanger, jobs: &Queue<Job>, reports: &Queue<Report>) {
    while let Some(job) = jobs.pop() {
        let report = match job {
            // A job that panicked is reported too, so that the runner does not wait for it.
            Job::Open => Report::Opened {
                worker,
                outcome: panic::caught(|| exchanger.open()).unwrap_or_else(|| Err(fault())),
            },
            Job::Send { request, scheduled } => Report::Ended {
                worker,
                id: request.id.clone(),
                record: panic::caught(|| exchanger.run(request, scheduled))
                    .flatten()
                    .map(Box::new),
            },
        };
        reports.push(report);
    }
}

fn fault() -> Failure {
    Failure::new(FailureClass::Connect, "this program has a fault, which it named")
}
