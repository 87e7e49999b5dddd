//! Chunks through the server's shared memory, copied between blocks and slots. Slots are checked against the pool and
//! the chunk size before any byte is copied.

use std::sync::Arc;
use std::time::Instant;

use super::{Range, Transfer, TransferResult, Worker, staged};
use crate::cuda::Context;
use crate::cuda::locked::LockedSegment;
use crate::error::Error;
use crate::server::device::Staging;
use crate::server::memory::{KvTensors, Run};
use crate::server::rpc::{ChunkLayout, Client, Key, Operation, RpcError, SharedPool, Slot};
use crate::server::tensors::Tensors;
use crate::sys::limits;
use crate::sys::shm::Segment;

/// Why a store failed.
pub(super) struct Unstored {
    pub error: RpcError,
    /// Whether slots were allocated and not filled.
    pub slots_unfilled: bool,
}

impl From<RpcError> for Unstored {
    fn from(error: RpcError) -> Unstored {
        Unstored {
            error,
            slots_unfilled: false,
        }
    }
}

/// The whole shared memory of the server.
pub(super) enum Pool {
    Plain(Segment),
    /// The device copies from and to it directly.
    Locked(LockedSegment),
}

impl Pool {
    /// Maps the memory, and locks it for a device if the driver agrees, as an engine's connector does.
    pub fn open(pool: &SharedPool, device: Option<&Arc<Context>>) -> Result<Pool, Error> {
        let segment = open(pool)?;
        Ok(match device {
            None => Pool::Plain(segment),
            Some(context) => match LockedSegment::lock(context, segment) {
                Ok(locked) => Pool::Locked(locked),
                Err(segment) => Pool::Plain(segment),
            },
        })
    }

    fn segment(&self) -> &Segment {
        match self {
            Pool::Plain(segment) => segment,
            Pool::Locked(locked) => locked.segment(),
        }
    }
}

fn open(pool: &SharedPool) -> Result<Segment, Error> {
    let failed = |cause: String| {
        let advice = match limits::has_advice(&cause) {
            true => "",
            false => {
                "; run on the server's host as its user, or start it without --shm-name to have chunks sent inside the \
                 messages"
            }
        };
        let name = &pool.shm_name;
        Error::Environment(format!(
            "could not open the server's shared memory /{name}: {cause}{advice}"
        ))
    };
    let bytes = usize::try_from(pool.pool_bytes).map_err(|_| failed("its size is beyond this machine".into()))?;
    Segment::open(&pool.shm_name, bytes).map_err(|error| failed(limits::with_advice(&error)))
}

/// Allocates slots, fills them and commits.
pub(super) fn store(
    client: &mut Client,
    worker: &Worker,
    (key, range, layout): (&Key, Range<'_>, &ChunkLayout),
    pool: &mut Pool,
    staging: Option<&mut Staging>,
) -> Result<Transfer, Unstored> {
    let begun = Instant::now();
    let prepared = client.prepare_store(key, worker.instance_id)?;
    let copying = Instant::now();
    let places = prepared.slots.iter().zip(&prepared.chunk_indices).map(|(slot, index)| {
        let chunk = usize::try_from(*index).ok().filter(|chunk| *chunk < range.chunks);
        let chunk = chunk.ok_or_else(|| format!("a slot for chunk {index} of {}", range.chunks))?;
        Ok((chunk, checked_slot(slot, layout, pool.segment())?))
    });
    let places = places.collect::<Result<Vec<_>, String>>().map_err(|detail| Unstored {
        error: malformed(Operation::PrepareStore, detail),
        slots_unfilled: true,
    })?;
    if let Pool::Plain(pool) = pool {
        // The pool's pages are allocated when they are first accessed. All at once takes half the time of page by page.
        let slots: Vec<_> = places.iter().map(|(_, slot)| (slot.offset, slot.bytes)).collect();
        pool.mapping_mut().populate(&slots);
    }
    let gpu = match (&worker.tensors, staging, pool) {
        (Tensors::Host(tensors), _, Pool::Plain(pool)) => {
            for (chunk, slot) in &places {
                gather(tensors, range.blocks_of(*chunk), pool, slot.offset);
            }
            Ok(None)
        }
        (Tensors::Device(tensors), Some(staging), Pool::Plain(pool)) => {
            staged::gather(staging, tensors, range, &places, pool).map(Some)
        }
        (Tensors::Device(tensors), Some(staging), Pool::Locked(pool)) => {
            staged::gather_locked(staging, tensors, range, &places, pool).map(Some)
        }
        (Tensors::Device(_), None, _) | (Tensors::Host(_), _, Pool::Locked(_)) => Err(staged::unregistered()),
    };
    let gpu = gpu.map_err(|error| Unstored {
        error,
        slots_unfilled: true,
    })?;
    let copied = Instant::now();
    let committed = !places.is_empty() && client.commit_store(key, worker.instance_id)?;
    let done = Instant::now();
    Ok(Transfer {
        // A chunk without a slot is stored already, is being stored by another client, or did not fit.
        accepted: committed && places.len() == range.chunks,
        bytes: places.len() as u64 * layout.chunk_bytes(),
        wait: (copying - begun) + (done - copied),
        copy: copied - copying,
        gpu,
    })
}

/// Gets the slots, copies from them and releases them.
pub(super) fn retrieve(
    client: &mut Client,
    worker: &mut Worker,
    (key, range, layout): (&Key, Range<'_>, &ChunkLayout),
    pool: &mut Pool,
    staging: Option<&mut Staging>,
) -> TransferResult {
    let begun = Instant::now();
    let slots = client.prepare_retrieve(key, worker.instance_id)?;
    let copying = Instant::now();
    let Some(slots) = slots else {
        return Ok(Transfer {
            wait: copying - begun,
            ..Transfer::default()
        });
    };
    let checked: Result<Vec<Run>, String> = slots
        .iter()
        .map(|slot| checked_slot(slot, layout, pool.segment()))
        .collect();
    let checked = checked.and_then(|slots| match slots.len() {
        count if count == range.chunks => Ok(slots),
        count => Err(format!("{count} slots for {} chunks", range.chunks)),
    });
    let copied = checked.map(|slots| {
        let gpu = match (&mut worker.tensors, staging, pool) {
            (Tensors::Host(tensors), _, Pool::Plain(pool)) => {
                for (chunk, slot) in slots.iter().enumerate() {
                    scatter(tensors, range.blocks_of(chunk), pool, slot.offset);
                }
                Ok(None)
            }
            (Tensors::Device(tensors), Some(staging), Pool::Plain(pool)) => {
                staged::scatter(staging, tensors, range, &slots, pool).map(Some)
            }
            (Tensors::Device(tensors), Some(staging), Pool::Locked(pool)) => {
                staged::scatter_locked(staging, tensors, range, &slots, pool).map(Some)
            }
            (Tensors::Device(_), None, _) | (Tensors::Host(_), _, Pool::Locked(_)) => Err(staged::unregistered()),
        };
        (Instant::now(), gpu)
    });
    // The commit releases the locks even if the slots are invalid.
    let committed = client.commit_retrieve(key, worker.instance_id)?;
    let done = Instant::now();
    let (copied, gpu) = copied.map_err(|detail| malformed(Operation::PrepareRetrieve, detail))?;
    Ok(Transfer {
        accepted: committed,
        bytes: range.chunks as u64 * layout.chunk_bytes(),
        wait: (copying - begun) + (done - copied),
        copy: copied - copying,
        gpu: gpu?,
    })
}

/// Copies one chunk from its blocks into its slot, in the order of the chunk object.
pub fn gather(tensors: &KvTensors, blocks: &[u64], pool: &mut Segment, slot_offset: usize) {
    let mut offset = slot_offset;
    for run in tensors.layout.object_runs(blocks) {
        let pool = pool.mapping_mut();
        pool.copy_from(offset, tensors.mapping(), run.offset, run.bytes);
        offset += run.bytes;
    }
}

/// Copies one chunk from its slot into its blocks.
pub fn scatter(tensors: &mut KvTensors, blocks: &[u64], pool: &Segment, slot_offset: usize) {
    let mut offset = slot_offset;
    let runs: Vec<Run> = tensors.layout.object_runs(blocks).collect();
    for run in runs {
        let tensors = tensors.mapping_mut();
        tensors.copy_from(run.offset, pool.mapping(), offset, run.bytes);
        offset += run.bytes;
    }
}

/// The position of a slot in the pool. An error if it is outside the pool or does not have the size of a chunk.
fn checked_slot(slot: &Slot, layout: &ChunkLayout, pool: &Segment) -> Result<Run, String> {
    let due = layout.chunk_bytes();
    if slot.length != due {
        return Err(format!("a slot of {} bytes where a chunk has {due}", slot.length));
    }
    let place = usize::try_from(slot.offset).ok().zip(usize::try_from(slot.length).ok());
    let inside = place.filter(|(offset, bytes)| pool.mapping().contains(*offset, *bytes));
    inside.map(|(offset, bytes)| Run { offset, bytes }).ok_or_else(|| {
        let pool_bytes = pool.mapping().len();
        format!("a slot at {} outside the pool of {pool_bytes} bytes", slot.offset)
    })
}

fn malformed(operation: Operation, detail: String) -> RpcError {
    RpcError::Malformed { operation, detail }
}

#[cfg(test)]
mod tests;
