//! The io_uring engine: a store is two writes side by side, which the kernel makes one request of, so that the object can go from
//! a registered buffer; a load is one read straight into the caller's buffer.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::geometry::write_slot_header;
use super::job::Job;
use super::shared::Shared;
use crate::l2::adapter::{Operation, Outcome};
use crate::l2::adapters::raw::broken_ring;
use crate::l2::blake2b;
use crate::sys::arena::{Arena, Slot};
use crate::sys::uring::{Direction, Finished, Ring, Transfer};

/// A job in the ring.
struct Moving {
    job: Job,
    /// Transfers of it that are not back.
    left: usize,
    /// The first failure.
    outcome: io::Result<()>,
}

pub struct RingEngine {
    ring: Ring,
    depth: usize,
    shared: Arc<Shared>,
    cancelled: Arc<AtomicBool>,
    flush: bool,
    pending: VecDeque<Job>,
    /// By token.
    moving: Vec<Option<Moving>>,
    free_tokens: Vec<usize>,
    /// One header for each token, unless it is on its way. Its transfer has the object's token plus the depth.
    headers: Vec<Option<Slot>>,
    finished: VecDeque<Job>,
    /// Why the ring is of no use any more.
    broken: Option<String>,
}

impl RingEngine {
    pub fn new(
        ring: Ring,
        depth: usize,
        shared: &Arc<Shared>,
        cancelled: &Arc<AtomicBool>,
        flush: bool,
    ) -> io::Result<RingEngine> {
        let geometry = &shared.geometry;
        let header_bytes = usize::try_from(geometry.header_bytes).map_err(io::Error::other)?;
        let align = usize::try_from(geometry.block_align).map_err(io::Error::other)?;
        let bytes = header_bytes.checked_mul(depth).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(RingEngine {
            ring,
            depth,
            shared: Arc::clone(shared),
            cancelled: Arc::clone(cancelled),
            flush,
            pending: VecDeque::new(),
            moving: (0..depth).map(|_| None).collect(),
            free_tokens: (0..depth).rev().collect(),
            headers: Arena::new(bytes, align, false)?
                .into_slots(header_bytes)
                .1
                .into_iter()
                .map(Some)
                .collect(),
            finished: VecDeque::new(),
            broken: None,
        })
    }

    pub fn depth(&self) -> usize {
        self.depth
    }

    pub fn ring(&mut self) -> &mut Ring {
        &mut self.ring
    }

    pub fn has_registered_buffers(&self) -> bool {
        self.ring.has_registered_buffers()
    }

    pub fn push(&mut self, job: Job) {
        self.pending.push_back(job);
    }

    /// Hands as many pending transfers to the kernel as there is room for, in one call.
    pub fn pump(&mut self) {
        let handed = match self.broken {
            None => self.hand_over(),
            Some(_) => Ok(()),
        };
        self.note(handed);
    }

    fn hand_over(&mut self) -> io::Result<()> {
        while !self.free_tokens.is_empty() {
            let Some(mut job) = self.pending.pop_front() else { break };
            if self.cancelled.load(Ordering::Relaxed) {
                job.item.outcome = Outcome::Cancelled;
                self.finished.push_back(job);
                continue;
            }
            self.start(job);
        }
        self.ring.submit()
    }

    fn start(&mut self, mut job: Job) {
        job.begin();
        let Some(slot) = job.item.slot.take() else {
            job.end(Err(io::Error::other("no buffer came with this key")), &self.shared);
            self.finished.push_back(job);
            return;
        };
        let token = self.free_tokens.pop().expect("checked by the caller");
        let direction = match job.operation {
            Operation::Store => Direction::Write,
            _ => Direction::Read,
        };
        let object_offset = job.slot_offset + self.shared.geometry.header_bytes;
        let mut left = 1;
        if job.operation == Operation::Store {
            let mut header = self.headers[token].take().expect("one header for each token");
            write_slot_header(
                header.bytes_mut(),
                blake2b::digest8(job.name.as_bytes()),
                slot.len() as u64,
            );
            self.push_transfer(job.slot_offset, header, direction, self.depth + token);
            left += 1;
        }
        self.push_transfer(object_offset, slot, direction, token);
        self.moving[token] = Some(Moving {
            job,
            left,
            outcome: Ok(()),
        });
    }

    fn push_transfer(&mut self, file_offset: u64, slot: Slot, direction: Direction, token: usize) {
        let pushed = self.ring.push(Transfer {
            file: Arc::clone(&self.shared.device.file),
            file_offset,
            slot,
            direction,
            token,
        });
        assert!(pushed.is_ok(), "the ring has two places for every token");
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
        let moving = self.moving.iter_mut().filter_map(Option::take);
        for mut job in self.pending.drain(..).chain(moving.map(|moving| moving.job)) {
            job.end(Err(io::Error::other(sentence.clone())), &self.shared);
            self.finished.push_back(job);
        }
    }

    fn complete(&mut self, finished: Finished) {
        let Transfer { slot, token, .. } = finished.transfer;
        let wanted = slot.len();
        let outcome = finished.outcome.and_then(|()| match finished.moved_bytes {
            moved if moved < wanted => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        });
        let is_header = token >= self.depth;
        let token = token % self.depth;
        let mut moving = self.moving[token].take().expect("a transfer belongs to a job");
        if is_header {
            self.headers[token] = Some(slot);
        } else {
            moving.job.item.slot = Some(slot);
        }
        moving.left -= 1;
        moving.outcome = moving.outcome.and(outcome);
        if moving.left > 0 {
            self.moving[token] = Some(moving);
            return;
        }
        self.free_tokens.push(token);
        let Moving { mut job, outcome, .. } = moving;
        let outcome = outcome.and_then(|()| match job.operation {
            Operation::Store if self.flush => self.shared.device.file.sync_data(),
            _ => Ok(()),
        });
        job.end(outcome, &self.shared);
        self.finished.push_back(job);
    }
}
