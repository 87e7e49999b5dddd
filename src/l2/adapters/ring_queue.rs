//! Jobs that move their bytes through one io_uring, driven by the benchmark's own thread: submission, completion and what
//! happens when the kernel refuses the ring. What a job is, and where its bytes go, is the adapter's ([`RingJobs`]).

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::l2::warning::Warning;
use crate::sys::arena::{Arena, Slot};
use crate::sys::counters;
use crate::sys::uring::{Direction, Finished, Ring, Transfer, refusal};

/// What an adapter moves through a [`RingQueue`].
pub trait RingJobs {
    type Job;
    /// A job whose transfers are in the ring.
    type Active;
    /// Transfers of one job at most.
    const TRANSFERS_MAX: usize;
    /// Whether the kernel gets each job before the next one starts, or all that fit in one call. The former pays where a start
    /// takes system calls of its own.
    const SUBMIT_EACH: bool;

    /// Adds the job's transfers to the ring, or gives the job back when it is over without any.
    fn start(&mut self, job: Self::Job, transfers: &mut Transfers<'_>) -> Result<Self::Active, Self::Job>;

    /// Takes one transfer back; `index` counts them in the order in which `start` added them.
    fn transferred(&mut self, active: &mut Self::Active, index: usize, finished: Finished);

    /// All transfers are back.
    fn finish(&mut self, active: Self::Active) -> Self::Job;

    /// The transfers will never come back, and their buffers stay with the ring.
    fn abandon(&mut self, active: Self::Active) -> Self::Job;

    /// Marks a job that is not started, because the run was cancelled.
    fn cancel(&mut self, job: &mut Self::Job);

    /// Marks a job as failed with `sentence`, because the kernel refuses the ring.
    fn fail(&mut self, job: &mut Self::Job, sentence: &str);
}

/// Where a job adds its transfers.
pub struct Transfers<'a> {
    ring: &'a mut Ring,
    first: usize,
    count: usize,
}

impl Transfers<'_> {
    pub fn push(&mut self, file: &Arc<File>, file_offset: u64, slot: Slot, direction: Direction) {
        let pushed = self.ring.push(Transfer {
            file: Arc::clone(file),
            file_offset,
            slot,
            direction,
            token: self.first + self.count,
        });
        assert!(pushed.is_ok(), "the ring has a place for every transfer of a job");
        self.count += 1;
    }
}

/// A job in the ring and how many of its transfers are not back.
struct InRing<Active> {
    active: Active,
    left: usize,
}

pub struct RingQueue<J: RingJobs> {
    ring: Ring,
    /// Jobs in the ring at most.
    depth: usize,
    jobs: J,
    cancelled: Arc<AtomicBool>,
    pending: VecDeque<J::Job>,
    /// By place; a transfer's token is its place times `TRANSFERS_MAX` plus its index.
    in_ring: Vec<Option<InRing<J::Active>>>,
    free_places: Vec<usize>,
    finished: VecDeque<J::Job>,
    /// Why the kernel does not serve the ring any more.
    broken: Option<String>,
}

impl<J: RingJobs> RingQueue<J> {
    /// `ring` must have room for `depth` jobs with all their transfers.
    pub fn new(ring: Ring, depth: usize, jobs: J, cancelled: &Arc<AtomicBool>) -> RingQueue<J> {
        RingQueue {
            ring,
            depth,
            jobs,
            cancelled: Arc::clone(cancelled),
            pending: VecDeque::new(),
            in_ring: (0..depth).map(|_| None).collect(),
            free_places: (0..depth).rev().collect(),
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

    /// The ring itself, for a probe while no job is queued.
    pub fn ring(&mut self) -> &mut Ring {
        &mut self.ring
    }

    pub fn push(&mut self, job: J::Job) {
        self.pending.push_back(job);
    }

    /// Starts as many pending jobs as there is room for.
    pub fn pump(&mut self) {
        let started = match self.broken {
            None => self.start_pending(),
            Some(_) => Ok(()),
        };
        self.check(started);
    }

    /// The next finished job, waiting for the kernel at most `timeout`.
    pub fn next(&mut self, timeout: Duration) -> Option<J::Job> {
        if self.finished.is_empty() {
            let served = self.serve(timeout);
            self.check(served);
        }
        self.finished.pop_front()
    }

    fn start_pending(&mut self) -> io::Result<()> {
        while let Some(&place) = self.free_places.last() {
            let Some(mut job) = self.pending.pop_front() else { break };
            if self.cancelled.load(Ordering::Relaxed) {
                self.jobs.cancel(&mut job);
                self.finished.push_back(job);
                continue;
            }
            let mut transfers = Transfers {
                ring: &mut self.ring,
                first: place * J::TRANSFERS_MAX,
                count: 0,
            };
            match self.jobs.start(job, &mut transfers) {
                Err(job) => self.finished.push_back(job),
                Ok(active) => {
                    let left = transfers.count;
                    self.free_places.pop();
                    self.in_ring[place] = Some(InRing { active, left });
                    if J::SUBMIT_EACH {
                        self.ring.submit()?;
                    }
                }
            }
        }
        if J::SUBMIT_EACH { Ok(()) } else { self.ring.submit() }
    }

    fn serve(&mut self, timeout: Duration) -> io::Result<()> {
        if self.broken.is_some() {
            return Ok(());
        }
        self.start_pending()?;
        if self.finished.is_empty() && self.ring.in_flight() > 0 {
            self.ring.wait(timeout)?;
        }
        while let Some(finished) = self.ring.next_finished() {
            self.complete(finished);
        }
        // The device should not idle while the caller looks at what came back.
        self.start_pending()
    }

    fn complete(&mut self, finished: Finished) {
        let token = finished.transfer.token;
        let (place, index) = (token / J::TRANSFERS_MAX, token % J::TRANSFERS_MAX);
        let in_ring = self.in_ring[place].as_mut().expect("a transfer belongs to a job");
        self.jobs.transferred(&mut in_ring.active, index, finished);
        in_ring.left -= 1;
        if in_ring.left == 0
            && let Some(done) = self.in_ring[place].take()
        {
            self.free_places.push(place);
            self.finished.push_back(self.jobs.finish(done.active));
        }
    }

    /// Once the kernel has refused the ring no later call is better, so every job fails with the kernel's words.
    fn check(&mut self, served: io::Result<()>) {
        if let Err(error) = served {
            let advice = refusal::advice(&error);
            self.broken = Some(format!(
                "the kernel refuses the io_uring ({error}): {advice}; or use --io-engine threads"
            ));
        }
        let Some(sentence) = &self.broken else { return };
        let (jobs, in_ring) = (&mut self.jobs, self.in_ring.iter_mut());
        self.finished.extend(self.pending.drain(..).map(|mut job| {
            jobs.fail(&mut job, sentence);
            job
        }));
        self.finished.extend(in_ring.filter_map(Option::take).map(|in_ring| {
            let mut job = jobs.abandon(in_ring.active);
            jobs.fail(&mut job, sentence);
            job
        }));
    }
}

/// Registers the run's buffers with a ring. The ring works without; then a warning says why and what that costs.
pub fn register(ring: &mut Ring, arena: &Arc<Arena>, object_bytes: usize) -> Option<Warning> {
    let error = ring.register(arena, object_bytes).err()?;
    let needed_bytes = arena.raw_parts().1 as u64;
    Some(Warning::RegisteredBuffersRefused {
        reason: error.to_string(),
        needed_bytes,
        advice: refusal::register_advice(&error, needed_bytes, counters::locked_memory_limit_bytes()),
    })
}
