//! Objects moved through the ring: a store is two writes side by side, which the kernel makes one request of, so that the
//! object can go from a registered buffer; a load is one read straight into the caller's buffer.

use std::io;
use std::sync::Arc;

use super::job::{Job, write_header};
use super::shared::Shared;
use crate::l2::adapter::{Operation, Outcome};
use crate::l2::adapters::ring_queue::{RingJobs, Transfers};
use crate::sys::arena::{Arena, Slot};
use crate::sys::uring::{Direction, Finished, Transfer};

/// A job in the ring.
pub struct Moving {
    job: Job,
    /// The first failure of its transfers.
    outcome: io::Result<()>,
}

pub struct RawBlockJobs {
    shared: Arc<Shared>,
    flush: bool,
    /// Buffers for slot headers, one for each job that the ring takes at a time.
    headers: Vec<Slot>,
}

impl RawBlockJobs {
    pub fn new(shared: &Arc<Shared>, depth: usize, flush: bool) -> io::Result<RawBlockJobs> {
        let geometry = &shared.geometry;
        let header_bytes = usize::try_from(geometry.header_bytes).map_err(io::Error::other)?;
        let align = usize::try_from(geometry.block_align).map_err(io::Error::other)?;
        let bytes = header_bytes.checked_mul(depth).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(RawBlockJobs {
            shared: Arc::clone(shared),
            flush,
            headers: Arena::new(bytes, align, false)?.into_slots(header_bytes).1,
        })
    }
}

impl RingJobs for RawBlockJobs {
    type Job = Job;
    type Active = Moving;
    /// The object, and for a store its slot header.
    const TRANSFERS_MAX: usize = 2;
    const SUBMIT_EACH: bool = false;

    fn start(&mut self, mut job: Job, transfers: &mut Transfers<'_>) -> Result<Moving, Job> {
        job.begin();
        let Some(slot) = job.item.slot.take() else {
            job.end(Err(io::Error::other("no buffer came with this key")), &self.shared);
            return Err(job);
        };
        let file = &self.shared.device.file;
        let mut direction = Direction::Read;
        if job.operation == Operation::Store {
            direction = Direction::Write;
            let mut header = self.headers.pop().expect("one header for each job in the ring");
            write_header(&mut header, &job.name, slot.len());
            transfers.push(file, job.slot_offset, header, direction);
        }
        let object_offset = job.slot_offset + self.shared.geometry.header_bytes;
        transfers.push(file, object_offset, slot, direction);
        Ok(Moving { job, outcome: Ok(()) })
    }

    fn transferred(&mut self, moving: &mut Moving, index: usize, finished: Finished) {
        let Transfer { slot, .. } = finished.transfer;
        let outcome = finished.outcome.and_then(|()| match finished.moved_bytes {
            moved if moved < slot.len() => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        });
        if moving.outcome.is_ok() {
            moving.outcome = outcome;
        }
        if moving.job.operation == Operation::Store && index == 0 {
            self.headers.push(slot);
        } else {
            moving.job.item.slot = Some(slot);
        }
    }

    fn finish(&mut self, moving: Moving) -> Job {
        let Moving { mut job, outcome } = moving;
        let outcome = outcome.and_then(|()| match job.operation {
            Operation::Store if self.flush => self.shared.device.file.sync_data(),
            _ => Ok(()),
        });
        job.end(outcome, &self.shared);
        job
    }

    fn abandon(&mut self, moving: Moving) -> Job {
        moving.job
    }

    fn cancel(&mut self, job: &mut Job) {
        job.item.outcome = Outcome::Cancelled;
    }

    fn fail(&mut self, job: &mut Job, sentence: &str) {
        job.end(Err(io::Error::other(sentence.to_owned())), &self.shared);
    }
}
