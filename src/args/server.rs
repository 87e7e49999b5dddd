//! The command line of `server` as typed values. Must never check a value against another, a range or the machine: that is
//! the config's part.

use std::path::PathBuf;

use super::Format;
use super::python_number::quoted;

mod page;
mod table;

pub use page::page;
pub use table::TABLE;

/// Where the KV tensors live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    Cpu,
    #[default]
    Gpu,
}

/// Who copies the KV.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransferMode {
    #[default]
    Auto,
    EngineDriven,
    LmcacheDriven,
}

/// What is computed over stored and retrieved chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// MD5 where the server's own digests are compared with it, the fast one elsewhere.
    #[default]
    Auto,
    Md5,
    Fast,
}

/// The command line of `server` as typed.
#[derive(Clone, Debug, PartialEq)]
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
    pub format: Format,
    pub output: Option<PathBuf>,
    pub quiet: bool,
    pub salt: bool,
    pub checksum: Checksum,
    pub seed: u64,
    pub connect_timeout_s: f64,
    pub rpc_timeout_s: f64,
}

impl Default for ServerArgs {
    /// What a command line without flags means.
    fn default() -> ServerArgs {
        let mut args = ServerArgs {
            rpc_url: String::new(),
            url: String::new(),
            mode: Mode::default(),
            device: 0,
            transfer_mode: TransferMode::default(),
            tp_size: 0,
            use_mla: false,
            num_tokens: 0,
            kvcache_shape_spec: None,
            num_blocks: None,
            block_size: None,
            start: 0,
            end: None,
            interval: 0.0,
            format: Format::default(),
            output: None,
            quiet: false,
            salt: false,
            checksum: Checksum::default(),
            seed: 0,
            connect_timeout_s: 0.0,
            rpc_timeout_s: 0.0,
        };
        TABLE
            .apply_presets(&mut args)
            .expect("a test hands every default to its setter");
        args
    }
}

impl Mode {
    fn from_text(text: &str) -> Result<Mode, String> {
        match text {
            "cpu" => Ok(Mode::Cpu),
            "gpu" => Ok(Mode::Gpu),
            other => Err(format!("unknown mode {}", quoted(other))),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Mode::Cpu => "cpu",
            Mode::Gpu => "gpu",
        }
    }
}

impl TransferMode {
    fn from_text(text: &str) -> Result<TransferMode, String> {
        match text {
            "auto" => Ok(TransferMode::Auto),
            "engine_driven" => Ok(TransferMode::EngineDriven),
            "lmcache_driven" => Ok(TransferMode::LmcacheDriven),
            other => Err(format!("unknown transfer mode {}", quoted(other))),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            TransferMode::Auto => "auto",
            TransferMode::EngineDriven => "engine_driven",
            TransferMode::LmcacheDriven => "lmcache_driven",
        }
    }
}

impl Checksum {
    fn from_text(text: &str) -> Result<Checksum, String> {
        match text {
            "auto" => Ok(Checksum::Auto),
            "md5" => Ok(Checksum::Md5),
            "fast" => Ok(Checksum::Fast),
            other => Err(format!("unknown checksum {}", quoted(other))),
        }
    }
}

#[cfg(test)]
mod tests;
