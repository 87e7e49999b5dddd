//! Objects moved through one io_uring by the benchmark's own thread: files are opened, created, renamed and closed with
//! plain calls (the kernel would hand those to worker threads), only the bytes travel through the ring.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::layout::Layout;
use super::object::{self, Lap, Paths};
use super::threads::Job;
use crate::l2::adapter::{KeyTimes, Operation, Outcome};
use crate::l2::adapters::raw::broken_ring;
use crate::sys::uring::{Direction, Finished, Ring, Transfer};
use crate::units::duration_ns;

/// An object whose bytes are in the ring.
struct Open {
    job: Job,
    file: Arc<File>,
    paths: Paths,
    lap: Lap,
}

pub struct RingEngine {
    ring: Ring,
    depth: usize,
    layout: Arc<Layout>,
    cancelled: Arc<AtomicBool>,
    pending: VecDeque<Job>,
    /// By token.
    open: Vec<Option<Open>>,
    free_tokens: Vec<usize>,
    /// Path buffers of objects that are done, for the next ones.
    spare_paths: Vec<Paths>,
    finished: VecDeque<Job>,
    /// Why the ring is of no use any more.
    broken: Option<String>,
}

impl RingEngine {
    pub fn new(ring: Ring, depth: usize, layout: &Arc<Layout>, cancelled: &Arc<AtomicBool>) -> RingEngine {
        RingEngine {
            ring,
            depth,
            layout: Arc::clone(layout),
            cancelled: Arc::clone(cancelled),
            pending: VecDeque::new(),
            open: (0..depth).map(|_| None).collect(),
            free_tokens: (0..depth).rev().collect(),
            spare_paths: Vec::with_capacity(depth),
            finished: VecDeque::new(),
            broken: None,
        }
    }

    pub fn depth(&self) -> usize {
        self.depth
    }

    pub fn has_registered_buffers(&self) -> bool {
        self.ring.has_registered_buffers()
    }

    pub fn ring(&mut self) -> &mut Ring {
        &mut self.ring
    }

    pub fn push(&mut self, job: Job) {
        self.pending.push_back(job);
    }

    /// Opens as many pending objects as there is room for and hands their transfers to the kernel, one at a time: while
    /// the next file is being opened, the device already works on the last one.
    pub fn pump(&mut self) {
        let handed = match self.broken {
            None => self.hand_over(),
            Some(_) => Ok(()),
        };
        self.note(handed);
    }

    fn hand_over(&mut self) -> io::Result<()> {
        while !self.free_tokens.is_empty() {
            let Some(job) = self.pending.pop_front() else { break };
            if self.cancelled.load(Ordering::Relaxed) {
                self.finish(job, Outcome::Cancelled);
                continue;
            }
            self.start(job)?;
        }
        Ok(())
    }

    fn start(&mut self, mut job: Job) -> io::Result<()> {
        let mut lap = Lap::start();
        let mut paths = self.spare_paths.pop().unwrap_or_default();
        let created = job.created;
        let item = &mut job.items[0];
        item.times = KeyTimes {
            queued_ns: duration_ns(lap.begin().duration_since(created)),
            ..KeyTimes::default()
        };
        self.layout.final_path(&item.key, &mut paths.target);
        let opened = match job.operation {
            Operation::Store => object::create(&self.layout, item, &mut paths),
            _ => object::open_for_load(&self.layout, &paths).map(Some),
        };
        item.times.open_ns = lap.lap_ns();
        item.times.service_ns = lap.total_ns();
        let (file, slot) = match (opened, item.slot.take()) {
            (Ok(Some(file)), Some(slot)) => (Arc::new(file), slot),
            (opened, slot) => {
                item.slot = slot;
                let outcome = match opened {
                    Ok(None) => Outcome::AlreadyThere,
                    Ok(Some(_)) => Outcome::Failed("no buffer came with this key".to_owned()),
                    Err(outcome) => outcome,
                };
                self.spare_paths.push(paths);
                self.finish(job, outcome);
                return Ok(());
            }
        };
        let token = self.free_tokens.pop().expect("checked by the caller");
        let direction = match job.operation {
            Operation::Store => Direction::Write,
            _ => Direction::Read,
        };
        let transfer = Transfer {
            file: Arc::clone(&file),
            file_offset: 0,
            slot,
            direction,
            token,
        };
        self.open[token] = Some(Open { job, file, paths, lap });
        let pushed = self.ring.push(transfer);
        assert!(pushed.is_ok(), "the ring has a place for every token");
        self.ring.submit()
    }

    /// The next finished job, waiting for the kernel at most `timeout`.
    pub fn next(&mut self, timeout: Duration) -> Option<Job> {
        if self.finished.is_empty() {
            let served = self.serve(timeout);
            self.note(served);
        }
        self.finished.pop_front()
    }

    fn serve(&mut self, timeout: Duration) -> io::Result<()> {
        if self.broken.is_some() {
            return Ok(());
        }
        self.hand_over()?;
        if self.finished.is_empty() && self.ring.in_flight() > 0 {
            self.ring.wait(timeout)?;
        }
        while let Some(finished) = self.ring.next_finished() {
            self.complete(finished);
        }
        // The device should not idle while the caller looks at what came back.
        self.hand_over()
    }

    /// Once the kernel has refused the ring, no later call is better: every job fails with its words. Buffers that the
    /// kernel may still use stay with the ring.
    fn note(&mut self, served: io::Result<()>) {
        if let Err(error) = served {
            self.broken = Some(broken_ring(&error));
        }
        let Some(sentence) = &self.broken else { return };
        for job in self.pending.drain(..) {
            self.finished.push_back(failed(job, sentence));
        }
        for open in self.open.iter_mut().filter_map(Option::take) {
            if open.job.operation == Operation::Store {
                // As after any failed store, what stays is found by the next run.
                let _ = fs::remove_file(&open.paths.tmp);
            }
            self.finished.push_back(failed(open.job, sentence));
        }
    }

    fn complete(&mut self, finished: Finished) {
        let token = finished.transfer.token;
        let mut open = self.open[token].take().expect("a transfer belongs to an open object");
        self.free_tokens.push(token);
        let item = &mut open.job.items[0];
        item.times.transfer_ns = open.lap.lap_ns();
        let wanted = finished.transfer.slot.len();
        let Transfer {
            file: ring_file, slot, ..
        } = finished.transfer;
        drop(ring_file);
        item.slot = Some(slot);
        let outcome = match open.job.operation {
            Operation::Store => {
                let file = Arc::into_inner(open.file).expect("the ring gave its handle back");
                object::publish(&self.layout, file, finished.outcome, &open.paths)
            }
            _ => {
                drop(open.file);
                let read = finished.outcome.map(|()| finished.moved_bytes);
                object::load_outcome(read, wanted, &open.paths.target)
            }
        };
        item.times.publish_ns = open.lap.lap_ns();
        item.times.service_ns = open.lap.total_ns();
        self.spare_paths.push(open.paths);
        self.finish(open.job, outcome);
    }

    fn finish(&mut self, mut job: Job, outcome: Outcome) {
        job.items[0].outcome = outcome;
        self.finished.push_back(job);
    }
}

fn failed(mut job: Job, sentence: &str) -> Job {
    job.items[0].outcome = Outcome::Failed(sentence.to_owned());
    job
}
