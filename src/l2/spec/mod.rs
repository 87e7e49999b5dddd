//! Adapter specs: from the JSON of `--l2-adapter` to a checked configuration, with LMCache's messages. Pure: it opens no
//! path and prints nothing. Each type has its own file, and `registry` has one line for it.

mod aerospike;
mod bigtable;
#[cfg(test)]
mod bridged_tests;
mod common;
mod dax;
mod fault_inject;
pub mod field;
mod fs;
mod fs_native;
mod hf3fs;
mod hfbucket;
mod idle;
mod mock;
mod mooncake_store;
mod native_plugin;
mod nixl_native;
mod nixl_store;
mod nixl_store_dynamic;
mod p2p;
mod plugin;
mod raw_block;
mod registry;
mod resp;
mod s3;
mod sagemaker_hyperpod;
mod secret;
mod serde;
#[cfg(test)]
mod tests;
mod valkey;

pub use self::dax::{DaxConfig, DaxDevice};
pub use self::fault_inject::FaultInjectConfig;
pub use self::fs::FsConfig;
pub use self::fs_native::FsNativeConfig;
pub use self::mock::MockConfig;
pub use self::nixl_store_dynamic::NixlStoreDynamicConfig;
pub use self::raw_block::{IoOptions, RawBlockConfig, UringOptions};
pub use self::resp::RespConfig;
pub use self::s3::S3Config;
#[cfg(test)]
pub use self::s3::config_for_test as s3_config_for_test;
pub use self::secret::Secret;
pub use self::serde::{AesGcmConfig, SerdeConfig};
pub use self::valkey::ValkeyConfig;

use serde_json::{Map, Value};

use crate::error::{Error, printable, shortened};
use crate::l2::warning::{SpecDoubt, Warning};
use crate::python::json;
use crate::python::value;
use crate::units::bytes_text;

/// No sensible spec comes near; a file pasted by mistake does.
const SPEC_BYTES_MAX: usize = 1 << 20;
/// Of what is wrong with a spec, which quotes what it says.
const MESSAGE_CHARS_MAX: usize = 1000;
/// The JSON parser itself stops at the next level.
const NESTING_MAX: usize = 127;

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
    /// Its serde block, or why LMCache's server would refuse it.
    pub serde: Option<Result<SerdeConfig, String>>,
    /// As the report quotes it: passwords and keys are masked.
    pub shown: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AdapterKind {
    Dax(DaxConfig),
    FaultInject(FaultInjectConfig),
    Fs(FsConfig),
    FsNative(FsNativeConfig),
    Mock(MockConfig),
    Resp(RespConfig),
    S3(S3Config),
    Valkey(ValkeyConfig),
    /// Or why LMCache would refuse to make it, which it finds out only then.
    NixlStoreDynamic(Result<NixlStoreDynamicConfig, String>),
    RawBlock(Box<RawBlockConfig>),
    /// Only LMCache's own adapter can run it, in a Python process.
    Bridged,
}

impl AdapterKind {
    /// Whether this program has an adapter for it.
    pub fn is_native(&self) -> bool {
        match self {
            AdapterKind::Bridged => false,
            AdapterKind::FaultInject(config) => config.inner.kind.is_native(),
            _ => true,
        }
    }
}

/// A registered adapter type: its name, its fields and how they are checked.
pub struct SpecType {
    pub name: &'static str,
    /// Its own fields beside the common ones; `None` for a type that takes any.
    pub fields: Option<&'static [&'static str]>,
    /// The type's own checks, with LMCache's messages in LMCache's order.
    pub parse: fn(&Map<String, Value>) -> Result<AdapterKind, String>,
}

/// Checks every spec and returns the first, which alone is measured.
pub fn parse_specs(specs: &[String]) -> Result<ParsedSpecs, Error> {
    let mut parsed = Vec::with_capacity(specs.len());
    for (index, raw) in specs.iter().enumerate() {
        let spec = parse(&format!("--l2-adapter #{}", index + 1), raw).map_err(|message| {
            let message = printable(&shortened(&message, MESSAGE_CHARS_MAX));
            Error::Usage(format!("Error parsing L2 adapter config: {message}"))
        })?;
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
        warnings.insert(0, Warning::Spec(SpecDoubt::OnlyFirstAdapter { given: specs.len() }));
    }
    Ok(ParsedSpecs { first, warnings })
}

/// `flag` names the spec in messages. LMCache refuses a byte order mark, which editors on Windows put in front.
fn parse(flag: &str, raw: &str) -> Result<(AdapterSpec, Vec<Warning>), String> {
    let raw = raw.strip_prefix('\u{feff}').unwrap_or(raw);
    let value = parse_json(flag, raw)?;
    let Some(fields) = value.as_object() else {
        return Err(format!(
            "{flag}: expected a JSON object, got {}",
            value::type_name(&value)
        ));
    };
    let type_name = match fields.get("type") {
        None | Some(Value::Null) => return Err(format!("{flag}: missing 'type' field")),
        Some(name) => name,
    };
    let Some(spec_type) = type_name.as_str().and_then(registry::find) else {
        let (name, known) = (value::repr(type_name), registry::names());
        return Err(format!("{flag}: unknown adapter type {name}. Known: {known}"));
    };
    let type_name = spec_type.name;
    let kind = check_fields(spec_type, fields).map_err(|message| format!("{flag} ('{type_name}'): {message}"))?;
    let mut warnings = field_warnings(spec_type, fields);
    warnings.extend(common::without_effect(fields));
    common::literal_paths(&value, &mut warnings);
    if let AdapterKind::FaultInject(config) = &kind {
        warnings.extend(config.inner_warnings.clone());
    }
    let spec = AdapterSpec {
        kind,
        type_name: type_name.to_owned(),
        raw: raw.to_owned(),
        serde: serde::parse(fields),
        shown: secret::masked(raw, &value),
    };
    Ok((spec, warnings))
}

/// Fields that the type does not know, or that do nothing.
fn field_warnings(spec_type: &SpecType, fields: &Map<String, Value>) -> Vec<Warning> {
    let unknown = spec_type.fields.map(|own| common::unknown(fields, own));
    let mut warnings = unknown.unwrap_or_default();
    warnings.extend(idle::warnings(spec_type.name, fields));
    warnings
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
    json::strict(raw.as_bytes()).map_err(|error| {
        if json::costs_too_much(&error) {
            return format!("{flag}: {error}; shorten it");
        }
        let message = json::decode_error(raw).unwrap_or_else(|| {
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
fn check_fields(spec_type: &SpecType, fields: &Map<String, Value>) -> Result<AdapterKind, String> {
    common::check_affinity_tag(fields)?;
    let kind = (spec_type.parse)(fields)?;
    common::check_eviction(fields)?;
    common::check_serde(fields)?;
    Ok(kind)
}
