//! The records of requests and replies as typed values. `messages` encodes and decodes them.

use std::sync::Arc;

use super::dtype::Dtype;

/// The key of cache entries, with the range of tokens that an operation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub model_name: String,
    /// The tensor-parallel size, or 1 for MLA, where all ranks hold the same KV.
    pub world_size: u32,
    /// The rank, for transfers; `None` for lookups and for freeing their locks.
    pub worker_id: Option<u32>,
    pub token_ids: Arc<[u32]>,
    /// The tokens `start..end`: multiples of the chunk size, at most the number of tokens.
    pub start: u64,
    pub end: u64,
    /// Identifies the server's state of one request. It may be used for other tokens only after `end_session`.
    pub request_id: String,
    pub cache_salt: String,
    /// How many read locks a lookup takes on each chunk that it hits. Since 0.5.5.
    pub num_kv_readers: u32,
}

impl Key {
    /// The same key for another range.
    pub fn range(&self, start: u64, end: u64) -> Key {
        Key {
            start,
            end,
            ..self.clone()
        }
    }

    /// The same key for the transfers of a rank, or for lookups (`None`).
    pub fn of_worker(&self, worker_id: Option<u32>) -> Key {
        Key {
            worker_id,
            ..self.clone()
        }
    }
}

/// The record of `REGISTER_KV_CACHE_ENGINE_DRIVEN_CONTEXT`, for a worker that copies KV itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineContext {
    pub instance_id: u64,
    pub model_name: String,
    pub world_size: u32,
    /// Tokens per block.
    pub block_size: u64,
    pub num_layers: u64,
    /// Number of heads times head size.
    pub hidden_dim_size: u64,
    pub dtype: Dtype,
    pub use_mla: bool,
    /// Tokens per chunk.
    pub num_physical_slots: u64,
}

/// The server's shared memory for engine-driven transfers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedPool {
    /// Without a leading slash.
    pub shm_name: String,
    pub pool_bytes: u64,
}

/// The location of one chunk in the server's shared memory: `length` bytes at `offset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub offset: u64,
    pub length: u64,
    pub shape: Vec<u64>,
    pub dtype: String,
}

/// The slots that `PREPARE_STORE` allocated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreparedStore {
    pub slots: Vec<Slot>,
    /// For each slot the index of its chunk, counted from the key's `start`.
    pub chunk_indices: Vec<u64>,
}

/// The memory of a registered tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvMemory {
    /// A POSIX shared memory object, of which `bytes` bytes are mapped.
    CpuShm { shm_name: String, bytes: u64 },
    /// Device memory: the CUDA IPC handle of a whole allocation, and the offset in it.
    CudaRaw {
        ipc_handle: [u8; 64],
        offset: u64,
        bytes: u64,
    },
}

/// The KV tensor of one layer, as it is described to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvTensor {
    pub memory: KvMemory,
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    /// In elements.
    pub stride: Vec<u64>,
    /// In elements.
    pub storage_offset: u64,
    /// `cpu`, or the UUID of the CUDA device in lower case without `GPU-`.
    pub device_uuid: String,
}

/// Layers that share a block table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerGroup {
    pub engine_group_id: u64,
    pub layer_indices: Vec<u64>,
    pub tokens_per_block: u64,
    /// Tokens of the sliding window; -1 for none.
    pub sw_size_tokens: i64,
}

/// The record of `REGISTER_KV_CACHE`, for a worker whose memory the server accesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvRegistration {
    pub instance_id: u64,
    pub tensors: Vec<KvTensor>,
    pub model_name: String,
    pub world_size: u32,
    /// `vllm`, as in LMCache's own bench.
    pub engine_type: String,
    /// `NHD` or `HND`.
    pub kv_layout: String,
    pub groups: Vec<LayerGroup>,
}

/// The result of `STORE` and `RETRIEVE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// The IPC handle of the server's completion event with CUDA; without meaning on a CPU.
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
    /// Bytes per chunk.
    pub fn chunk_bytes(&self) -> u64 {
        let elements = self
            .shape
            .iter()
            .fold(1u64, |product, side| product.saturating_mul(*side));
        elements.saturating_mul(self.dtype.bytes())
    }
}

/// Called with the index of a chunk and a visitor, to which it passes the bytes of the chunk in order, in pieces of any size.
pub type ChunkSource<'a> = dyn FnMut(usize, &mut dyn FnMut(&[u8])) + 'a;

/// Called with the index of a chunk, an offset in it, and the bytes at that offset. Pieces arrive in order.
pub type ChunkSink<'a> = dyn FnMut(usize, u64, &[u8]) + 'a;

/// The transfer modes that a server has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferModes {
    pub lmcache_driven: bool,
    pub engine_driven: bool,
}
