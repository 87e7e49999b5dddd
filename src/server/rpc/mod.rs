//! A client for LMCache's multiprocess cache server over ZeroMQ: `Client`, and the records that requests and replies carry.
//! docs/protocol.md describes the protocol of each release.

mod client;
mod dtype;
mod endpoint;
mod envelope;
mod fault;
mod generation;
pub mod inline;
pub mod messages;
pub mod msgpack;
mod operations;
pub mod pickle;
mod probe;
mod records;
mod replies;
#[cfg(test)]
mod tests;
pub mod wire;

pub use client::{Client, REPLY_TIMEOUT, ServerInfo, Timing};
pub use dtype::Dtype;
pub use endpoint::Endpoint;
pub use fault::{ReplyFault, RpcError};
pub use generation::{Generation, Inline, Operation, Tokens};
pub use operations::INLINE_BYTES_MAX;
pub use records::{
    ChunkLayout, ChunkSink, ChunkSource, EngineContext, Key, KvMemory, KvRegistration, KvTensor, LayerGroup,
    PreparedStore, SharedPool, Slot, TransferModes, Transferred,
};
pub use wire::{LIBZMQ_ABSENT, WireKind, zmtp};
