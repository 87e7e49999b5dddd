//! The command line of `mock server` as typed values, which `config` checks.

use std::path::PathBuf;

use crate::server::flags::TransferMode;

mod page;
mod table;

pub use page::page;
pub use table::TABLE;

/// The command line of `mock server` as typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MockServerArgs {
    pub host: String,
    pub port: i64,
    pub http_port: i64,
    pub release: String,
    pub chunk_size: i64,
    pub l1_size_mb: i64,
    pub supported_transfer_mode: TransferMode,
    pub shm_name: Option<String>,
    pub api_key_file: Vec<PathBuf>,
    pub delay: Vec<String>,
    pub fault: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_go_through_their_setters() {
        let args = TABLE.presets();
        assert_eq!((args.port, args.http_port, args.chunk_size), (5555, 8080, 256));
        assert_eq!(args.release, "0.5.6");
    }
}
