//! Objects moved through the ring: files are opened, created, renamed and closed with plain calls (the kernel would hand
//! those to worker threads), only the bytes travel through the ring.

use std::fs::{self, File};
use std::io;
use std::sync::Arc;

use super::layout::Layout;
use super::object::{self, Paths};
use super::threads::Job;
use crate::l2::adapter::{Operation, Outcome};
use crate::l2::adapters::ring_queue::{RingJobs, Transfers};
use crate::l2::adapters::step_timer::StepTimer;
use crate::sys::uring::{Direction, Finished, Transfer};

/// An object whose bytes are in the ring.
pub struct OpenObject {
    job: Job,
    file: Arc<File>,
    paths: Paths,
    timer: StepTimer,
    /// Bytes read, once the transfer is over.
    moved: io::Result<usize>,
}

/// Jobs of one key each.
pub struct FsJobs {
    layout: Arc<Layout>,
    /// Path buffers of objects that are done, for the next ones.
    spare_paths: Vec<Paths>,
}

impl FsJobs {
    pub fn new(layout: &Arc<Layout>, depth: usize) -> FsJobs {
        FsJobs {
            layout: Arc::clone(layout),
            spare_paths: Vec::with_capacity(depth),
        }
    }
}

impl RingJobs for FsJobs {
    type Job = Job;
    type Active = OpenObject;
    const TRANSFERS_MAX: usize = 1;
    /// While the next file is being opened, the device already works on the last one.
    const SUBMIT_EACH: bool = true;

    fn start(&mut self, mut job: Job, transfers: &mut Transfers<'_>) -> Result<OpenObject, Job> {
        let mut timer = StepTimer::start(job.created);
        let mut paths = self.spare_paths.pop().unwrap_or_default();
        let item = &mut job.items[0];
        self.layout.final_path(&item.key, &mut paths.target);
        let opened = match job.operation {
            Operation::Store => object::create(&self.layout, item, &mut paths),
            _ => object::open_for_load(&self.layout, &paths).map(Some),
        };
        timer.times.open_ns = timer.step_ns();
        let (file, slot) = match (opened, item.slot.take()) {
            (Ok(Some(file)), Some(slot)) => (Arc::new(file), slot),
            (opened, slot) => {
                item.slot = slot;
                item.outcome = match opened {
                    Ok(None) => Outcome::AlreadyThere,
                    Ok(Some(_)) => Outcome::Failed("no buffer came with this key".to_owned()),
                    Err(outcome) => outcome,
                };
                item.times = timer.until_last_step();
                self.spare_paths.push(paths);
                return Err(job);
            }
        };
        let direction = match job.operation {
            Operation::Store => Direction::Write,
            _ => Direction::Read,
        };
        transfers.push(&file, 0, slot, direction);
        Ok(OpenObject {
            job,
            file,
            paths,
            timer,
            moved: Ok(0),
        })
    }

    fn transferred(&mut self, open: &mut OpenObject, _index: usize, finished: Finished) {
        open.timer.times.transfer_ns = open.timer.step_ns();
        let Transfer { slot, .. } = finished.transfer;
        open.job.items[0].slot = Some(slot);
        open.moved = finished.outcome.map(|()| finished.moved_bytes);
    }

    fn finish(&mut self, open: OpenObject) -> Job {
        let OpenObject {
            mut job,
            file,
            paths,
            mut timer,
            moved,
        } = open;
        let item = &mut job.items[0];
        item.outcome = match job.operation {
            Operation::Store => {
                let file = Arc::into_inner(file).expect("the ring gave its handle back");
                object::publish(&self.layout, file, moved.map(drop), &paths)
            }
            _ => {
                drop(file);
                let wanted = item.slot.as_ref().map_or(0, |slot| slot.len());
                object::load_outcome(moved, wanted, &paths.target)
            }
        };
        timer.times.publish_ns = timer.step_ns();
        item.times = timer.until_last_step();
        self.spare_paths.push(paths);
        job
    }

    fn abandon(&mut self, mut open: OpenObject) -> Job {
        if open.job.operation == Operation::Store {
            // As after any failed store, a file that cannot be removed is found by the next run.
            let _ = fs::remove_file(&open.paths.tmp);
        }
        open.job.items[0].times = open.timer.until_last_step();
        open.job
    }

    fn cancel(&mut self, job: &mut Job) {
        job.items[0].outcome = Outcome::Cancelled;
    }

    fn fail(&mut self, job: &mut Job, sentence: &str) {
        job.items[0].outcome = Outcome::Failed(sentence.to_owned());
    }
}
