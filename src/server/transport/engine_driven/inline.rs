//! Chunks inside messages, streamed between the blocks and the socket without a buffer of their size.

use std::time::Duration;

use super::{Range, Transfer, TransferResult};
use crate::server::memory::{KvTensors, Places};
use crate::server::rpc::{ChunkLayout, Client, Key};

/// Sends the chunks. The time until the last byte is passed to the kernel counts as copying, the rest as waiting.
pub fn store(
    client: &mut Client,
    instance_id: u64,
    tensors: &KvTensors,
    (key, range, layout): (&Key, Range<'_>, &ChunkLayout),
) -> TransferResult {
    let accepted = client.commit_store_inline(key, instance_id, layout, &mut |chunk, visitor| {
        for run in tensors.layout.object_runs(range.blocks_of(chunk)) {
            tensors.mapping().visit(run.offset, run.bytes, visitor);
        }
    })?;
    let timing = client.timing();
    Ok(Transfer {
        accepted,
        bytes: layout.chunk_bytes() * range.chunks as u64,
        wait: timing.done - timing.sent,
        copy: timing.sent - timing.begun,
        gpu: None,
    })
}

/// Receives the chunks. The time until the reply begins counts as waiting, the rest of the reply as copying.
pub fn retrieve(
    client: &mut Client,
    instance_id: u64,
    tensors: &mut KvTensors,
    (key, range, layout): (&Key, Range<'_>, &ChunkLayout),
) -> TransferResult {
    // The number of the chunk that arrives, and where its bytes go.
    let mut current: Option<(usize, Places)> = None;
    let accepted = client.prepare_retrieve_inline(key, instance_id, layout, &mut |chunk, offset, piece| {
        let places = match &mut current {
            Some((number, places)) if *number == chunk => places,
            _ => {
                let places = Places::new(tensors.layout.object_runs(range.blocks_of(chunk)));
                &mut current.insert((chunk, places)).1
            }
        };
        places.write(tensors.mapping_mut(), offset as usize, piece);
    })?;
    let timing = client.timing();
    if accepted {
        client.commit_retrieve(key, instance_id)?;
    }
    let last = client.timing();
    let commit = if accepted {
        last.done - last.begun
    } else {
        Duration::ZERO
    };
    Ok(Transfer {
        accepted,
        bytes: if accepted {
            layout.chunk_bytes() * range.chunks as u64
        } else {
            0
        },
        wait: timing.answered - timing.begun + commit,
        copy: timing.done - timing.answered,
        gpu: None,
    })
}
