//! Chunks between device memory and slots or messages. The device copies from and to the server's memory itself where that could be
//! page-locked; otherwise through two page-locked buffers, one chunk while the host handles the other.

use std::time::{Duration, Instant};

use super::{Range, Transfer, TransferResult};
use crate::cuda::CudaError;
use crate::cuda::locked::LockedSegment;
use crate::server::device::{self, DeviceTensors, Staging};
use crate::server::memory::Run;
use crate::server::rpc::{ChunkLayout, Client, Key, RpcError};
use crate::sys::shm::Segment;

/// Sent in place of bytes that could not be read from the device, because the message must have its announced length. The store
/// then fails.
const PADDING: [u8; 4096] = [0; 4096];

/// The error of a transfer before the registration, which allocates the buffers.
pub fn unregistered() -> RpcError {
    RpcError::Local("a worker with device memory is not registered".to_owned())
}

/// Has the device copy chunks into their slots, given as (index of the chunk, position in the pool). Returns the device time.
pub fn gather_locked(
    staging: &mut Staging,
    tensors: &DeviceTensors,
    range: Range<'_>,
    places: &[(usize, Run)],
    pool: &mut LockedSegment,
) -> Result<Duration, RpcError> {
    staging.begin()?;
    for (number, (chunk, slot)) in places.iter().enumerate() {
        device::fetch(
            staging.stream(number),
            tensors,
            range.blocks_of(*chunk),
            pool,
            slot.offset,
        )?;
    }
    Ok(staging.end()?)
}

/// Has the device copy chunks from their slots into their blocks. Returns the device time.
pub fn scatter_locked(
    staging: &mut Staging,
    tensors: &DeviceTensors,
    range: Range<'_>,
    slots: &[Run],
    pool: &mut LockedSegment,
) -> Result<Duration, RpcError> {
    staging.begin()?;
    for (chunk, slot) in slots.iter().enumerate() {
        device::send(
            staging.stream(chunk),
            tensors,
            range.blocks_of(chunk),
            pool,
            slot.offset,
        )?;
    }
    Ok(staging.end()?)
}

/// Copies chunks into their slots, given as (index of the chunk, position in the pool). Returns the device time.
pub fn gather(
    staging: &mut Staging,
    tensors: &DeviceTensors,
    range: Range<'_>,
    places: &[(usize, Run)],
    pool: &mut Segment,
) -> Result<Duration, RpcError> {
    staging.begin()?;
    if let Some((chunk, _)) = places.first() {
        staging.fetch(tensors, 0, range.blocks_of(*chunk))?;
    }
    for (number, (_, slot)) in places.iter().enumerate() {
        if let Some((next, _)) = places.get(number + 1) {
            staging.fetch(tensors, number + 1, range.blocks_of(*next))?;
        }
        pool.mapping_mut().write(slot.offset, staging.buffer(number)?);
    }
    Ok(staging.end()?)
}

/// Copies chunks from their slots into their blocks. Returns the device time.
pub fn scatter(
    staging: &mut Staging,
    tensors: &DeviceTensors,
    range: Range<'_>,
    slots: &[Run],
    pool: &Segment,
) -> Result<Duration, RpcError> {
    staging.begin()?;
    for (chunk, slot) in slots.iter().enumerate() {
        pool.mapping().read(slot.offset, staging.buffer(chunk)?);
        staging.send(tensors, chunk, range.blocks_of(chunk))?;
    }
    Ok(staging.end()?)
}

/// Sends the chunks inside a message.
pub fn store(
    client: &mut Client,
    instance_id: u64,
    tensors: &DeviceTensors,
    staging: &mut Staging,
    (key, range, layout): (&Key, Range<'_>, &ChunkLayout),
) -> TransferResult {
    staging.begin()?;
    staging.fetch(tensors, 0, range.blocks_of(0))?;
    let mut fault: Option<CudaError> = None;
    let accepted = client.commit_store_inline(key, instance_id, layout, &mut |chunk, visitor| {
        let next = chunk + 1;
        let fetched = match next < range.chunks && fault.is_none() {
            true => staging.fetch(tensors, next, range.blocks_of(next)),
            false => Ok(()),
        };
        match fetched.and_then(|()| staging.buffer(chunk)) {
            Ok(bytes) => visitor(bytes),
            Err(error) => {
                fault.get_or_insert(error);
                let mut left = layout.chunk_bytes() as usize;
                while left > 0 {
                    let step = left.min(PADDING.len());
                    visitor(&PADDING[..step]);
                    left -= step;
                }
            }
        }
    })?;
    let timing = client.timing();
    if let Some(error) = fault {
        return Err(error.into());
    }
    Ok(Transfer {
        accepted,
        bytes: layout.chunk_bytes() * range.chunks as u64,
        wait: timing.done - timing.sent,
        copy: timing.sent - timing.begun,
        gpu: Some(staging.end()?),
    })
}

/// Receives the chunks inside a message.
pub fn retrieve(
    client: &mut Client,
    instance_id: u64,
    tensors: &DeviceTensors,
    staging: &mut Staging,
    (key, range, layout): (&Key, Range<'_>, &ChunkLayout),
) -> TransferResult {
    staging.begin()?;
    let mut fault: Option<CudaError> = None;
    let mut current: Option<usize> = None;
    let received = client.prepare_retrieve_inline(key, instance_id, layout, &mut |chunk, offset, piece| {
        if fault.is_some() {
            return;
        }
        let before = current.replace(chunk).filter(|before| *before != chunk);
        let sent = before.map_or(Ok(()), |done| staging.send(tensors, done, range.blocks_of(done)));
        let placed = sent.and_then(|()| staging.buffer(chunk)).map(|buffer| {
            let begin = offset as usize;
            buffer[begin..begin + piece.len()].copy_from_slice(piece);
        });
        fault = placed.err();
    });
    let accepted = received?;
    let timing = client.timing();
    if let (Some(last), None) = (current, &fault) {
        staging.send(tensors, last, range.blocks_of(last))?;
    }
    let gpu = staging.end()?;
    let copied = Instant::now();
    if accepted {
        client.commit_retrieve(key, instance_id)?;
    }
    if let Some(error) = fault {
        return Err(error.into());
    }
    Ok(Transfer {
        accepted,
        bytes: if accepted {
            layout.chunk_bytes() * range.chunks as u64
        } else {
            0
        },
        wait: (timing.answered - timing.begun) + copied.elapsed(),
        copy: copied - timing.answered,
        gpu: Some(gpu),
    })
}
