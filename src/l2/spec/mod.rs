//! Adapter specs: from the JSON of `--l2-adapter` to a checked config, with LMCache's messages. Nothing is opened here. The
//! fields of each type are checked in its own module below `adapters`.

#[cfg(test)]
mod bridged_tests;
#[cfg(test)]
pub mod tests;

use serde_json::Value;

use super::adapters::aesgcm::config::parse as parse_serde;
pub use super::adapters::aesgcm::config::{AesGcmConfig, SerdeConfig};
use super::adapters::field::{Fields, common, secret};
pub use super::adapters::registry::AdapterSpec;
use super::adapters::registry::{AdapterType, Config, find, names};
use crate::error::{Error, printable, shortened};
use crate::l2::warning::{SpecWarning, Warning};
use crate::python::json;
use crate::python::value;
use crate::units::bytes_text;

/// Far longer than any spec; a file that was pasted by mistake is refused.
const SPEC_BYTES_MAX: usize = 1 << 20;
/// Of a message about a spec, which may quote it.
const MESSAGE_CHARS_MAX: usize = 1000;
/// The JSON parser itself stops at the next level.
const NESTING_MAX: usize = 127;

/// The adapter to measure, and warnings about the specs.
#[derive(Clone, Debug)]
pub struct ParsedSpecs {
    pub first: AdapterSpec,
    pub warnings: Vec<Warning>,
}

/// Checks every spec and returns the first; only that one is measured.
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
        warnings.insert(0, Warning::Spec(SpecWarning::OnlyFirstAdapter { given: specs.len() }));
    }
    Ok(ParsedSpecs { first, warnings })
}

/// `flag` names the spec in messages. A byte order mark, which editors on Windows add, is skipped.
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
    let Some(adapter_type) = type_name.as_str().and_then(find) else {
        let (name, known) = (value::repr(type_name), names());
        return Err(format!("{flag}: unknown adapter type {name}. Known: {known}"));
    };
    let type_name = adapter_type.name;
    let kind = check_fields(adapter_type, fields).map_err(|message| format!("{flag} ('{type_name}'): {message}"))?;
    let mut warnings = adapter_type.field_warnings(fields);
    warnings.extend(common::fields_without_effect(fields));
    common::literal_paths(&value, &mut warnings);
    warnings.extend(kind.warnings());
    let spec = AdapterSpec {
        kind,
        type_name,
        raw: raw.to_owned(),
        serde: parse_serde(fields),
        shown: secret::masked(raw, &value),
    };
    Ok((spec, warnings))
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

/// The deepest level of brackets outside strings, counted before the recursive parser runs.
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

/// Checks all fields but the type, in LMCache's order.
fn check_fields(adapter_type: &AdapterType, fields: &Fields) -> Result<Config, String> {
    common::check_affinity_tag(fields)?;
    let kind = (adapter_type.parse)(fields)?;
    common::check_eviction(fields)?;
    common::check_serde(fields)?;
    Ok(kind)
}
