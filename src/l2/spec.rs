//! stub
use crate::error::Error;
use crate::report::warning::Warning;
use std::path::PathBuf;
use std::time::Duration;
pub struct ParsedSpecs {
    pub first: AdapterSpec,
    pub warnings: Vec<Warning>,
}
pub struct AdapterSpec {
    pub kind: AdapterKind,
    pub type_name: String,
    pub raw: String,
}
#[derive(Clone, Debug, PartialEq)]
pub enum AdapterKind {
    Fs(FsConfig),
    Mock(MockConfig),
    Other(String),
}
#[derive(Clone, Debug, PartialEq)]
pub struct FsConfig {
    pub base_path: PathBuf,
    pub relative_tmp_dir: Option<String>,
    pub read_ahead_size: Option<u64>,
    pub use_odirect: bool,
}
#[derive(Clone, Debug, PartialEq)]
pub struct MockConfig {
    pub capacity_bytes: u64,
    pub bandwidth_bytes_per_s: Option<u64>,
    pub store_latency: Duration,
    pub lookup_latency: Duration,
    pub load_latency: Duration,
}
pub fn parse_specs(specs: &[String]) -> Result<ParsedSpecs, Error> {
    let v: serde_json::Value = serde_json::from_str(&specs[0]).map_err(|e| Error::Usage(e.to_string()))?;
    let kind = if v["type"] == "fs" {
        AdapterKind::Fs(FsConfig {
            base_path: v["base_path"].as_str().unwrap_or("").into(),
            relative_tmp_dir: v["relative_tmp_dir"].as_str().map(str::to_owned),
            read_ahead_size: v["read_ahead_size"].as_u64(),
            use_odirect: v["use_odirect"].as_bool().unwrap_or(false),
        })
    } else {
        AdapterKind::Mock(MockConfig {
            capacity_bytes: 1 << 30,
            bandwidth_bytes_per_s: v["mock_bandwidth_gb"].as_u64().map(|g| g << 30),
            store_latency: Duration::ZERO,
            lookup_latency: Duration::ZERO,
            load_latency: Duration::ZERO,
        })
    };
    Ok(ParsedSpecs {
        first: AdapterSpec {
            kind,
            type_name: String::new(),
            raw: specs[0].clone(),
        },
        warnings: vec![],
    })
}
