//! One thread that owns one connection and sends one request at a time. It takes jobs, hands back records, and knows
//! nothing of workloads.

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
    /// Open the connection, so that no request has to.
    Open,
    Send {
        request: Request,
        scheduled: Stamp,
    },
}

/// What a lane reports; `lane` is its number.
#[derive(Debug)]
pub enum Report {
    Opened {
        lane: usize,
        outcome: Result<u64, Failure>,
    },
    /// Without a record the run ended before the answer did.
    Ended {
        lane: usize,
        id: String,
        record: Option<Box<Record>>,
    },
}

/// The other end of a lane's thread.
#[derive(Debug)]
pub struct Lane {
    jobs: Arc<Queue<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    pub fn start(number: usize, exchanger: Exchanger, reports: Arc<Queue<Report>>) -> io::Result<Lane> {
        let jobs = Arc::new(Queue::default());
        let queue = Arc::clone(&jobs);
        let thread = Builder::new()
            .name("lane".into())
            .stack_size(STACK_BYTES)
            .spawn(move || serve(number, exchanger, &queue, &reports))?;
        Ok(Lane {
            jobs,
            thread: Some(thread),
        })
    }

    /// Gives an idle lane its next job.
    pub fn give(&self, job: Job) {
        self.jobs.push(job);
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.jobs.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(lane: usize, mut exchanger: Exchanger, jobs: &Queue<Job>, reports: &Queue<Report>) {
    while let Some(job) = jobs.pop() {
        let report = match job {
            // Also a job whose work panicked comes back, so that nobody waits for it.
            Job::Open => Report::Opened {
                lane,
                outcome: panic::caught(|| exchanger.open()).unwrap_or_else(|| Err(fault())),
            },
            Job::Send { request, scheduled } => Report::Ended {
                lane,
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
