//! One thread that owns one connection and sends one request at a time. It takes jobs, hands back records, and knows
//! nothing of workloads.

use std::io;
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::exchange::Exchanger;
use super::failure::Failure;
use super::record::Record;
use super::timestamp::Stamp;
use super::workload::Request;

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
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    pub fn start(number: usize, exchanger: Exchanger, reports: Sender<Report>) -> io::Result<Lane> {
        let (jobs, queue) = bounded(1);
        let thread = Builder::new()
            .name("lane".into())
            .stack_size(STACK_BYTES)
            .spawn(move || serve(number, exchanger, &queue, &reports))?;
        Ok(Lane {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Gives an idle lane its next job.
    pub fn give(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("a lane takes jobs until it is dropped");
        // The thread ends only when this sender is dropped, and an idle lane's queue is empty.
        let _ = jobs.send(job);
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(lane: usize, mut exchanger: Exchanger, jobs: &Receiver<Job>, reports: &Sender<Report>) {
    for job in jobs {
        let report = match job {
            Job::Open => Report::Opened {
                lane,
                outcome: exchanger.open(),
            },
            Job::Send { request, scheduled } => Report::Ended {
                lane,
                id: request.id.clone(),
                record: exchanger.run(request, scheduled).map(Box::new),
            },
        };
        if reports.send(report).is_err() {
            return;
        }
    }
}
