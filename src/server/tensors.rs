//! The KV tensors of one rank, in host memory or on a device.

use super::checksum::{Digest, Kind};
use super::device::DeviceTensors;
use super::memory::{KvTensors, Layout, Source};

pub enum Tensors {
    Host(KvTensors),
    Device(DeviceTensors),
}

impl Tensors {
    pub fn layout(&self) -> &Layout {
        match self {
            Tensors::Host(tensors) => &tensors.layout,
            Tensors::Device(tensors) => &tensors.layout,
        }
    }

    /// Fills the blocks with the pattern of `source`. The error is one sentence.
    pub fn fill(&mut self, blocks: &[u64], source: Source) -> Result<(), String> {
        match self {
            Tensors::Host(tensors) => tensors.fill(blocks, source).map_err(|error| {
                format!("could not get shared memory for the KV tensors: {error}; enlarge /dev/shm or use fewer blocks")
            }),
            Tensors::Device(tensors) => tensors
                .fill(blocks, source)
                .map_err(|error| format!("could not fill the KV tensors: {error}")),
        }
    }

    /// Overwrites the blocks, so that a retrieve that copies nothing is detected. The error is one sentence.
    pub fn poison(&mut self, blocks: &[u64]) -> Result<(), String> {
        match self {
            Tensors::Host(tensors) => {
                tensors.poison(blocks);
                Ok(())
            }
            Tensors::Device(tensors) => tensors
                .poison(blocks)
                .map_err(|error| format!("could not overwrite the KV tensors: {error}")),
        }
    }

    /// One digest for each `chunk_blocks` blocks. With `widen`, bfloat16 is hashed as float32, as the server does it. The error
    /// is one sentence.
    pub fn digests(&self, blocks: &[u64], chunk_blocks: usize, kind: Kind, widen: bool) -> Result<Vec<Digest>, String> {
        match self {
            Tensors::Host(tensors) => Ok(tensors.digests(blocks, chunk_blocks, kind, widen)),
            Tensors::Device(tensors) => tensors
                .digests(blocks, chunk_blocks, kind, widen)
                .map_err(|error| format!("could not digest the KV tensors: {error}")),
        }
    }
}
