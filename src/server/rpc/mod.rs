//! How messages travel to a multiprocess cache server: `Client` and the records it takes and brings. It must never know
//! what a run does with them. docs/protocol.md says what is sent to which release.

mod client;
mod dtype;
mod endpoint;
mod fault;
pub mod messages;
pub mod msgpack;
mod operations;
pub mod pickle;
mod probe;
mod records;
mod replies;
#[cfg(test)]
mod tests;
mod version;
pub mod zmtp;

pub use client::{Client, REPLY_TIMEOUT, Server, Timing};
pub use dtype::Dtype;
pub use endpoint::Endpoint;
pub use fault::{ReplyFault, RpcError};
pub use operations::INLINE_BYTES_MAX;
pub use records::{
    ChunkLayout, ChunkSink, ChunkSource, EngineContext, Key, KvMemory, KvRegistration, KvTensor, LayerGroup,
    PreparedStore, SharedPool, Slot, TransferModes, Transferred,
};
pub use version::{Generation, Operation};
