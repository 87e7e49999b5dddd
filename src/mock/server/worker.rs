//! Registered workers, and the layout of chunks in the memory of lmcache-driven ones. Block ids are checked before each
//! copy.

use std::io;

use md5::{Digest, Md5};

use super::cache::{Cache, ChunkId};
use super::descriptor::Descriptor;
use super::memory::Memories;
use super::request::{EngineRegistration, Group};
use crate::server::rpc::{Dtype, Generation};

pub enum Worker {
    LmcacheDriven(KvMemory),
    EngineDriven(EngineRegistration),
}

impl Worker {
    pub fn model(&self) -> (&str, u32) {
        match self {
            Worker::LmcacheDriven(memory) => (&memory.model_name, memory.world_size),
            Worker::EngineDriven(engine) => (&engine.model_name, engine.world_size),
        }
    }
}

/// The memory of one lmcache-driven worker, opened.
pub struct KvMemory {
    pub model_name: String,
    pub world_size: u32,
    pub memories: Memories,
    pub layers: Vec<Layer>,
    pub groups: Vec<Group>,
}

/// One layer's tensor. A run is what one block has in one plane: contiguous bytes.
#[derive(Clone, Debug)]
pub struct Layer {
    part: usize,
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    first_byte: u64,
    pub planes: u64,
    plane_stride: u64,
    pub blocks: u64,
    block_stride: u64,
    run_bytes: u64,
    /// Tokens of a block.
    pub tokens: u64,
}

/// A contiguous piece of a chunk, and its place in the worker's memory.
struct Run {
    part: usize,
    offset: usize,
    bytes: usize,
}

impl KvMemory {
    pub fn open(
        (model_name, world_size): (String, u32),
        descriptors: &[Descriptor],
        groups: Vec<Group>,
        heads_first: bool,
    ) -> io::Result<KvMemory> {
        let mut memories = Memories::default();
        let mut layers = Vec::new();
        for descriptor in descriptors {
            let part = memories.open(descriptor)?;
            // A server with a device reads the sides as they are named.
            let heads_first = heads_first && !memories.on_device();
            layers.push(layer(descriptor, part, heads_first).ok_or(io::ErrorKind::Unsupported)?);
        }
        let groups = match groups.is_empty() {
            true => vec![Group {
                layers: (0..layers.len()).collect(),
                tokens_per_block: 0,
            }],
            false => groups,
        };
        let mut named: Vec<usize> = groups.iter().flat_map(|group| group.layers.iter().copied()).collect();
        named.sort_unstable();
        named.dedup();
        let all: usize = groups.iter().map(|group| group.layers.len()).sum();
        if layers.is_empty() || all != named.len() || named.last().is_some_and(|last| *last >= layers.len()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(KvMemory {
            model_name,
            world_size,
            memories,
            layers,
            groups,
        })
    }

    /// Blocks of one chunk in a group.
    pub fn chunk_blocks(&self, group: &Group, chunk_size: u64) -> usize {
        let tokens = match (group.tokens_per_block, group.layers.first()) {
            (0, Some(first)) => self.layers[*first].tokens,
            (tokens, _) => tokens,
        };
        (chunk_size / tokens.max(1)) as usize
    }

    /// The runs of chunk number `chunk` of a transfer; `None` when a block list is too short or a block does not exist.
    fn runs(&self, block_ids: &[Vec<u64>], chunk: usize, chunk_size: u64) -> Option<Vec<Run>> {
        let mut runs = Vec::new();
        for (group, ids) in self.groups.iter().zip(block_ids) {
            let count = self.chunk_blocks(group, chunk_size);
            let ids = ids.get(chunk * count..(chunk + 1) * count)?;
            for plane in 0..2 {
                for layer in group.layers.iter().map(|layer| &self.layers[*layer]) {
                    if plane < layer.planes {
                        runs.extend(ids.iter().map(|id| layer.run(plane, *id)).collect::<Option<Vec<_>>>()?);
                    }
                }
            }
        }
        Some(runs)
    }

    pub fn chunk_bytes(&self, chunk_size: u64) -> u64 {
        let of_group = |group: &Group| {
            let blocks = self.chunk_blocks(group, chunk_size) as u64;
            let layers = group.layers.iter().map(|layer| &self.layers[*layer]);
            layers.map(|layer| layer.planes * layer.run_bytes * blocks).sum::<u64>()
        };
        self.groups.iter().map(of_group).sum()
    }

    /// Copies a chunk's blocks into its reservation. False when a block does not exist.
    pub fn store(&self, cache: &mut Cache, id: ChunkId, block_ids: &[Vec<u64>], chunk: usize, chunk_size: u64) -> bool {
        let Some(runs) = self.runs(block_ids, chunk, chunk_size) else {
            return false;
        };
        let mut at = 0;
        for run in runs {
            if !self.memories.store(run.part, run.offset, run.bytes, cache, (id, at)) {
                return false;
            }
            at += run.bytes as u64;
        }
        true
    }

    /// Copies a chunk into its blocks, except the first `skip` of each group.
    pub fn retrieve(
        &mut self,
        cache: &Cache,
        id: ChunkId,
        block_ids: &[Vec<u64>],
        (chunk, chunk_size): (usize, u64),
        skip_tokens: u64,
        corrupt: bool,
    ) -> bool {
        let Some(runs) = self.runs(block_ids, chunk, chunk_size) else {
            return false;
        };
        let tokens = self.layers[0].tokens.max(1);
        let chunk_blocks = (chunk_size / tokens).max(1);
        let skipped = (skip_tokens / tokens).saturating_sub(chunk as u64 * chunk_blocks);
        let mut buffer = Vec::new();
        let mut at = 0;
        for (number, run) in runs.into_iter().enumerate() {
            if number as u64 % chunk_blocks >= skipped {
                buffer.resize(run.bytes, 0);
                cache.read(id, at, &mut buffer);
                if corrupt && number == 0 {
                    buffer[0] ^= 1;
                }
                if !self.memories.write(run.part, run.offset, &buffer) {
                    return false;
                }
            }
            at += run.bytes as u64;
        }
        true
    }

    /// What `/cache/checksums` answers for some blocks: all layers, each with all blocks of plane 0 and then of plane 1.
    pub fn checksum(&self, block_ids: &[u64]) -> Option<String> {
        let mut md5 = Md5::new();
        for layer in &self.layers {
            for plane in 0..layer.planes {
                for id in block_ids {
                    let run = layer.run(plane, *id)?;
                    let mut bytes = vec![0; run.bytes];
                    if !self.memories.read(run.part, run.offset, &mut bytes) {
                        return None;
                    }
                    match layer.dtype {
                        // Widened to float32: the two bytes are the upper ones.
                        Dtype::Bfloat16 => bytes
                            .chunks_exact(2)
                            .for_each(|half| md5.update([0, 0, half[0], half[1]])),
                        _ => md5.update(&bytes),
                    }
                }
            }
        }
        Some(md5.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Bytes that one token takes in all layers.
    pub fn token_bytes(&self) -> u64 {
        let of_layer = |layer: &Layer| layer.planes * layer.run_bytes / layer.tokens.max(1);
        self.layers.iter().map(of_layer).sum()
    }
}

impl Layer {
    fn run(&self, plane: u64, block: u64) -> Option<Run> {
        let offset = self.first_byte + plane * self.plane_stride + block * self.block_stride;
        (block < self.blocks).then_some(Run {
            part: self.part,
            offset: offset as usize,
            bytes: self.run_bytes as usize,
        })
    }
}

/// The layer of a descriptor: `[2, blocks, tokens, heads, size]` (`heads_first`: `[2, blocks, heads, tokens, size]`), or
/// `[blocks, tokens, hidden]`; a block's part of a plane must be contiguous.
fn layer(descriptor: &Descriptor, part: usize, heads_first: bool) -> Option<Layer> {
    let item = descriptor.dtype.bytes();
    let (shape, stride) = (&descriptor.shape, &descriptor.stride);
    let (planes, plane_stride, at) = match shape.len() {
        5 if shape[0] == 2 => (2, stride[0] * item, 1),
        3 => (1, 0, 0),
        _ => return None,
    };
    let mut run = 1;
    for side in (at + 1..shape.len()).rev() {
        if stride[side] != run && shape[side] != 1 {
            return None;
        }
        run *= shape[side];
    }
    let tokens = match (planes, heads_first) {
        (2, true) => shape[3],
        (2, false) => shape[2],
        _ => shape[1],
    };
    Some(Layer {
        part,
        dtype: descriptor.dtype,
        shape: shape.clone(),
        first_byte: descriptor.storage_offset * item,
        planes,
        plane_stride,
        blocks: shape[at],
        block_stride: stride[at] * item,
        run_bytes: run * item,
        tokens,
    })
}

/// Whether a server of this generation without accelerator reads K/V tensors with heads before tokens.
pub fn heads_first(generation: Generation, kv_layout: Option<&str>) -> Option<bool> {
    if generation.reads_kv_heads_first {
        return matches!(kv_layout, None | Some("NHD" | "HND")).then_some(true);
    }
    match kv_layout {
        None | Some("HND") => Some(true),
        Some("NHD") => Some(false),
        _ => None,
    }
}
