//! This program copies: through the server's shared memory where it offers some, inside the messages where it does not. It
//! must never unregister a worker for whom slots are set aside that nobody has filled: the server would publish them.

use std::rc::Rc;
use std::time::Instant;

use super::{Registration, Transfer, Transport, Worker};
use crate::cuda::CudaError;
use crate::error::Error;
use crate::server::device::{DeviceTensors, Gpu, Staging};
use crate::server::memory::{Blocks, KvTensors, Layout};
use crate::server::rpc::{ChunkLayout, Client, EngineContext, Key, RpcError, SharedPool, Slot};
use crate::server::shape::Shape;
use crate::server::tensors::Tensors;
use crate::sys::shm::Segment;

mod inline;
mod staged;

/// The most that one request carries inside, below what MessagePack can count.
const INLINE_BYTES_MAX: u64 = 2 << 30;

pub struct EngineDriven {
    shape: Shape,
    way: Way,
    /// Instances with slots that could not be filled.
    unfilled: Vec<u64>,
    gpu: Option<Rc<Gpu>>,
    /// With a device, between it and the slots or messages; all workers use it in turn.
    staging: Option<Staging>,
}

/// How chunks travel; the server says so when a worker registers.
enum Way {
    Unknown,
    Pool(Segment),
    Inline,
}

impl EngineDriven {
    pub fn new(shape: &Shape, gpu: Option<Rc<Gpu>>) -> EngineDriven {
        EngineDriven {
            shape: shape.clone(),
            way: Way::Unknown,
            unfilled: Vec::new(),
            gpu,
            staging: None,
        }
    }

    fn chunk_layout(&self, chunk_tokens: u64, chunks: usize) -> ChunkLayout {
        let group = &self.shape.groups[0];
        let (layers, hidden) = (group.layers as u64, group.hidden() as u64);
        let shape = match group.kv_size {
            1 => vec![layers, chunk_tokens, hidden],
            planes => vec![planes as u64, layers, chunk_tokens, hidden],
        };
        ChunkLayout {
            dtype: group.dtype,
            shape,
            chunks,
        }
    }
}

/// The chunks of a key's range and the blocks of each.
#[derive(Clone, Copy)]
struct Range {
    chunk_tokens: u64,
    chunks: usize,
    chunk_blocks: usize,
    first_block: usize,
}

impl Range {
    fn new(client: &Client, key: &Key, blocks: Blocks) -> Range {
        let chunk_tokens = client.server().chunk_size;
        let chunks = ((key.end - key.start) / chunk_tokens) as usize;
        Range {
            chunk_tokens,
            chunks,
            chunk_blocks: blocks.count.checked_div(chunks).unwrap_or(0),
            first_block: blocks.first,
        }
    }

    fn blocks_of(&self, chunk: usize) -> Blocks {
        Blocks {
            first: self.first_block + chunk * self.chunk_blocks,
            count: self.chunk_blocks,
        }
    }
}

/// Copies one chunk from its blocks into its slot, piece by piece in the order of the object.
pub fn gather(tensors: &KvTensors, blocks: Blocks, pool: &mut Segment, slot_offset: usize) {
    let mut offset = slot_offset;
    for run in tensors.layout.object_runs(blocks) {
        pool.mapping_mut()
            .copy_from(offset, tensors.mapping(), run.offset, run.bytes);
        offset += run.bytes;
    }
}

/// Copies one chunk from its slot into its blocks.
pub fn scatter(tensors: &mut KvTensors, blocks: Blocks, pool: &Segment, slot_offset: usize) {
    let mut offset = slot_offset;
    let KvTensors { layout, .. } = tensors;
    let runs: Vec<_> = layout.object_runs(blocks).collect();
    for run in runs {
        tensors
            .mapping_mut()
            .copy_from(run.offset, pool.mapping(), offset, run.bytes);
        offset += run.bytes;
    }
}

/// The byte offset of a slot, if it is one that a chunk of this layout can use.
fn checked_slot(slot: &Slot, layout: &ChunkLayout, pool: &Segment) -> Result<usize, String> {
    let due = layout.chunk_bytes();
    if slot.length != due {
        return Err(format!("a slot of {} bytes where a chunk has {due}", slot.length));
    }
    let place = usize::try_from(slot.offset).ok().zip(usize::try_from(slot.length).ok());
    place
        .filter(|(offset, bytes)| pool.mapping().contains(*offset, *bytes))
        .map(|(offset, _)| offset)
        .ok_or_else(|| {
            format!(
                "a slot at {} outside the pool of {} bytes",
                slot.offset,
                pool.mapping().len()
            )
        })
}

/// Registration makes the buffers, and nothing is transferred before it.
fn no_staging() -> CudaError {
    CudaError {
        call: "staging",
        code: -1,
        name: "no page-locked buffers".to_owned(),
        text: "the worker is not registered".to_owned(),
    }
}

fn malformed(operation: crate::server::rpc::Operation, detail: String) -> RpcError {
    RpcError::Malformed { operation, detail }
}

impl EngineDriven {
    /// Everything from the slots to the commit happens without a stop, so that no slot stays unfilled.
    fn store_in_pool(
        &mut self,
        client: &mut Client,
        worker: &Worker,
        key: &Key,
        range: Range,
    ) -> Result<Transfer, RpcError> {
        let layout = self.chunk_layout(range.chunk_tokens, range.chunks);
        let begun = Instant::now();
        let prepared = client.prepare_store(key, worker.instance_id)?;
        let (Way::Pool(pool), staging) = (&mut self.way, &mut self.staging) else {
            return Ok(Transfer::default());
        };
        let places = prepared.slots.iter().zip(&prepared.chunk_indices).map(|(slot, index)| {
            let chunk = usize::try_from(*index).ok().filter(|chunk| *chunk < range.chunks);
            let chunk = chunk.ok_or_else(|| format!("a slot for chunk {index} of {}", range.chunks))?;
            Ok((chunk, checked_slot(slot, &layout, pool)?))
        });
        let places = match places.collect::<Result<Vec<_>, String>>() {
            Ok(places) => places,
            Err(detail) => {
                self.unfilled.push(worker.instance_id);
                return Err(malformed(crate::server::rpc::Operation::PrepareStore, detail));
            }
        };
        let copying = Instant::now();
        // A server allocates its pool as it is touched, and page by page that takes longer than the copy.
        let chunk_bytes = usize::try_from(layout.chunk_bytes()).expect("checked with the slots");
        for (_, offset) in &places {
            pool.mapping_mut().populate(*offset, chunk_bytes);
        }
        let gpu = match (&worker.tensors, staging) {
            (Tensors::Device(tensors), Some(staging)) => {
                staged::gather(staging, tensors, range, &places, pool).map(Some)
            }
            (Tensors::Device(_), None) => Err(no_staging()),
            (Tensors::Host(tensors), _) => {
                for (chunk, offset) in &places {
                    gather(tensors, range.blocks_of(*chunk), pool, *offset);
                }
                Ok(None)
            }
        };
        let gpu = match gpu {
            Ok(gpu) => gpu,
            Err(error) => {
                self.unfilled.push(worker.instance_id);
                return Err(error.into());
            }
        };
        let copied = Instant::now();
        let committed = !places.is_empty() && client.commit_store(key, worker.instance_id)?;
        let done = Instant::now();
        Ok(Transfer {
            // A chunk without a slot is there already, is being stored by another, or did not fit.
            accepted: committed && places.len() == range.chunks,
            bytes: places.len() as u64 * layout.chunk_bytes(),
            wait: (copying - begun) + (done - copied),
            copy: copied - copying,
            gpu,
        })
    }

    fn retrieve_from_pool(
        &mut self,
        client: &mut Client,
        worker: &mut Worker,
        key: &Key,
        range: Range,
    ) -> Result<Transfer, RpcError> {
        let layout = self.chunk_layout(range.chunk_tokens, range.chunks);
        let begun = Instant::now();
        let slots = client.prepare_retrieve(key, worker.instance_id)?;
        let copying = Instant::now();
        let (Some(slots), Way::Pool(pool), staging) = (slots, &mut self.way, &mut self.staging) else {
            return Ok(Transfer {
                wait: copying - begun,
                ..Transfer::default()
            });
        };
        let offsets = slots.iter().map(|slot| checked_slot(slot, &layout, pool));
        let offsets = offsets
            .collect::<Result<Vec<_>, String>>()
            .and_then(|offsets| match offsets.len() {
                slots if slots == range.chunks => Ok(offsets),
                slots => Err(format!("{slots} slots for {} chunks", range.chunks)),
            });
        // Whatever the slots are, the commit gives their locks back.
        let copied = offsets.map(|offsets| {
            let gpu = match (&mut worker.tensors, staging) {
                (Tensors::Device(tensors), Some(staging)) => {
                    staged::scatter(staging, tensors, range, &offsets, pool).map(Some)
                }
                (Tensors::Device(_), None) => Err(no_staging()),
                (Tensors::Host(tensors), _) => {
                    for (chunk, offset) in offsets.into_iter().enumerate() {
                        scatter(tensors, range.blocks_of(chunk), pool, offset);
                    }
                    Ok(None)
                }
            };
            (Instant::now(), gpu)
        });
        let committed = client.commit_retrieve(key, worker.instance_id)?;
        let done = Instant::now();
        let (copied, gpu) =
            copied.map_err(|detail| malformed(crate::server::rpc::Operation::PrepareRetrieve, detail))?;
        Ok(Transfer {
            accepted: committed,
            bytes: range.chunks as u64 * layout.chunk_bytes(),
            wait: (copying - begun) + (done - copied),
            copy: copied - copying,
            gpu: gpu?,
        })
    }

    fn open_pool(pool: &SharedPool) -> Result<Segment, Error> {
        let failed = |cause: String| {
            Error::Environment(format!(
                "could not open the server's shared memory /{}: {cause}; run on the server's host as its user, or start \
                 it without --shm-name to have chunks sent inside the messages",
                pool.shm_name
            ))
        };
        let bytes = usize::try_from(pool.pool_bytes).map_err(|_| failed("its size is beyond this machine".into()))?;
        Segment::open(&pool.shm_name, bytes).map_err(|error| failed(error.to_string()))
    }
}

impl Transport for EngineDriven {
    fn label(&self) -> &'static str {
        match (&self.way, &self.gpu) {
            (Way::Unknown, _) => "engine_driven",
            (Way::Pool(_), None) => "engine_driven, shared memory of the server",
            (Way::Inline, None) => "engine_driven, inline",
            (Way::Pool(_), Some(_)) => "engine_driven, CUDA memory to shared memory of the server",
            (Way::Inline, Some(_)) => "engine_driven, CUDA memory, inline",
        }
    }

    fn allocate(&self, layout: Layout, _rank: u32) -> Result<Tensors, String> {
        match &self.gpu {
            Some(gpu) => DeviceTensors::allocate(gpu, layout).map(Tensors::Device),
            None => KvTensors::private(layout)
                .map(Tensors::Host)
                .map_err(|error| error.to_string()),
        }
    }

    fn register(&mut self, client: &mut Client, worker: &mut Worker, registration: &Registration) -> Result<(), Error> {
        let group = &self.shape.groups[0];
        let pool = client.register_engine_context(&EngineContext {
            instance_id: worker.instance_id,
            model_name: registration.model_name.clone(),
            world_size: registration.world_size,
            block_size: group.block_tokens as u64,
            num_layers: group.layers as u64,
            hidden_dim_size: group.hidden() as u64,
            dtype: group.dtype,
            use_mla: group.kv_size == 1,
            num_physical_slots: registration.chunk_tokens as u64,
        });
        let pool = pool.map_err(|error| {
            Error::Environment(format!(
                "REGISTER_KV_CACHE_ENGINE_DRIVEN_CONTEXT failed for rank {}: {error}; does the server run with \
                 --supported-transfer-mode auto or engine_driven?",
                worker.rank
            ))
        })?;
        if let (Tensors::Device(tensors), None) = (&worker.tensors, &self.staging) {
            let chunk_bytes = self.chunk_layout(registration.chunk_tokens as u64, 1).chunk_bytes();
            let made = Staging::new(tensors.context(), usize::try_from(chunk_bytes).unwrap_or(usize::MAX));
            self.staging = Some(made.map_err(|error| {
                Error::Environment(format!(
                    "could not get two page-locked buffers of a chunk each: {error}"
                ))
            })?);
        }
        match (&self.way, pool) {
            (Way::Unknown, None) => self.way = Way::Inline,
            (Way::Unknown, Some(pool)) => self.way = Way::Pool(EngineDriven::open_pool(&pool)?),
            // All workers share the pool.
            (Way::Pool(_) | Way::Inline, _) => {}
        }
        Ok(())
    }

    fn store(
        &mut self,
        client: &mut Client,
        worker: &mut Worker,
        key: &Key,
        blocks: Blocks,
    ) -> Result<Transfer, RpcError> {
        let range = Range::new(client, key, blocks);
        match self.way {
            Way::Pool(_) => self.store_in_pool(client, worker, key, range),
            Way::Inline | Way::Unknown => self.in_parts(client, key, range, |this, client, key, range| {
                let layout = this.chunk_layout(range.chunk_tokens, range.chunks);
                match (&worker.tensors, &mut this.staging) {
                    (Tensors::Device(tensors), Some(staging)) => {
                        staged::store(client, worker.instance_id, tensors, staging, (key, range, &layout))
                    }
                    (Tensors::Device(_), None) => Err(no_staging().into()),
                    (Tensors::Host(tensors), _) => {
                        inline::store(client, worker.instance_id, tensors, (key, range, &layout))
                    }
                }
            }),
        }
    }

    fn retrieve(
        &mut self,
        client: &mut Client,
        worker: &mut Worker,
        key: &Key,
        blocks: Blocks,
    ) -> Result<Transfer, RpcError> {
        let range = Range::new(client, key, blocks);
        match self.way {
            Way::Pool(_) => self.retrieve_from_pool(client, worker, key, range),
            Way::Inline | Way::Unknown => self.in_parts(client, key, range, |this, client, key, range| {
                let layout = this.chunk_layout(range.chunk_tokens, range.chunks);
                match (&mut worker.tensors, &mut this.staging) {
                    (Tensors::Device(tensors), Some(staging)) => {
                        staged::retrieve(client, worker.instance_id, tensors, staging, (key, range, &layout))
                    }
                    (Tensors::Device(_), None) => Err(no_staging().into()),
                    (Tensors::Host(tensors), _) => {
                        inline::retrieve(client, worker.instance_id, tensors, (key, range, &layout))
                    }
                }
            }),
        }
    }

    fn unregister(&mut self, client: &mut Client, worker: &Worker) -> Result<(), RpcError> {
        if self.unfilled.contains(&worker.instance_id) {
            let text = format!(
                "instance {} stays registered, because its slots are unfilled",
                worker.instance_id
            );
            return Err(RpcError::Invalid(text));
        }
        client.unregister_engine_context(worker.instance_id)
    }

    fn commits_late(&self) -> bool {
        false
    }
}

impl EngineDriven {
    /// Does a range in as few requests as its size allows, nearly always one.
    fn in_parts(
        &mut self,
        client: &mut Client,
        key: &Key,
        range: Range,
        mut part: impl FnMut(&mut EngineDriven, &mut Client, &Key, Range) -> Result<Transfer, RpcError>,
    ) -> Result<Transfer, RpcError> {
        let chunk_bytes = self.chunk_layout(range.chunk_tokens, 1).chunk_bytes();
        let step = usize::try_from(INLINE_BYTES_MAX / chunk_bytes.max(1))
            .unwrap_or(1)
            .max(1);
        let mut whole = Transfer {
            accepted: true,
            ..Transfer::default()
        };
        let mut first = 0;
        while first < range.chunks {
            let chunks = step.min(range.chunks - first);
            let start = key.start + first as u64 * range.chunk_tokens;
            let key = key.range(start, start + chunks as u64 * range.chunk_tokens);
            let range = Range {
                chunks,
                first_block: range.first_block + first * range.chunk_blocks,
                ..range
            };
            let done = part(self, client, &key, range)?;
            whole.add(&done);
            first += chunks;
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests;
