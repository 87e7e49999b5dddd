//! The records that requests carry and replies bring, as typed values. They must never encode themselves: `messages` does.

use std::sync::Arc;

use super::dtype::Dtype;

/// What a cache entry is found by, and the range of its tokens that an operation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub model_name: String,
    /// Ranks that share the entry: the tensor-parallel size, or 1 where all ranks hold the same (MLA).
    pub world_size: u32,
    /// A rank for transfers; nothing for lookups and for freeing their locks.
    pub worker_id: Option<u32>,
    pub token_ids: Arc<[u32]>,
    /// Tokens `start..end`: multiples of the chunk size, not beyond the tokens.
    pub start: u64,
    pub end: u64,
    /// Names the server's state of one request; never used for other tokens before `end_session`.
    pub request_id: String,
    pub cache_salt: String,
    /// How often each chunk that a lookup hits is locked for reading. Since 0.5.5.
    pub num_kv_readers: u32,
}

impl Key {
    /// The same entry for another range.
    pub fn range(&self, start: u64, end: u64) -> Key {
        Key {
            start,
            end,
            ..self.clone()
        }
    }

    /// The same entry for the transfers of one rank, or for lookups.
    pub fn of_worker(&self, worker_id: Option<u32>) -> Key {
        Key {
            worker_id,
            ..self.clone()
        }
    }
}

/// What `REGISTER_KV_CACHE_ENGINE_DRIVEN_CONTEXT` says about a worker that copies by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineContext {
    pub instance_id: u64,
    pub model_name: String,
    pub world_size: u32,
    /// Tokens of a block.
    pub block_size: u64,
    pub num_layers: u64,
    /// Heads times head size.
    pub hidden_dim_size: u64,
    pub dtype: Dtype,
    pub use_mla: bool,
    /// Tokens of a chunk.
    pub num_physical_slots: u64,
}

/// The server's shared memory, when engine-driven transfers go through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedPool {
    /// Without leading slash.
    pub shm_name: String,
    pub pool_bytes: u64,
}

/// The place of one chunk in the server's shared memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub offset: u64,
    pub length: u64,
    pub shape: Vec<u64>,
    pub dtype: String,
}

/// What `PREPARE_STORE` set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreparedStore {
    pub slots: Vec<Slot>,
    /// For each slot, the chunk that goes there, counted from the key's `start`.
    pub chunk_indices: Vec<u64>,
}

/// Whose memory a registered tensor is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvMemory {
    /// A POSIX shared-memory object. `bytes` is the length to map.
    CpuShm { shm_name: String, bytes: u64 },
    /// Device memory by its CUDA handle, which names the whole allocation; `offset` is the way from its begin.
    CudaRaw {
        ipc_handle: [u8; 64],
        offset: u64,
        bytes: u64,
    },
}

/// One layer's KV tensor as the server will see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvTensor {
    pub memory: KvMemory,
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    /// In elements.
    pub stride: Vec<u64>,
    /// In elements.
    pub storage_offset: u64,
    /// `cpu`, or the CUDA UUID in lower-case groups without `GPU-`.
    pub device_uuid: String,
}

/// Layers that share a block table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerGroup {
    pub engine_group_id: u64,
    pub layer_indices: Vec<u64>,
    pub tokens_per_block: u64,
    /// Tokens of the sliding window, -1 for none.
    pub sw_size_tokens: i64,
}

/// What `REGISTER_KV_CACHE` says about a worker whose memory the server copies from and to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvRegistration {
    pub instance_id: u64,
    pub tensors: Vec<KvTensor>,
    pub model_name: String,
    pub world_size: u32,
    /// `vllm` in the reference's bench.
    pub engine_type: String,
    /// `NHD` or `HND`.
    pub kv_layout: String,
    pub groups: Vec<LayerGroup>,
}

/// How `STORE` and `RETRIEVE` ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// The server's completion event: on CPU of no use, on CUDA to be waited for.
    pub event: Vec<u8>,
    pub accepted: bool,
}

/// Shape and number of the chunks of an inline transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkLayout {
    pub dtype: Dtype,
    /// `[2, layers, tokens, hidden]`, or `[layers, tokens, hidden]` for MLA.
    pub shape: Vec<u64>,
    pub chunks: usize,
}

impl ChunkLayout {
    /// Bytes of one chunk.
    pub fn chunk_bytes(&self) -> u64 {
        let elements = self
            .shape
            .iter()
            .fold(1u64, |product, side| product.saturating_mul(*side));
        elements.saturating_mul(self.dtype.bytes())
    }
}

/// Hands the bytes of a chunk, in order and in pieces of any size, to the visitor.
pub type ChunkSource<'a> = dyn FnMut(usize, &mut dyn FnMut(&[u8])) + 'a;

/// Takes bytes of a chunk: its number, the offset inside it, and a piece. Pieces come in order.
pub type ChunkSink<'a> = dyn FnMut(usize, u64, &[u8]) + 'a;

/// Which ways of transfer a server has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferModes {
    pub lmcache_driven: bool,
    pub engine_driven: bool,
}
