//! The typed flags of `server`; `config` checks them.

use crate::choices;
use crate::cli::shared::OutputArgs;
use crate::server::rpc::WireKind;

mod page;
mod table;

pub use page::page;
pub use table::TABLE;

choices! {
    /// Where the KV tensors live.
    #[derive(Default)]
    pub enum Mode ("mode") {
        #[default]
        Gpu = "gpu",
        Cpu = "cpu",
    }
}

choices! {
    /// Which side copies the KV cache.
    #[derive(Default)]
    pub enum TransferMode ("transfer mode") {
        #[default]
        Auto = "auto",
        EngineDriven = "engine_driven",
        LmcacheDriven = "lmcache_driven",
    }
}

choices! {
    /// Which blocks of the tensors a request takes.
    #[derive(Default)]
    pub enum BlockAllocation ("block allocation") {
        #[default]
        Sequential = "sequential",
        Random = "random",
    }
}

choices! {
    /// The digest of stored and retrieved chunks.
    #[derive(Default)]
    pub enum Checksum ("checksum") {
        /// MD5 where it is compared with the server's own digests, the fast one elsewhere.
        #[default]
        Auto = "auto",
        Md5 = "md5",
        Fast = "fast",
    }
}

/// The command line of `server` as typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerArgs {
    pub rpc_url: String,
    pub url: String,
    pub mode: Mode,
    pub device: i64,
    pub transfer_mode: TransferMode,
    pub tp_size: i64,
    pub use_mla: bool,
    pub num_tokens: i64,
    pub kvcache_shape_spec: Option<String>,
    pub num_blocks: Option<i64>,
    pub block_size: Option<i64>,
    pub start: i64,
    pub end: Option<i64>,
    pub interval: f64,
    pub concurrency: i64,
    pub block_allocation: BlockAllocation,
    pub output: OutputArgs,
    pub salt: bool,
    pub checksum: Checksum,
    pub wire: WireKind,
    pub seed: u64,
    pub connect_timeout_s: f64,
    pub rpc_timeout_s: f64,
}

#[cfg(test)]
mod tests;
