//! The command line of `mock server` as typed values. Must never check a value against another or a range: that is the
//! config's part.

mod page;
mod table;

pub use page::page;
pub use table::TABLE;

/// The command line of `mock server` as typed.
#[derive(Clone, Debug, PartialEq)]
pub struct MockServerArgs {
    pub host: String,
    pub port: i64,
    pub http_port: i64,
    pub generation: String,
    pub chunk_size: i64,
    pub l1_size_mb: i64,
    pub supported_transfer_mode: String,
    pub shm_name: Option<String>,
    pub delay: Vec<String>,
    pub fault: Vec<String>,
}

impl Default for MockServerArgs {
    /// What a command line without flags means.
    fn default() -> MockServerArgs {
        let mut args = MockServerArgs {
            host: String::new(),
            port: 0,
            http_port: 0,
            generation: String::new(),
            chunk_size: 0,
            l1_size_mb: 0,
            supported_transfer_mode: String::new(),
            shm_name: None,
            delay: Vec::new(),
            fault: Vec::new(),
        };
        TABLE
            .apply_presets(&mut args)
            .expect("a test hands every default to its setter");
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_go_through_their_setters() {
        let args = MockServerArgs::default();
        assert_eq!((args.port, args.http_port, args.chunk_size), (5555, 8080, 256));
        assert_eq!(args.generation, "0.5.6");
    }
}
