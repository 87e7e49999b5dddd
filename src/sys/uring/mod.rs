//! An io_uring for reads and writes of whole slots, used by the thread that created it. The ring owns a transfer (file, slot,
//! direction) while it is in flight, so safe code cannot access its bytes. Partial transfers are continued; a read that stops
//! at the end of the file is reported with its length.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use io_uring::{IoUring, opcode, squeue, types};

pub mod refusal;

use super::arena::{Arena, Slot};
use super::deadline::{TICK, closing_time};

/// The largest registered buffer that the kernel accepts.
const REGISTERED_BUFFER_LIMIT_BYTES: usize = 1 << 30;
/// How long a dropped ring waits for the transfers in flight before it leaks their memory.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Read,
    Write,
}

/// A transfer of `slot.len()` bytes between the slot and `file` at `file_offset`.
pub struct Transfer {
    pub file: Arc<File>,
    pub file_offset: u64,
    pub slot: Slot,
    pub direction: Direction,
    /// Returned unchanged, to identify the transfer.
    pub token: usize,
}

/// A transfer that has ended. On success `moved_bytes` is less than the slot's length only at the end of a file.
pub struct Finished {
    pub transfer: Transfer,
    pub moved_bytes: usize,
    pub outcome: io::Result<()>,
}

struct InFlight {
    transfer: Transfer,
    moved_bytes: usize,
}

/// Registered buffers, which the kernel addresses by number and need not pin for every transfer.
struct Registered {
    base: usize,
    bytes: usize,
    entry_bytes: usize,
}

pub struct Ring {
    ring: IoUring,
    in_flight: Vec<Option<InFlight>>,
    free: Vec<usize>,
    finished: Vec<Finished>,
    registered: Option<Registered>,
    /// Keeps the registered memory mapped for as long as the ring lives.
    _arena: Option<Arc<Arena>>,
    /// The file that the kernel addresses by number.
    registered_file: Option<Arc<File>>,
    unsubmitted: usize,
}

impl Ring {
    /// A ring for up to `depth` transfers in flight.
    pub fn new(depth: usize) -> io::Result<Ring> {
        let entries = u32::try_from(depth.max(1)).map_err(io::Error::other)?;
        // One thread submits and reaps, so the kernel may leave out locks and interrupts. Kernels before 6.0 refuse the flags.
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .build(entries)
            .or_else(|_| IoUring::new(entries))?;
        let depth = depth.max(1);
        Ok(Ring {
            ring,
            in_flight: (0..depth).map(|_| None).collect(),
            free: (0..depth).rev().collect(),
            finished: Vec::with_capacity(depth),
            registered: None,
            _arena: None,
            registered_file: None,
            unsubmitted: 0,
        })
    }

    /// Registers the arena's memory, in entries of whole slots. If that fails, for example at the limit of locked memory, the
    /// ring works without.
    pub fn register(&mut self, arena: &Arc<Arena>, slot_bytes: usize) -> io::Result<()> {
        let (base, bytes) = arena.raw_parts();
        let slots_per_entry = REGISTERED_BUFFER_LIMIT_BYTES / slot_bytes.max(1);
        if slots_per_entry == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an object is larger than 1 GiB",
            ));
        }
        let entry_bytes = slots_per_entry * slot_bytes;
        let entries: Vec<libc::iovec> = (0..bytes)
            .step_by(entry_bytes)
            .map(|offset| libc::iovec {
                iov_base: base.wrapping_add(offset).cast(),
                iov_len: entry_bytes.min(bytes - offset),
            })
            .collect();
        // SAFETY: every entry is inside the arena's mapping, which `_arena` keeps alive until the ring is dropped.
        unsafe { self.ring.submitter().register_buffers(&entries)? };
        self.registered = Some(Registered {
            base: base as usize,
            bytes,
            entry_bytes,
        });
        self._arena = Some(Arc::clone(arena));
        Ok(())
    }

    /// Registers a file, so that the kernel does not look it up for every transfer.
    pub fn register_file(&mut self, file: &Arc<File>) -> io::Result<()> {
        self.ring.submitter().register_files(&[file.as_raw_fd()])?;
        self.registered_file = Some(Arc::clone(file));
        Ok(())
    }

    pub fn has_registered_buffers(&self) -> bool {
        self.registered.is_some()
    }

    /// Replaces the ring's descriptor by another file, so that the kernel refuses every further call.
    #[cfg(test)]
    pub fn break_for_test(&mut self) {
        let other = File::open("/dev/null").expect("it always exists");
        // SAFETY: both descriptors are open. The ring's memory stays mapped, and the ring still owns the descriptor number, which
        // it only closes.
        let moved = unsafe { libc::dup2(other.as_raw_fd(), self.ring.as_raw_fd()) };
        assert_eq!(moved, self.ring.as_raw_fd());
    }

    /// Number of transfers in flight, including those that are queued but not submitted.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len() - self.free.len()
    }

    pub fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Queues a transfer, or returns it if the ring is full. The next `submit` or `wait` passes it to the kernel.
    pub fn push(&mut self, transfer: Transfer) -> Result<(), Transfer> {
        let Some(place) = self.free.pop() else {
            return Err(transfer);
        };
        self.in_flight[place] = Some(InFlight {
            transfer,
            moved_bytes: 0,
        });
        self.enqueue(place);
        Ok(())
    }

    fn enqueue(&mut self, place: usize) {
        let entry = self.entry(place).user_data(place as u64);
        // SAFETY: `in_flight[place]` owns the entry's file and bytes until its completion has been reaped. A dropped ring drains
        // or leaks them.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        // The submission queue has at least as many entries as `in_flight`, and each of those is queued at most once.
        pushed.expect("room in the submission queue");
        self.unsubmitted += 1;
    }

    fn entry(&self, place: usize) -> squeue::Entry {
        let flight = self.in_flight[place].as_ref().expect("a place that was just filled");
        let transfer = &flight.transfer;
        let is_registered = |file: &Arc<File>| Arc::ptr_eq(file, &transfer.file);
        let (fd, flags) = match &self.registered_file {
            Some(file) if is_registered(file) => (types::Fd(0), squeue::Flags::FIXED_FILE),
            _ => (types::Fd(transfer.file.as_raw_fd()), squeue::Flags::empty()),
        };
        let offset = transfer.file_offset + flight.moved_bytes as u64;
        let address = transfer.slot.as_ptr().wrapping_add(flight.moved_bytes);
        // The kernel moves less than 2 GiB in one operation; `advance` queues the rest.
        let left = (transfer.slot.len() - flight.moved_bytes).min(REGISTERED_BUFFER_LIMIT_BYTES);
        let len = u32::try_from(left).expect("at most 1 GiB");
        match (self.registered_entry(address as usize), transfer.direction) {
            (Some(index), Direction::Read) => opcode::ReadFixed::new(fd, address, len, index).offset(offset).build(),
            (Some(index), Direction::Write) => opcode::WriteFixed::new(fd, address, len, index).offset(offset).build(),
            (None, Direction::Read) => opcode::Read::new(fd, address, len).offset(offset).build(),
            (None, Direction::Write) => opcode::Write::new(fd, address, len).offset(offset).build(),
        }
        .flags(flags)
    }

    fn registered_entry(&self, address: usize) -> Option<u16> {
        let registered = self.registered.as_ref()?;
        let offset = address
            .checked_sub(registered.base)
            .filter(|offset| *offset < registered.bytes)?;
        u16::try_from(offset / registered.entry_bytes).ok()
    }

    /// Passes queued transfers to the kernel without waiting.
    pub fn submit(&mut self) -> io::Result<()> {
        if self.unsubmitted > 0 {
            let taken = retry_interrupted(|| self.ring.submit())?;
            self.unsubmitted = self.unsubmitted.saturating_sub(taken);
        }
        self.reap();
        Ok(())
    }

    /// Submits queued transfers and waits until at least one transfer has ended, `timeout` has passed, or a signal arrives.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.reap();
        if !self.finished.is_empty() || self.in_flight() == 0 {
            return self.submit();
        }
        let span = types::Timespec::from(timeout);
        let args = types::SubmitArgs::new().timespec(&span);
        match self.ring.submitter().submit_with_args(1, &args) {
            Ok(taken) => self.unsubmitted = self.unsubmitted.saturating_sub(taken),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {
                // The kernel consumes the submission queue before it waits.
                self.unsubmitted = self.ring.submission().len();
            }
            Err(error) => return Err(error),
        }
        self.reap();
        Ok(())
    }

    fn reap(&mut self) {
        loop {
            let Some(completion) = self.ring.completion().next() else {
                return;
            };
            let place = usize::try_from(completion.user_data()).expect("a place number");
            let result = completion.result();
            if let Some(finished) = self.advance(place, result) {
                self.finished.push(finished);
            }
        }
    }

    /// Handles one completion: returns the transfer if it has ended, or queues its rest and returns `None`.
    fn advance(&mut self, place: usize, result: i32) -> Option<Finished> {
        let flight = self.in_flight[place]
            .as_mut()
            .expect("a completion belongs to a place in flight");
        let outcome = match usize::try_from(result) {
            Ok(moved) => {
                flight.moved_bytes += moved;
                let complete = flight.moved_bytes >= flight.transfer.slot.len();
                // A read whose length is not a multiple of the block size has reached the end of the file. Reading on with
                // O_DIRECT would be refused.
                let at_end = moved == 0 || !flight.moved_bytes.is_multiple_of(512);
                match flight.transfer.direction {
                    _ if complete => Ok(()),
                    Direction::Read if at_end => Ok(()),
                    Direction::Write if moved == 0 => Err(io::Error::from(io::ErrorKind::WriteZero)),
                    _ => {
                        self.enqueue(place);
                        return None;
                    }
                }
            }
            Err(_) if matches!(-result, libc::EINTR | libc::EAGAIN) => {
                self.enqueue(place);
                return None;
            }
            Err(_) => Err(io::Error::from_raw_os_error(-result)),
        };
        let flight = self.in_flight[place].take().expect("checked above");
        self.free.push(place);
        Some(Finished {
            transfer: flight.transfer,
            moved_bytes: flight.moved_bytes,
            outcome,
        })
    }

    /// The next transfer that has ended, of those that `submit` and `wait` have reaped.
    pub fn next_finished(&mut self) -> Option<Finished> {
        self.finished.pop()
    }
}

fn retry_interrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let end = std::time::Instant::now() + closing_time(DRAIN_TIMEOUT);
        while self.in_flight() > 0 && std::time::Instant::now() < end {
            if self.wait(TICK).is_err() {
                break;
            }
            self.finished.clear();
        }
        if self.registered_file.take().is_some() {
            // Otherwise the kernel keeps the file and its locks until it has torn down the ring, some time later.
            let _ = self.ring.submitter().unregister_files();
        }
        // The kernel may still write to the memory of transfers in flight, so it stays mapped until the process exits.
        for flight in self.in_flight.drain(..).flatten() {
            std::mem::forget(flight);
        }
    }
}

#[cfg(test)]
mod tests;
