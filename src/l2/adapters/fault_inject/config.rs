//! Fields of the `fault_inject` type: a whole spec to wrap, and which loads of it to drop.

use std::sync::Arc;

use serde_json::Value;

use super::FaultInjectAdapter;
use crate::l2::adapter::{Adapter, Environment};
use crate::l2::adapters::field::{Fields, common};
use crate::l2::adapters::registry::{AdapterConfig, AdapterType, Config, find};
use crate::l2::warning::Warning;
use crate::python::value;

pub const TYPE: AdapterType = AdapterType::new(
    "fault_inject",
    &["inner", "rate", "seed", "gap_indices", "gap_tail_ratios"],
    |fields| Ok(Arc::new(parse(fields)?)),
);

#[derive(Clone, Debug)]
pub struct FaultInjectConfig {
    pub inner: Config,
    /// Warnings about fields of the wrapped spec.
    pub inner_warnings: Vec<Warning>,
    pub rate: f64,
    /// As text, which is how it enters the hash; Python's int has no end.
    pub seed: String,
    pub gap_indices: Vec<u64>,
    pub gap_tail_ratios: Vec<f64>,
}

impl AdapterConfig for FaultInjectConfig {
    fn open(&self, environment: Environment) -> Result<Box<dyn Adapter>, String> {
        let inner = self.inner.open(environment)?;
        Ok(Box::new(FaultInjectAdapter::new(self, inner)))
    }

    fn is_native(&self) -> bool {
        self.inner.is_native()
    }

    fn warnings(&self) -> Vec<Warning> {
        self.inner_warnings.clone()
    }
}

fn parse(fields: &Fields) -> Result<FaultInjectConfig, String> {
    let (inner, inner_warnings) = inner(fields)?;
    let rate = fields.get("rate").map_or(Some(0.0), value::number);
    let rate = rate.filter(|rate| (0.0..=1.0).contains(rate));
    let rate = rate.ok_or("rate must be a number in [0, 1]")?;
    let seed = match fields.get("seed") {
        None => "0".to_owned(),
        Some(Value::Number(seed)) if !seed.is_f64() => seed.to_string(),
        Some(_) => return Err("seed must be an integer".to_owned()),
    };
    let indices = list(fields, "gap_indices").and_then(|list| list.iter().map(Value::as_u64).collect());
    let gap_indices = indices.ok_or("gap_indices must be a list of non-negative integers")?;
    let ratio = |value: &Value| value.as_f64().filter(|ratio| (0.0..=1.0).contains(ratio));
    let ratios = list(fields, "gap_tail_ratios").and_then(|list| list.iter().map(ratio).collect());
    let gap_tail_ratios = ratios.ok_or("gap_tail_ratios must be a list of floats in [0, 1]")?;
    Ok(FaultInjectConfig {
        inner,
        inner_warnings,
        rate,
        seed,
        gap_indices,
        gap_tail_ratios,
    })
}

/// The wrapped spec, checked as in LMCache: its own fields, then eviction and serde; its affinity tag is ignored.
fn inner(fields: &Fields) -> Result<(Config, Vec<Warning>), String> {
    let Some(inner) = fields.get("inner").and_then(Value::as_object) else {
        return Err("'inner' must be an adapter spec dict with a 'type' field".to_owned());
    };
    let Some(type_name) = inner.get("type").and_then(Value::as_str) else {
        return Err("'inner' adapter spec must include a string 'type'".to_owned());
    };
    let unknown = || format!("unknown L2 adapter type {}", value::repr(&Value::from(type_name)));
    let adapter_type = find(type_name).ok_or_else(unknown)?;
    let config = (adapter_type.parse)(inner)?;
    common::check_eviction(inner)?;
    common::check_serde(inner)?;
    let mut warnings = adapter_type.field_warnings(inner);
    warnings.extend(config.warnings());
    Ok((config, warnings))
}

/// `None` for a value that is no list; an absent field is an empty one.
fn list<'a>(fields: &'a Fields, name: &str) -> Option<&'a [Value]> {
    fields
        .get(name)
        .map_or(Some(&[]), |value| value.as_array().map(Vec::as_slice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2::adapters::fs::config::FsConfig;
    use crate::l2::spec::tests::{config, message_about};
    use crate::l2::warning::SpecWarning;

    const START: &str = r#""type": "fault_inject", "inner": {"type": "fs", "base_path": "/x"}"#;

    #[test]
    fn fields_are_checked_with_lmcaches_messages() {
        let cases = [
            (
                r#""inner": 1"#,
                "'inner' must be an adapter spec dict with a 'type' field",
            ),
            (
                r#""inner": {"type": 1}"#,
                "'inner' adapter spec must include a string 'type'",
            ),
            (r#""inner": {"type": "no"}"#, "unknown L2 adapter type 'no'"),
            (r#""inner": {"type": "fs"}"#, "base_path must be a non-empty string"),
            (r#""rate": 1.5"#, "rate must be a number in [0, 1]"),
            (r#""rate": "0""#, "rate must be a number in [0, 1]"),
            (r#""seed": true"#, "seed must be an integer"),
            (r#""seed": 1.0"#, "seed must be an integer"),
            (
                r#""gap_indices": [-1]"#,
                "gap_indices must be a list of non-negative integers",
            ),
            (
                r#""gap_indices": [true]"#,
                "gap_indices must be a list of non-negative integers",
            ),
            (
                r#""gap_tail_ratios": [2]"#,
                "gap_tail_ratios must be a list of floats in [0, 1]",
            ),
            (
                r#""gap_tail_ratios": 0.5"#,
                "gap_tail_ratios must be a list of floats in [0, 1]",
            ),
        ];
        for (field, expected) in cases {
            assert_eq!(message_about(START, field), expected, "{field}");
        }
    }

    #[test]
    fn unknown_fields_of_the_wrapped_spec_are_named() {
        let (_, warnings) = config::<FaultInjectConfig>(
            r#"{"type": "fault_inject", "inner": {"type": "fs", "base_path": "/x", "use_odirct": true, "rate": 1}}"#,
        );
        let unknown = |field: &str, nearest: Option<&str>| {
            Warning::Spec(SpecWarning::UnknownField {
                field: field.to_owned(),
                nearest: nearest.map(str::to_owned),
            })
        };
        assert_eq!(
            warnings,
            [unknown("use_odirct", Some("use_odirect")), unknown("rate", None)]
        );
    }

    #[test]
    fn the_wrapped_spec_is_a_spec() {
        let (config, _) = config::<FaultInjectConfig>(&format!(
            r#"{{{START}, "rate": 1, "seed": -3, "gap_indices": [1], "gap_tail_ratios": [0, 0.5]}}"#
        ));
        assert_eq!((config.rate, config.seed.as_str()), (1.0, "-3"));
        assert_eq!((config.gap_indices, config.gap_tail_ratios), (vec![1], vec![0.0, 0.5]));
        let inner = config.inner.get::<FsConfig>().expect("an fs config");
        assert_eq!(inner.base_path, std::path::Path::new("/x"));
    }
}
