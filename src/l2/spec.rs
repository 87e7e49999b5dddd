//! `--l2-adapter` specs: JSON in, typed configuration out, with the reference's order of checks and its sentences.
//! Touches no file system and creates no adapter.

mod common;
mod fields;
mod fs;
mod json_error;
mod mock;
mod python;

use serde_json::{Map, Value};

pub use self::fs::FsConfig;
pub use self::mock::MockConfig;

use self::fields::Fields;
use crate::error::Error;
use crate::report::warning::Warning;
use crate::units::{MIB, bytes_text};

/// Far above any sensible spec, and small enough to hold several times.
const MAX_SPEC_BYTES: usize = MIB as usize;

/// Every type that LMCache 0.5.6 registers, sorted.
const KNOWN_TYPES: [&str; 21] = [
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

const NO_SPEC: &str = "Error: No L2 adapter configuration provided.\n\
                       Use --l2-adapter JSON or set L2_ADAPTER_JSON environment variable.";

/// All specs were valid; only the first is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedSpecs {
    pub first: AdapterSpec,
    /// How many were given.
    pub given: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AdapterSpec {
    pub kind: AdapterKind,
    /// One of LMCache's type names.
    pub type_name: &'static str,
    /// The JSON as it was given, for the report.
    pub raw: String,
    /// What about the specs was probably not meant so.
    pub notes: Vec<Warning>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum AdapterKind {
    Fs(FsConfig),
    Mock(MockConfig),
    /// A type of LMCache that this program cannot run; its own fields are not checked.
    Other(&'static str),
}

/// Parses and checks every spec in the order given.
pub fn parse_specs(specs: &[String]) -> Result<ParsedSpecs, Error> {
    let mut parsed = Vec::with_capacity(specs.len());
    for (index, raw) in specs.iter().enumerate() {
        let spec = parse(&format!("--l2-adapter #{}", index + 1), raw);
        parsed.push(spec.map_err(|problem| Error::Usage(format!("Error parsing L2 adapter config: {problem}")))?);
    }
    let given = parsed.len();
    let mut first = parsed
        .into_iter()
        .next()
        .ok_or_else(|| Error::Usage(NO_SPEC.to_owned()))?;
    if given > 1 {
        first.notes.push(Warning::OnlyFirstAdapter { given });
    }
    Ok(ParsedSpecs { first, given })
}

fn parse(name: &str, raw: &str) -> Result<AdapterSpec, String> {
    let members = read_object(name, raw)?;
    let type_name = known_type(name, &members)?;
    let fields = Fields(&members);
    let wrap = |problem| format!("{name} ('{type_name}'): {problem}");
    common::check_affinity(fields).map_err(wrap)?;
    let (kind, own_fields) = match type_name {
        "fs" => (AdapterKind::Fs(fs::parse(fields).map_err(wrap)?), Some(fs::FIELDS)),
        "mock" => (
            AdapterKind::Mock(mock::parse(fields).map_err(wrap)?),
            Some(mock::FIELDS),
        ),
        other => (AdapterKind::Other(other), None),
    };
    common::check_wrappers(fields).map_err(wrap)?;
    let mut notes = own_fields.map_or_else(Vec::new, |own| unknown_fields(&members, own));
    notes.extend(common::without_effect(fields));
    Ok(AdapterSpec {
        kind,
        type_name,
        raw: raw.to_owned(),
        notes,
    })
}

fn read_object(name: &str, raw: &str) -> Result<Map<String, Value>, String> {
    if raw.len() > MAX_SPEC_BYTES {
        let size = bytes_text(raw.len() as u64);
        let limit = bytes_text(MAX_SPEC_BYTES as u64);
        return Err(format!(
            "{name}: the JSON is {size} long and at most {limit} are read; shorten it"
        ));
    }
    match serde_json::from_str(raw) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(other) => Err(format!(
            "{name}: expected a JSON object, got {}",
            python::type_name(&other)
        )),
        Err(refused) => Err(match json_error::message(raw) {
            Some(message) => format!("Invalid JSON for {name}: {message}"),
            None => format!(
                "Invalid JSON for {name}: {refused}; write it without NaN, Infinity, numbers from 1e309 on, lone \
                 surrogates and more than 127 nested brackets"
            ),
        }),
    }
}

fn known_type(name: &str, members: &Map<String, Value>) -> Result<&'static str, String> {
    let given = match members.get("type") {
        None | Some(Value::Null) => return Err(format!("{name}: missing 'type' field")),
        Some(given) => given,
    };
    let known = KNOWN_TYPES.into_iter().find(|known| given == known);
    known.ok_or_else(|| {
        let given = python::repr(given);
        format!(
            "{name}: unknown adapter type {given}. Known: {}",
            KNOWN_TYPES.join(", ")
        )
    })
}

fn unknown_fields(members: &Map<String, Value>, own: &[&'static str]) -> Vec<Warning> {
    let known = || own.iter().chain(common::FIELDS).copied();
    let unknown = members
        .keys()
        .filter(|field| !known().any(|name| name == field.as_str()));
    let warning = |field: &String| Warning::UnknownField {
        field: field.clone(),
        nearest: fields::nearest(field, known()).map(str::to_owned),
    };
    unknown.map(warning).collect()
}

#[cfg(test)]
mod tests;
