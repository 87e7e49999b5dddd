//! Adapter specs: from the JSON of `--l2-adapter` to a checked configuration, with LMCache's messages. Pure: it opens no
//! path and prints nothing.

mod common;
mod python_json;
mod python_value;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::error::Error;
use crate::report::warning::Warning;
use crate::units::bytes_text;

/// No sensible spec comes near; a file pasted by mistake does.
const SPEC_BYTES_MAX: usize = 1 << 20;
/// The JSON parser itself stops at the next level.
const NESTING_MAX: usize = 127;
const BYTES_PER_GB: f64 = (1u64 << 30) as f64;

/// Every name LMCache registers, in the order its message lists them.
const REGISTERED: [&str; 21] = [
    "aerospike",
    "bigtable",
    "dax",
    "fault_inject",
    "fs",
    "fs_native",
    "hf3fs",
    "hfbucket",
    "mock",
    "mooncake_store",
    "native_plugin",
    "nixl_native",
    "nixl_store",
    "nixl_store_dynamic",
    "p2p",
    "plugin",
    "raw_block",
    "resp",
    "s3",
    "sagemaker-hyperpod",
    "valkey",
];
const FS_FIELDS: [&str; 4] = ["base_path", "relative_tmp_dir", "read_ahead_size", "use_odirect"];
const MOCK_FIELDS: [&str; 5] = [
    "max_size_gb",
    "mock_bandwidth_gb",
    "store_latency_us",
    "lookup_latency_us",
    "load_latency_us",
];

/// The adapter to measure, and what the user should know about the specs.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedSpecs {
    pub first: AdapterSpec,
    pub warnings: Vec<Warning>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AdapterSpec {
    pub kind: AdapterKind,
    pub type_name: String,
    /// As typed.
    pub raw: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AdapterKind {
    Fs(FsConfig),
    Mock(MockConfig),
    /// A type that LMCache registers but this program cannot run; only the common fields were checked.
    Other(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct FsConfig {
    pub base_path: PathBuf,
    /// As given; whether it stays inside `base_path` is checked when the adapter is made, as in LMCache.
    pub relative_tmp_dir: Option<String>,
    pub read_ahead_size: Option<u64>,
    pub use_odirect: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MockConfig {
    pub capacity_bytes: u64,
    /// `None` is a device that takes no time, and nothing is copied.
    pub bandwidth_bytes_per_s: Option<u64>,
    pub store_latency: Duration,
    pub lookup_latency: Duration,
    pub load_latency: Duration,
}

/// Checks every spec and returns the first, which alone is measured.
pub fn parse_specs(specs: &[String]) -> Result<ParsedSpecs, Error> {
    let mut parsed = Vec::with_capacity(specs.len());
    for (index, raw) in specs.iter().enumerate() {
        let spec = parse(&format!("--l2-adapter #{}", index + 1), raw)
            .map_err(|message| Error::Usage(format!("Error parsing L2 adapter config: {message}")))?;
        parsed.push(spec);
    }
    let Some((first, mut warnings)) = parsed.into_iter().next() else {
        return Err(Error::Usage(
            "Error: No L2 adapter configuration provided.\n\
             Use --l2-adapter JSON or set L2_ADAPTER_JSON environment variable."
                .to_owned(),
        ));
    };
    if specs.len() > 1 {
        warnings.insert(0, Warning::OnlyFirstAdapter { given: specs.len() });
    }
    Ok(ParsedSpecs { first, warnings })
}

/// `flag` names the spec in messages.
fn parse(flag: &str, raw: &str) -> Result<(AdapterSpec, Vec<Warning>), String> {
    let value = parse_json(flag, raw)?;
    let Some(fields) = value.as_object() else {
        return Err(format!(
            "{flag}: expected a JSON object, got {}",
            python_value::type_name(&value)
        ));
    };
    let type_name = match fields.get("type") {
        None | Some(Value::Null) => return Err(format!("{flag}: missing 'type' field")),
        Some(Value::String(name)) if REGISTERED.contains(&name.as_str()) => name.clone(),
        Some(other) => {
            let (name, known) = (python_value::str_text(other), REGISTERED.join(", "));
            return Err(format!("{flag}: unknown adapter type '{name}'. Known: {known}"));
        }
    };
    let kind = check_fields(&type_name, fields).map_err(|message| format!("{flag} ('{type_name}'): {message}"))?;
    let mut warnings = match &kind {
        AdapterKind::Fs(_) => common::unknown(fields, &FS_FIELDS),
        AdapterKind::Mock(_) => common::unknown(fields, &MOCK_FIELDS),
        AdapterKind::Other(_) => Vec::new(),
    };
    warnings.extend(common::without_effect(fields));
    let raw = raw.to_owned();
    Ok((AdapterSpec { kind, type_name, raw }, warnings))
}

fn parse_json(flag: &str, raw: &str) -> Result<Value, String> {
    if raw.len() > SPEC_BYTES_MAX {
        let (size, most) = (bytes_text(raw.len() as u64), bytes_text(SPEC_BYTES_MAX as u64));
        return Err(format!(
            "{flag}: the JSON is {size} long, but at most {most} is read; shorten it"
        ));
    }
    if nesting(raw) > NESTING_MAX {
        return Err(format!(
            "{flag}: the JSON nests deeper than {NESTING_MAX} levels; flatten it"
        ));
    }
    serde_json::from_str(raw).map_err(|error| {
        let message = python_json::error_message(raw).unwrap_or_else(|| {
            format!("{error}; replace NaN, Infinity, numbers beyond a double, and halves of surrogate pairs")
        });
        format!("Invalid JSON for {flag}: {message}")
    })
}

/// The deepest level of brackets outside strings, counted before anything recurses over them.
fn nesting(raw: &str) -> usize {
    let (mut level, mut deepest) = (0usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in raw.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                level += 1;
                deepest = deepest.max(level);
            }
            b'}' | b']' if !in_string => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Everything behind the type, in LMCache's order.
fn check_fields(type_name: &str, fields: &Map<String, Value>) -> Result<AdapterKind, String> {
    common::check_affinity_tag(fields)?;
    let kind = match type_name {
        "fs" => AdapterKind::Fs(fs(fields)?),
        "mock" => AdapterKind::Mock(mock(fields)?),
        "raw_block"
            if fields
                .get("persist_enabled")
                .is_some_and(|value| !python_value::is_true(value)) =>
        {
            return Err("raw_block requires persist_enabled=true".to_owned());
        }
        other => AdapterKind::Other(other.to_owned()),
    };
    common::check_eviction(fields)?;
    common::check_serde(fields)?;
    Ok(kind)
}

fn fs(fields: &Map<String, Value>) -> Result<FsConfig, String> {
    let base_path = match fields.get("base_path") {
        Some(Value::String(path)) if !path.is_empty() => PathBuf::from(path),
        _ => return Err("base_path must be a non-empty string".to_owned()),
    };
    let relative_tmp_dir = match fields.get("relative_tmp_dir") {
        None | Some(Value::Null) => None,
        Some(Value::String(dir)) => Some(dir.clone()),
        Some(_) => return Err("relative_tmp_dir must be a string".to_owned()),
    };
    let read_ahead_size = match fields.get("read_ahead_size") {
        None | Some(Value::Null) => None,
        Some(size) => {
            let size = python_value::positive_int(size);
            Some(size.ok_or_else(|| "read_ahead_size must be a positive integer".to_owned())?)
        }
    };
    let use_odirect = match fields.get("use_odirect") {
        None => false,
        Some(Value::Bool(direct)) => *direct,
        Some(_) => return Err("use_odirect must be a boolean".to_owned()),
    };
    Ok(FsConfig {
        base_path,
        relative_tmp_dir,
        read_ahead_size,
        use_odirect,
    })
}

fn mock(fields: &Map<String, Value>) -> Result<MockConfig, String> {
    let capacity_bytes = gigabytes(fields, "max_size_gb")?;
    let bandwidth_bytes_per_s = match fields.get("mock_bandwidth_gb") {
        Some(Value::String(text)) if text == "inf" => None,
        // A rate that rounds to none would never finish.
        _ => Some(gigabytes(fields, "mock_bandwidth_gb")?.max(1)),
    };
    Ok(MockConfig {
        capacity_bytes,
        bandwidth_bytes_per_s,
        store_latency: microseconds(fields, "store_latency_us")?,
        lookup_latency: microseconds(fields, "lookup_latency_us")?,
        load_latency: microseconds(fields, "load_latency_us")?,
    })
}

fn gigabytes(fields: &Map<String, Value>, name: &str) -> Result<u64, String> {
    match fields.get(name).and_then(python_value::number) {
        // What is beyond the range of u64 becomes its end.
        Some(number) if number > 0.0 => Ok((number * BYTES_PER_GB) as u64),
        _ => Err(format!("{name} must be a positive number")),
    }
}

fn microseconds(fields: &Map<String, Value>, name: &str) -> Result<Duration, String> {
    let Some(value) = fields.get(name) else {
        return Ok(Duration::ZERO);
    };
    let latency = python_value::number(value).and_then(|micros| Duration::try_from_secs_f64(micros / 1e6).ok());
    latency.ok_or_else(|| format!("{name} must be a non-negative number"))
}
