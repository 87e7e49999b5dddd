//! Chunks inside messages, streamed between the blocks and the socket without a buffer of their size.

use std::time::Duration;

use super::{Range, Transfer, TransferResult};
use crate::server::memory::{KvTensors, Run};
use crate::server::rpc::{ChunkLayout, Client, Key};

/// Sends the chunks. The time until the last byte is passed to the kernel counts as copying, the rest as waiting.
pub fn store(
    client: &mut Client,
    instance_id: u64,
    tensors: &KvTensors,
    (key, range, layout): (&Key, Range, &ChunkLayout),
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
    (key, range, layout): (&Key, Range, &ChunkLayout),
) -> TransferResult {
    let mut runs = Runs::default();
    let accepted = client.prepare_retrieve_inline(key, instance_id, layout, &mut |chunk, offset, piece| {
        if runs.chunk != Some(chunk) {
            runs = Runs::of(chunk, tensors.layout.object_runs(range.blocks_of(chunk)));
        }
        let mut left = piece;
        let mut offset = offset;
        while let Some((place, room)) = runs.place(offset).filter(|_| !left.is_empty()) {
            let (now, later) = left.split_at(room.min(left.len()));
            tensors.mapping_mut().write(place, now);
            offset += now.len() as u64;
            left = later;
        }
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

/// The destinations of the bytes of one chunk.
#[derive(Default)]
struct Runs {
    chunk: Option<usize>,
    runs: Vec<Run>,
    /// Index of the current run, and its offset in the chunk.
    at: usize,
    begin: u64,
}

impl Runs {
    fn of(chunk: usize, runs: impl Iterator<Item = Run>) -> Runs {
        Runs {
            chunk: Some(chunk),
            runs: runs.collect(),
            at: 0,
            begin: 0,
        }
    }

    /// The position in memory of a byte of the chunk, and the number of bytes that are contiguous from there. Each call must
    /// have an offset at least as large as the last.
    fn place(&mut self, offset: u64) -> Option<(usize, usize)> {
        while let Some(run) = self.runs.get(self.at) {
            let inside = usize::try_from(offset.checked_sub(self.begin)?).ok()?;
            if inside < run.bytes {
                return Some((run.offset + inside, run.bytes - inside));
            }
            self.begin += run.bytes as u64;
            self.at += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_map_to_positions_in_their_runs() {
        let run = |offset, bytes| Run { offset, bytes };
        let mut runs = Runs::of(0, [run(100, 10), run(50, 5), run(200, 20)].into_iter());
        assert_eq!(runs.place(0), Some((100, 10)));
        assert_eq!(runs.place(9), Some((109, 1)));
        assert_eq!(runs.place(10), Some((50, 5)));
        assert_eq!(runs.place(15), Some((200, 20)));
        assert_eq!(runs.place(34), Some((219, 1)));
        assert_eq!(runs.place(35), None);
    }
}
