//! engine-driven transfers: this program copies, through the server's shared memory if it has some, otherwise inside messages.
//! A worker with allocated slots that were not filled stays registered, because the server would publish them when it is
//! unregistered.

use std::sync::Arc;

use self::pool::Pool;
use super::{Registration, Transfer, TransferResult, Transport, Worker, not_registered};
use crate::error::Error;
use crate::server::device::{DeviceTensors, Gpu, Staging};
use crate::server::memory::{KvTensors, Layout};
use crate::server::rpc::{ChunkLayout, Client, EngineContext, Key, RpcError};
use crate::server::shape::Shape;
use crate::server::tensors::Tensors;

mod inline;
pub mod pool;
mod staged;

/// Most bytes of chunks in one request, below the limit of MessagePack.
const INLINE_BYTES_MAX: u64 = 2 << 30;

pub struct EngineDriven {
    shape: Shape,
    channel: Channel,
    /// Instances with slots that could not be filled.
    unfilled: Vec<u64>,
    gpu: Option<Arc<Gpu>>,
    /// The buffers between a device and the slots or messages, shared by all workers.
    staging: Option<Staging>,
}

/// How chunks are transferred; known from the reply to the first registration.
enum Channel {
    Unknown,
    Pool(Pool),
    Inline,
}

impl EngineDriven {
    pub fn new(shape: &Shape, gpu: Option<Arc<Gpu>>) -> EngineDriven {
        EngineDriven {
            shape: shape.clone(),
            channel: Channel::Unknown,
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

/// The chunks of a key's range, and their blocks.
#[derive(Clone, Copy)]
struct Range<'a> {
    chunk_tokens: u64,
    chunks: usize,
    chunk_blocks: usize,
    blocks: &'a [u64],
}

impl<'a> Range<'a> {
    fn new(client: &Client, key: &Key, blocks: &'a [u64]) -> Range<'a> {
        let chunk_tokens = client.server().chunk_size;
        let chunks = ((key.end - key.start) / chunk_tokens) as usize;
        Range {
            chunk_tokens,
            chunks,
            chunk_blocks: blocks.len().checked_div(chunks).unwrap_or(0),
            blocks,
        }
    }

    fn blocks_of(&self, chunk: usize) -> &'a [u64] {
        &self.blocks[chunk * self.chunk_blocks..][..self.chunk_blocks]
    }
}

impl Transport for EngineDriven {
    fn label(&self) -> &'static str {
        match (&self.channel, &self.gpu) {
            (Channel::Unknown, _) => "engine_driven",
            (Channel::Pool(_), None) => "engine_driven, shared memory of the server",
            (Channel::Pool(Pool::Plain(_)), Some(_)) => {
                "engine_driven, CUDA memory through buffers to shared memory of the server"
            }
            (Channel::Inline, None) => "engine_driven, inline",
            (Channel::Pool(Pool::Locked(_)), Some(_)) => "engine_driven, CUDA memory to shared memory of the server",
            (Channel::Inline, Some(_)) => "engine_driven, CUDA memory, inline",
        }
    }

    fn allocate(&self, layout: Layout, _instance_id: u64) -> Result<Tensors, String> {
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
            let advice = "does the server run with --supported-transfer-mode auto or engine_driven?";
            not_registered("REGISTER_KV_CACHE_ENGINE_DRIVEN_CONTEXT", worker.rank, &error, advice)
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
        match (&self.channel, pool) {
            (Channel::Unknown, None) => self.channel = Channel::Inline,
            (Channel::Unknown, Some(pool)) => {
                self.channel = Channel::Pool(Pool::open(&pool, self.gpu.as_deref().map(|gpu| &gpu.context))?);
            }
            // All workers share the pool.
            (Channel::Pool(_) | Channel::Inline, _) => {}
        }
        Ok(())
    }

    fn store(&mut self, client: &mut Client, worker: &mut Worker, key: &Key, blocks: &[u64]) -> TransferResult {
        let range = Range::new(client, key, blocks);
        let layout = self.chunk_layout(range.chunk_tokens, range.chunks);
        match &mut self.channel {
            Channel::Pool(memory) => {
                let stored = pool::store(client, worker, (key, range, &layout), memory, self.staging.as_mut());
                stored.map_err(|unstored| {
                    if unstored.slots_unfilled {
                        self.unfilled.push(worker.instance_id);
                    }
                    unstored.error
                })
            }
            Channel::Inline | Channel::Unknown => self.in_parts(client, key, range, |this, client, key, range| {
                let layout = this.chunk_layout(range.chunk_tokens, range.chunks);
                match (&worker.tensors, &mut this.staging) {
                    (Tensors::Device(tensors), Some(staging)) => {
                        staged::store(client, worker.instance_id, tensors, staging, (key, range, &layout))
                    }
                    (Tensors::Device(_), None) => Err(staged::unregistered()),
                    (Tensors::Host(tensors), _) => {
                        inline::store(client, worker.instance_id, tensors, (key, range, &layout))
                    }
                }
            }),
        }
    }

    fn retrieve(&mut self, client: &mut Client, worker: &mut Worker, key: &Key, blocks: &[u64]) -> TransferResult {
        let range = Range::new(client, key, blocks);
        let layout = self.chunk_layout(range.chunk_tokens, range.chunks);
        match &mut self.channel {
            Channel::Pool(memory) => {
                pool::retrieve(client, worker, (key, range, &layout), memory, self.staging.as_mut())
            }
            Channel::Inline | Channel::Unknown => self.in_parts(client, key, range, |this, client, key, range| {
                let layout = this.chunk_layout(range.chunk_tokens, range.chunks);
                match (&mut worker.tensors, &mut this.staging) {
                    (Tensors::Device(tensors), Some(staging)) => {
                        staged::retrieve(client, worker.instance_id, tensors, staging, (key, range, &layout))
                    }
                    (Tensors::Device(_), None) => Err(staged::unregistered()),
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
    /// Splits a range into as few requests as `INLINE_BYTES_MAX` allows, mostly one, and adds up their results.
    fn in_parts(
        &mut self,
        client: &mut Client,
        key: &Key,
        range: Range<'_>,
        mut part: impl FnMut(&mut EngineDriven, &mut Client, &Key, Range<'_>) -> TransferResult,
    ) -> TransferResult {
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
                blocks: &range.blocks[first * range.chunk_blocks..],
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
mod tests {
    use super::*;

    #[test]
    fn chunk_layouts_have_the_dimensions_of_the_protocol() {
        let layout = |spec| EngineDriven::new(&Shape::parse(spec).unwrap(), None).chunk_layout(8, 2);
        let kv = layout("(2,16,4,1,4):float16:2");
        assert_eq!((kv.shape.as_slice(), kv.chunk_bytes()), (&[2, 2, 8, 4][..], 256));
        assert_eq!(layout("(1,16,4,1,4):float16:2").shape, [2, 8, 4]);
    }
}
